"""Picture files -> 48x48 grey images, as FER-2013 has them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from emotify.arrays import UInt8Array
from emotify.errors import InputError
from emotify.files import printable
from emotify.pictures.pixels import IMAGE_SIZE, cut_square, has_many_levels, on_grey, to_eight_bits, whole_square

SUFFIXES: Final = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
)
_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")  # of all Pillow's; its EPS runs Ghostscript


def read_images(paths: Sequence[Path]) -> UInt8Array:
    """Return the pictures (N, 1, 48, 48), upright and grey, of those that are not square what predict sees of them.

    Raises InputError for the first that cannot be read.
    """
    images = np.empty((len(paths), 1, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for image, path in zip(images, paths, strict=True):
            image[0] = _read_image(path)
    return images


def _read_image(path: Path) -> UInt8Array:
    name = printable(path)
    if not path.is_file():  # a pipe would be waited for
        raise InputError(f"{name} is not a regular file")
    try:
        with Image.open(path, formats=_FORMATS) as image:
            grey = _to_grey(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:
        raise InputError(f"{name} is not an image in one of the formats {', '.join(_FORMATS)}") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputError(f"{name} has too many pixels; make it smaller") from error
    except Exception as error:  # on hostile bytes Pillow's readers raise nearly everything there is
        raise InputError(f"{name} cannot be read: {printable(str(error))}") from error
    return cut_square(grey, whole_square(*grey.size))


def _to_grey(image: Image.Image) -> Image.Image:
    if has_many_levels(image):
        return Image.fromarray(to_eight_bits(np.asarray(image)))
    if image.has_transparency_data:
        return on_grey(image).convert("L")
    return image.convert("L")
