"""Read picture files as 48x48 grey images like FER-2013's, with the same reader as `predict`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emotify.arrays import UInt8Array
from emotify.pictures.decoding import Failure
from emotify.pictures.pixels import IMAGE_SIZE, cut_square, whole_square
from emotify.pictures.reading import read_picture

_ENOUGH_SIDE: Final = 2560  # pixels of the longer side; predict reads large JPEG files at this size, too


class UnreadPicture(NamedTuple):
    """An unreadable picture and the reason."""

    path: Path
    failure: Failure


class Images(NamedTuple):
    """The result of reading N picture files, M of them readable."""

    pixels: UInt8Array  # (M, 1, 48, 48)
    read: NDArray[np.bool_]  # (N,), True for readable files
    unread: list[UnreadPicture]
    with_frames: int  # pictures with several frames; only the first frame is read


def read_images(paths: Sequence[Path]) -> Images:
    """Read whole pictures as upright grey images, as `predict --faces whole` does."""
    images = np.empty((len(paths), 1, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    read = np.ones(len(paths), np.bool_)
    unread = []
    with_frames = 0
    for place, path in enumerate(paths):
        picture = read_picture(path, enough_side=_ENOUGH_SIDE)
        if isinstance(picture, Failure):
            read[place] = False
            unread.append(UnreadPicture(path, picture))
        else:
            with_frames += picture.frames > 1
            whole = whole_square(picture.width, picture.height)
            images[place, 0] = cut_square(picture.image, whole.scaled(picture.image.width / picture.width))
    return Images(images if read.all() else images[read], read, unread, with_frames)
