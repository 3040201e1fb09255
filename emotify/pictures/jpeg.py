"""Read the coding of a JPEG file. libjpeg supports 8 bits per channel, but not lossless or hierarchical JPEG."""

from __future__ import annotations

from typing import Final, NamedTuple

_ALONE: Final = {0x01, *range(0xD0, 0xD9)}  # markers without a length: TEM, RST0 to RST7, SOI
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN, _LS_FRAME = 0xDA, 0xF7
_BASELINE: Final = {0xC0, 0xC1}
_LOSSLESS: Final = {0xC3, 0xC7, 0xCB, 0xCF}
_HIERARCHICAL: Final = {0xC5, 0xC6, 0xCD, 0xCE}
_MOST_SEGMENTS: Final = 20_000  # before the pixels


class Coding(NamedTuple):
    """The coding of a JPEG file's picture."""

    frame: int  # marker of the frame header
    bits: int  # per channel
    streams: bool  # whether it can be decoded row by row, without the whole picture in memory

    @property
    def unsupported(self) -> str:
        """The name of the coding if it is unsupported, otherwise an empty string."""
        if self.frame == _LS_FRAME:
            return "JPEG-LS"
        if self.frame in _LOSSLESS:
            return "lossless JPEG"
        if self.frame in _HIERARCHICAL:
            return "hierarchical JPEG"
        return f"{self.bits}-bit JPEG" if self.bits > 8 else ""


def read_coding(content: bytes) -> Coding | None:
    """Return the coding of a JPEG file, or None if its segments do not give it."""
    position, found = 2, (0, 0, 0)
    for _ in range(_MOST_SEGMENTS):
        while content[position : position + 2] == b"\xff\xff":
            position += 1
        if content[position : position + 1] != b"\xff" or position + 9 >= len(content):
            return None
        marker = content[position + 1]
        if marker in _ALONE:
            position += 2
            continue
        if marker in _FRAMES or marker == _LS_FRAME:
            found = marker, content[position + 4], content[position + 9]
        elif marker == _SCAN:
            frame, bits, components = found
            return Coding(frame, bits, frame in _BASELINE and content[position + 4] == components) if frame else None
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return None
