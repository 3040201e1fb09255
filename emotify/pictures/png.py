"""Split PNG files into chunks: those with the picture, and those that can be removed."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

_HEADER: Final = struct.Struct(">I4s")
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_TEXTS: Final = {b"tEXt", b"zTXt", b"iTXt"}
# Text chunks with the orientation, as ImageMagick and Adobe's programs write them.
_ORIENTATIONS: Final = (b"Raw profile type exif\0", b"Raw profile type APP1\0", b"XML:com.adobe.xmp\0")
_EXTRAS: Final = {b"tRNS", b"eXIf", b"acTL", b"fcTL"}  # optional chunks that may change how the picture looks
# Chunks to remove, step by step, if Pillow cannot read a file: texts and animations, then all extras.
_WITHOUT: Final = (frozenset[bytes](), _TEXTS | _EXTRAS - {b"tRNS"}, _TEXTS | _EXTRAS)
_MANY_PARTS: Final = 10_000  # chunks of pixel data; joining so many is faster than reading them one by one
_PALETTE: Final = 3  # the colour type of pictures with a palette
_PIXELS: Final = {b"IHDR", b"IDAT"}
_EMPTY: Final = 12  # size in bytes of a chunk without data
_MOST_EXTRAS: Final = 8


class DamagedPixelsError(Exception):
    """The header, the palette or the pixels do not match their checksums."""


@dataclass(frozen=True)
class PngParts:
    """The chunks of a PNG file that are needed to show its picture."""

    plain: bool  # the file has no other chunks, so it needs no rewriting
    header: bytes  # IHDR, and the palette if the file has one
    pixels: list[memoryview]  # data of the IDAT chunks
    extras: list[bytes] = field(default_factory=list)  # transparency, orientation, the first frame of an animation
    damaged: bool = False  # an unneeded chunk does not match its checksum, or the file has no IEND chunk

    def join(self, without: Collection[bytes] = ()) -> bytes:
        """Return a PNG file of these parts with all pixel data in one chunk. `without`: names of extras to omit."""
        data = b"".join([b"IDAT", *self.pixels])
        idat = [struct.pack(">I", len(data) - 4), data, struct.pack(">I", zlib.crc32(data))]
        ending = b"\0\0\0\0IEND\xaeB`\x82"
        extras = [extra for extra in self.extras if extra[4:8] not in without]
        return b"".join([_SIGNATURE, self.header, *extras, *idat, ending])


def is_apple_png(content: bytes) -> bool:
    """Return whether Xcode has converted a PNG file for iPhones (CgBI), which other programs cannot read."""
    return content[12:16] == b"CgBI"


def split_parts(content: bytes) -> PngParts:
    """Return the parts of a PNG file. Raises DamagedPixelsError if a needed chunk does not match its checksum."""
    view = memoryview(content)
    header: list[bytes] = []
    extras: list[bytes] = []
    pixels: list[memoryview] = []
    plain, damaged, ended = True, False, False
    for name, start, end in _chunks(content):
        matters = name in _PIXELS or (name == b"PLTE" and content[25] == _PALETTE)
        if end > len(content):  # the file is truncated
            if matters:
                pixels.append(view[start + 8 :])
            break
        if end - start > _EMPTY and not _is_sound(view, start, end):
            if matters:
                raise DamagedPixelsError
            damaged, plain = True, False
        elif name == b"IDAT":
            if end - start > _EMPTY:
                pixels.append(view[start + 8 : end - 4])
            else:
                plain = False
        elif matters:
            header.append(content[start:end])
        elif name == b"IEND":
            ended = True
            break
        elif _is_extra(name, content, start) and not (pixels and name == b"fcTL") and len(extras) < _MOST_EXTRAS:
            extras.append(content[start:end])
        else:
            plain = False
    plain &= ended and len(pixels) < _MANY_PARTS
    return PngParts(plain, b"".join(header), pixels, extras, damaged or not ended)


def versions(content: bytes) -> Iterator[tuple[bytes, bool]]:
    """Yield versions of the file with fewer and fewer chunks, each with whether chunks were damaged or removed.

    Raises DamagedPixelsError if header, palette or pixels do not match their checksums.
    """
    parts = split_parts(content)
    held = {extra[4:8] for extra in parts.extras}
    for without in _WITHOUT:
        if without and held.isdisjoint(without):
            continue
        whole = parts.plain and not without
        yield content if whole else parts.join(without), parts.damaged or bool(without)


def _chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name, start and end of each chunk. The end may be beyond the end of the file."""
    position = len(_SIGNATURE)
    while position + _EMPTY <= len(content):
        length, name = _HEADER.unpack_from(content, position)
        end = position + _EMPTY + length
        yield name, position, end
        position = end


def _is_sound(view: memoryview, start: int, end: int) -> bool:
    return zlib.crc32(view[start + 4 : end - 4]) == int.from_bytes(view[end - 4 : end], "big")


def _is_extra(name: bytes, content: bytes, start: int) -> bool:
    return name in _EXTRAS or (name in _TEXTS and content.startswith(_ORIENTATIONS, start + 8))
