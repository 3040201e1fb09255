"""Limit the memory of all pictures in progress, over all threads of a process."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Final

from PIL import Image

ROOM: Final = 700_000_000  # bytes; a picture that needs more is processed alone
# Most bytes per pixel while a picture is decoded and converted; measured with pictures of 49 megapixels.
_OF_READERS: Final = {"WEBP": 20, "AVIF": 12, "HEIF": 12}
_OF_MODES: Final = {"L": 2, "1": 2, "RGB": 6}
_OF_OTHER_MODES: Final = 16
_OF_COEFFICIENTS: Final = 6  # for a progressive JPEG file, per pixel of its full size
_OF_FACES: Final = 40_000_000  # bytes for face detection
_LARGE: Final = 100_000_000  # bytes; when more is freed, it is returned to the system at once

_changed = threading.Condition()
_taken = 0


class Share:
    """The memory of one picture; a context manager. `take` waits until other pictures leave enough."""

    def __init__(self) -> None:
        self.content = 0  # size in bytes of the file's content in memory
        self._size = 0

    def __enter__(self) -> Share:
        return self

    def __exit__(self, *_: object) -> None:
        self._set(0)

    def take(self, image: Image.Image, size: tuple[int, int]) -> None:
        """Wait for the memory to decode `image`. A picture never waits if no other picture is in progress.

        size: width and height of the picture in the file, which `image` may be a smaller draft of.
        """
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
        """Release the memory of decoding, except for the pixels of `image`."""
        pixel = 4 if image.mode == "RGB" else 1  # bytes; Pillow stores RGB in four
        self._set(image.width * image.height * pixel + _OF_FACES)

    def _set(self, size: int) -> None:
        global _taken
        if self._size - size > _LARGE:
            _give_back()
        with _changed:
            _taken += size - self._size
            self._size = size
            _changed.notify_all()


def _give_back() -> None:
    """Make glibc return freed memory to the system. Otherwise each thread keeps it for its next large picture."""
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
