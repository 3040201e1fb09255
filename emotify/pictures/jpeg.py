"""What a JPEG file says of its coding: libjpeg reads 8 bits a channel, and not the lossless and hierarchical kinds."""

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
    """How a JPEG file's picture is coded."""

    frame: int  # the marker that says so
    bits: int
    streams: bool  # it can be decoded from top to bottom, without holding it whole

    @property
    def unsupported(self) -> str:
        """What it is called, where it is a kind that is not read; else nothing."""
        if self.frame == _LS_FRAME:
            return "JPEG-LS"
        if self.frame in _LOSSLESS:
            return "lossless JPEG"
        if self.frame in _HIERARCHICAL:
            return "hierarchical JPEG"
        return f"{self.bits}-bit JPEG" if self.bits > 8 else ""


def read_coding(content: bytes) -> Coding | None:
    """Return how a JPEG file is coded, or None where its segments do not say."""
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
