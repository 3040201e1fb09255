"""Picture files -> 48x48 grey images, as FER-2013 has them, with the reader that predict reads with."""

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

_ENOUGH_SIDE: Final = 2560  # pixels of the longer side; predict reads large JPEG files at the same size


class Unread(NamedTuple):
    """A picture that could not be read, and why."""

    path: Path
    failure: Failure


def read_images(paths: Sequence[Path]) -> tuple[UInt8Array, NDArray[np.bool_], list[Unread]]:
    """Return the pictures that can be read (M, 1, 48, 48), which of the N paths they are (N,), and the other paths.

    Each is upright and grey, and shows what predict sees of a picture that it takes whole.
    """
    images = np.empty((len(paths), 1, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    read = np.ones(len(paths), np.bool_)
    unread = []
    for place, path in enumerate(paths):
        picture = read_picture(path, enough_side=_ENOUGH_SIDE)
        if isinstance(picture, Failure):
            read[place] = False
            unread.append(Unread(path, picture))
        else:
            whole = whole_square(picture.width, picture.height)
            images[place, 0] = cut_square(picture.image, whole.scaled(picture.image.width / picture.width))
    return (images if read.all() else images[read]), read, unread
