"""Limits on the number of parts in a picture file. Hostile files of a few MB could keep a decoder busy for minutes.

The limits apply to parts that Pillow and its libraries process one by one. Real files are far below these limits.
"""

from __future__ import annotations

import re
import struct
from typing import Final, Literal

_MANY_FRAMES: Final = 1000  # with more frames Pillow is too slow at counting them
MOST_FRAMES: Final = 100_000  # frames are counted up to this number
_MOST_PARTS: Final = 20_000  # before the pixels: JPEG segments, GIF blocks or PPM comments
_MOST_STRIPS: Final = 100_000  # values in one entry of a TIFF directory
_LONGEST_HEADER: Final = 2**16  # bytes of a PPM header
# Scans of a progressive JPEG file. Decoding time grows with their number; about ten are usual.
_MOST_SCANS: Final = 20
_MORE_SCANS: Final = 100  # further scans, divided by the picture's megapixels; at most 1000
_PPM_SPACE: Final = rb"(?:\s++|\#[^\r\n]*+(?:[\r\n]|\Z))"
_PPM_HEADER: Final = re.compile(rb"P[1-6f](?:" + _PPM_SPACE + rb"++[0-9.+-]++){0,2}+" + _PPM_SPACE + rb"*+")
# TIFF tags whose values are processed one by one: bits, strips, colours, tiles, samples.
_OF_PIXELS: Final = {258, 273, 278, 279, 320, 324, 325, 338, 339}
_SCAN: Final = b"\xff\xda"
_SIZES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers of segments that give the picture's size


class TooManyPartsError(Exception):
    """The file has too many parts; the message names them."""


def bound(kind: str, content: bytes) -> tuple[bytes, str]:
    """Return the content of a picture file without surplus JPEG scans, and a note if scans were removed.

    kind: Pillow's name of the format. Raises TooManyPartsError if the file has too many other parts.
    """
    if kind == "JPEG":
        return _bound_scans(content)
    if kind == "PPM":
        _check_header(content)
    elif kind == "TIFF":
        _check_directory(content)
    elif kind == "GIF":
        _check_blocks(content)
    return content, ""


def count_many_frames(kind: str, content: bytes) -> int | None:
    """Return the number of frames, at most MOST_FRAMES. Return None if they are few enough for Pillow to count."""
    if kind not in {"TIFF", "GIF"}:
        return None
    count = _count_directories(content) if kind == "TIFF" else _walk_blocks(content, until=MOST_FRAMES)[1]
    return count if count > _MANY_FRAMES else None


def _bound_scans(content: bytes) -> tuple[bytes, str]:
    position, width, height = 2, 1, 1
    for _ in range(_MOST_PARTS):
        marker = content[position + 1 : position + 2]
        if not marker or marker[0] == 0xDA:
            break
        if marker[0] in {0x00, 0xFF}:  # fill bytes
            position += 1
            continue
        if marker[0] in _SIZES:
            height, width = struct.unpack(">HH", content[position + 5 : position + 9].ljust(4, b"\0"))
        position += 2 + max(int.from_bytes(content[position + 2 : position + 4], "big"), 2)
    else:
        msg = f"more than {_MOST_PARTS:,} parts before its pixels"
        raise TooManyPartsError(msg)
    most = _MOST_SCANS + int(min(_MORE_SCANS * 10**6 / max(width * height, 1), 1000))
    end = position
    for _ in range(most + 1):
        end = content.find(_SCAN, end + 1)
        if end < 0:
            return content, ""
    return content[:end] + b"\xff\xd9", f"only the first {most} scans of its pixels were read"


def _check_header(content: bytes) -> None:
    head = content[:_LONGEST_HEADER]
    found = _PPM_HEADER.match(head)
    if len(content) > len(head) and found and found.end() == len(head):
        msg = f"a header of more than {_LONGEST_HEADER:,} bytes"
        raise TooManyPartsError(msg)
    if content[1:2] in b"123" and content.count(b"#") > _MOST_PARTS:
        msg = f"more than {_MOST_PARTS:,} comments"
        raise TooManyPartsError(msg)


def _check_directory(content: bytes) -> None:
    order, big = _tiff_layout(content)
    entry = struct.Struct(f"{order}HHQ" if big else f"{order}HHI")
    size, position = (20, _start(content) + 8) if big else (12, _start(content) + 2)
    count = _number(content, _start(content), 8 if big else 2)
    for place in range(position, min(position + size * count, len(content) - size + 1), size):
        tag, _, numbers = entry.unpack_from(content, place)
        if tag in _OF_PIXELS and numbers > _MOST_STRIPS:
            msg = f"more than {_MOST_STRIPS:,} values in one entry"
            raise TooManyPartsError(msg)


def _count_directories(content: bytes) -> int:
    _, big = _tiff_layout(content)
    counter, size, pointer = (8, 20, 8) if big else (2, 12, 4)
    position, seen = _start(content), set[int]()
    while 0 < position <= len(content) - counter and position not in seen and len(seen) < MOST_FRAMES:
        seen.add(position)
        place = position + counter + size * _number(content, position, counter)
        position = _number(content, place, pointer)
    return max(len(seen), 1)


def _tiff_layout(content: bytes) -> tuple[Literal["<", ">"], bool]:
    order: Literal["<", ">"] = "<" if content.startswith(b"II") else ">"
    return order, content[2:4] in {b"+\0", b"\0+"}


def _start(content: bytes) -> int:
    return _number(content, 8, 8) if _tiff_layout(content)[1] else _number(content, 4, 4)


def _number(content: bytes, place: int, size: int) -> int:
    return int.from_bytes(content[place : place + size], "little" if content.startswith(b"II") else "big")


def _check_blocks(content: bytes) -> None:
    if _walk_blocks(content, until=1)[0] > _MOST_PARTS:
        msg = f"more than {_MOST_PARTS:,} parts before its pixels"
        raise TooManyPartsError(msg)


def _walk_blocks(content: bytes, *, until: int) -> tuple[int, int]:
    """Return the number of blocks in a GIF file before its frame number `until`, and the number of frames so far."""
    position = 13 + _colours(content, 10)
    blocks = frames = 0
    while blocks < _MOST_PARTS + 16 * until and position < len(content):
        if content[position] == 0x2C:  # a frame
            frames += 1
            if frames == until:
                break
            position += 11 + _colours(content, position + 9)
        elif content[position] == 0x21:
            position += 2
        elif content[position] == 0x3B:  # the end
            break
        else:  # not a block; Pillow skips this byte
            position += 1
            blocks += 1
            continue
        while position < len(content) and content[position] and blocks <= _MOST_PARTS + 16 * until:
            position += 1 + content[position]
            blocks += 1
        position += 1
        blocks += 1
    return blocks, max(frames, 1)


def _colours(content: bytes, place: int) -> int:
    """Return the size in bytes of the colour table that the flags at `place` announce."""
    flags = content[place] if place < len(content) else 0
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0
