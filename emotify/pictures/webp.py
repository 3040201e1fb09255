"""Remove metadata from WebP files: EXIF data, XMP and colour profiles."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

_CHUNK: Final = struct.Struct("<4sI")
_PIXELS: Final = {b"VP8 ", b"VP8L"}
_ALPHA_FLAG: Final = 0x10
_MOST_CHUNKS: Final = 100


def without_descriptions(content: bytes) -> bytes | None:
    """Return a WebP file with only the picture, or None if it has no complete picture or is an animation."""
    chunks: dict[bytes, bytes] = {}
    for name, chunk in _chunks(content):
        chunks.setdefault(name, chunk)
        if name in _PIXELS:
            break
    pixels = [chunks[name] for name in (b"ALPH", *_PIXELS) if name in chunks]
    if _PIXELS.isdisjoint(chunks):
        return None
    if b"VP8X" in chunks:
        flags = _ALPHA_FLAG if b"ALPH" in chunks else chunks[b"VP8X"][8] & _ALPHA_FLAG
        pixels.insert(0, chunks[b"VP8X"][:8] + bytes([flags]) + chunks[b"VP8X"][9:])
    body = b"".join([b"WEBP", *pixels])
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and bytes of each chunk, padding included, up to the first incomplete one."""
    position = 12
    for _ in range(_MOST_CHUNKS):
        if position + 8 > len(content):
            return
        name, length = _CHUNK.unpack_from(content, position)
        end = position + 8 + length + length % 2
        if end > len(content):
            return
        yield name, content[position:end]
        position = end
