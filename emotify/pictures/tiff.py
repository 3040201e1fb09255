"""Read the directories of TIFF files: recognise camera raw, and remove metadata."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

_NEW_SUBFILE_TYPE, _BITS, _PHOTOMETRIC, _SUB_DIRECTORIES, _DNG_VERSION = 254, 258, 262, 330, 50706
_MINIMUM_IS_WHITE: Final = 0
_SENSOR: Final = {32803, 34892}  # photometric interpretations: colour filter array and LinearRaw
_MAKERS: Final = (b"CR\x02", b"IIII")  # bytes after the header: Canon, Phase One
_REDUCED: Final = 1  # bit of NewSubfileType: a smaller version of another picture in the file
_MOST_DIRECTORIES: Final = 16  # directories read per file
_MOST_ENTRIES: Final = 1000  # entries read per directory
_SIZES: Final = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}  # integer types and their sizes in bytes
# Tags that say how pixels are stored (TIFF 6.0 and its supplements), and the orientation.
_OF_PIXELS: Final = frozenset(
    [*range(254, 260), 262, 266, *range(273, 275), *range(277, 280), 284, 292, 293, 301, 317, *range(320, 326), 332,
     336, 338, 339, 340, 341, 347, *range(512, 522), *range(529, 533)]
)  # fmt: skip


class _Entry(NamedTuple):
    tag: int
    values: tuple[int, ...]  # empty if they are not integers, or are outside the file
    content: bytes  # bytes of the entry itself


@dataclass(frozen=True)
class _Layout:
    """The byte order and number sizes of a TIFF or BigTIFF file."""

    order: Literal["little", "big"]
    big: bool

    @classmethod
    def of(cls, content: bytes) -> _Layout:
        order: Literal["little", "big"] = "little" if content.startswith(b"II") else "big"
        return cls(order, int.from_bytes(content[2:4], order) == 43)

    @property
    def pointer(self) -> int:
        return 8 if self.big else 4

    @property
    def counter(self) -> int:
        return 8 if self.big else 2

    def number(self, content: bytes, start: int, size: int) -> int:
        return int.from_bytes(content[start : start + size], self.order)

    def first(self, content: bytes) -> int:
        return self.number(content, 8 if self.big else 4, self.pointer)

    def entries(self, content: bytes, start: int) -> list[_Entry]:
        """Return the entries of the directory at `start` that are inside the file."""
        length = 4 + 2 * self.pointer
        count = min(self.number(content, start, self.counter), _MOST_ENTRIES)
        begin = start + self.counter
        ends = range(begin + length, min(begin + count * length, len(content)) + 1, length)
        return [self._entry(content, end - length, end) for end in ends]

    def following(self, content: bytes, start: int) -> int:
        count = self.number(content, start, self.counter)
        return self.number(content, start + self.counter + count * (4 + 2 * self.pointer), self.pointer)

    def _entry(self, content: bytes, start: int, end: int) -> _Entry:
        size = _SIZES.get(self.number(content, start + 2, 2), 0)
        count = self.number(content, start + 4, self.pointer)
        place = end - self.pointer
        if size * count > self.pointer:
            place = self.number(content, place, self.pointer)
        fits = size and count <= _MOST_DIRECTORIES and place + size * count <= len(content)
        values = tuple(self.number(content, place + index * size, size) for index in range(count if fits else 0))
        return _Entry(self.number(content, start, 2), values, content[start:end])


def is_camera_raw(content: bytes) -> bool:
    """Return whether a TIFF file is camera raw: sensor data, usually after a thumbnail."""
    return content.startswith(_MAKERS, 8) or any(
        _DNG_VERSION in tags
        or not _SENSOR.isdisjoint(tags.get(_PHOTOMETRIC, ()))
        or (_has_thumbnail_first(tags) and _SUB_DIRECTORIES in tags)
        for tags in _directories(content)
    )


def white_is_zero(content: bytes) -> bool:
    """Return whether the first picture of a TIFF file is grey with 0 for white (WhiteIsZero)."""
    return _MINIMUM_IS_WHITE in next(_directories(content), {}).get(_PHOTOMETRIC, ())


def pixel_layout(content: bytes) -> str:
    """Return the channels and bits per channel of a TIFF file's first picture as text, or '' if it does not give them.

    An example is `3 x 16 bits per pixel`.
    """
    tags = next(_directories(content), {})
    bits = tags.get(_BITS, ())
    if not bits or _PHOTOMETRIC not in tags:
        return ""
    return f"{len(bits)} x {max(bits)} bits per pixel"


def without_descriptions(content: bytes) -> bytes:
    """Return a TIFF file whose first directory has only the entries about the storage of pixels."""
    layout = _Layout.of(content)
    start = layout.first(content)
    kept = [entry.content for entry in layout.entries(content, start) if entry.tag in _OF_PIXELS]
    count = len(kept).to_bytes(layout.counter, layout.order)
    directory = b"".join([count, *kept, bytes(layout.pointer)])
    return content[:start] + directory + content[start + len(directory) :]


def _directories(content: bytes) -> Iterator[dict[int, tuple[int, ...]]]:
    """Yield the tags and values of each directory and its subdirectories."""
    layout = _Layout.of(content)
    left, seen = [layout.first(content)], set[int]()
    while left and len(seen) < _MOST_DIRECTORIES:
        start = left.pop(0)
        if start in seen or not 8 <= start < len(content):
            continue
        seen.add(start)
        tags = {entry.tag: entry.values for entry in layout.entries(content, start)}
        yield tags
        left += [layout.following(content, start), *tags.get(_SUB_DIRECTORIES, ())]


def _has_thumbnail_first(tags: dict[int, tuple[int, ...]]) -> bool:
    return any(value & _REDUCED for value in tags.get(_NEW_SUBFILE_TYPE, ()))
