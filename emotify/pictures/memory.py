"""The memory of pictures that are worked on at once, over all threads of a process."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Final

from PIL import Image

ROOM: Final = 700_000_000  # bytes; a larger picture is worked on alone
# Bytes a pixel at the most, while a picture is decoded and made RGB or grey; measured with pictures of 49 megapixels.
_OF_READERS: Final = {"WEBP": 20, "AVIF": 12, "HEIF": 12}
_OF_MODES: Final = {"L": 2, "1": 2, "RGB": 6}
_OF_OTHER_MODES: Final = 16
_OF_COEFFICIENTS: Final = 6  # of a progressive JPEG file, however small it is decoded
_OF_FACES: Final = 40_000_000  # bytes, to look for faces
_LARGE: Final = 100_000_000  # bytes, which are given back to the system

_changed = threading.Condition()
_taken = 0


class Share:
    """The memory that one picture takes. A block that it is used with waits until others leave enough."""

    def __init__(self) -> None:
        self.content = 0  # bytes of the file, which is in memory already
        self._size = 0

    def __enter__(self) -> Share:
        return self

    def __exit__(self, *_: object) -> None:
        self._set(0)

    def take(self, image: Image.Image, size: tuple[int, int]) -> None:
        """Wait for the memory that decoding `image` takes, whose file holds a picture of `size`; one always may."""
        pixels, whole = image.width * image.height, size[0] * size[1]
        cost = pixels * _OF_READERS.get(image.format or "", _OF_MODES.get(image.mode, _OF_OTHER_MODES))
        if image.info.get("progressive"):
            cost += whole * _OF_COEFFICIENTS
        cost += self.content + _OF_FACES
        with _changed:
            self._set(0)
            _changed.wait_for(lambda: not _taken or _taken + cost <= ROOM)
            self._set(cost)

    def keep(self, image: Image.Image) -> None:
        """Give back what decoding took, but for the pixels."""
        self._set(
            image.width * image.height * (4 if image.mode == "RGB" else 1) + _OF_FACES
        )  # RGB has four bytes there

    def _set(self, size: int) -> None:
        global _taken
        if self._size - size > _LARGE:
            _give_back()
        with _changed:
            _taken += size - self._size
            self._size = size
            _changed.notify_all()


def _give_back() -> None:
    """Let glibc give what was freed back to the system; else each thread keeps it for its next large picture."""
    if trim := _malloc_trim():
        trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], object] | None:
    try:
        import ctypes

        trim: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
    except (ImportError, OSError, AttributeError, TypeError):  # Python without libffi, another C library, Windows
        return None
    return trim
