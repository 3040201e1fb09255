"""How the pixels of any picture become those that a classifier sees: in training as in use."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

IMAGE_SIZE: Final = 48  # pixels, the side of what a classifier sees
_GREY: Final = (128, 128, 128, 255)


class Square(NamedTuple):
    """What a classifier sees of an image: a square's corner and side in its pixels; it may leave the image.

    It is turned clockwise about its centre by `roll` degrees; x0 and y0 are its corner before that.
    """

    x0: float
    y0: float
    side: float
    roll: float = 0.0

    def scaled(self, scale: float) -> Square:
        """Return the square in pixels of the image at another size."""
        return Square(self.x0 * scale, self.y0 * scale, self.side * scale, self.roll)


def has_many_levels(image: Image.Image) -> bool:
    """Whether an image holds grey values that 8 bits have no room for."""
    return image.mode in {"I", "F"} or image.mode.startswith("I;")


def to_eight_bits(values: NDArray[np.floating[Any] | np.integer[Any]]) -> NDArray[np.uint8]:
    """Return grey values of 16 bits, 32 bits or floating point as 0..255, which Pillow would clip to white.

    Raises ValueError where they are not numbers.
    """
    if not np.isfinite(values).all():
        msg = "some of its pixels are NaN or infinite; save it as an ordinary PNG or JPEG"
        raise ValueError(msg)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1 and values.dtype.kind == "f":
        grey = values * 255
    elif low >= 0 and high <= 255:
        grey = values
    elif low >= 0 and high <= 65535:
        grey = values // 256
    else:
        grey = (values.astype(np.float64) - low) * (255 / (high - low) if high > low else 0.0)
    return grey.astype(np.uint8)


def on_grey(image: Image.Image) -> Image.Image:
    """Return an image that is transparent in places in RGB, above a middle grey.

    Pillow's `convert` alone would show the colours that hide below transparent pixels.
    """
    ground = Image.new("RGBA", image.size, _GREY)
    seen = image.convert("LA") if image.mode == "La" else image
    ground.alpha_composite(seen if seen.mode == "RGBA" else seen.convert("RGBA"))
    return ground.convert("RGB")


def whole_square(width: float, height: float) -> Square:
    """Return the square that stands for a whole picture; it may leave it.

    A picture that is not square is neither stretched, which costs accuracy, nor cut to its shorter side, which costs
    chins: a square of the same area around its centre loses a little on one axis and repeats the edge on the other.
    """
    side = math.sqrt(width * height)
    return Square((width - side) / 2, (height - side) / 2, side)


def cut_square(image: Image.Image, square: Square, *, mode: str = "L", pixels: int = IMAGE_SIZE) -> NDArray[np.uint8]:
    """Resample a square of an image to (pixels, pixels), grey unless `mode` is RGB.

    The image's edge is repeated where the square leaves it. Its corners are not rounded to whole pixels: on a face of
    24 pixels that would shift or scale it by 4 %.
    """
    x0, y0, side, roll = square
    if roll:
        return _cut_turned(image, square, mode=mode, pixels=pixels)
    if (x0, y0, side, side) == (0, 0, *image.size):
        if image.size != (pixels, pixels) or image.mode != mode:  # FER-2013's own images need nothing of this
            image = image.convert(mode).resize((pixels, pixels), Image.Resampling.LANCZOS)
        return np.asarray(image)
    columns = np.arange(math.floor(x0), math.ceil(x0 + side))
    rows = np.arange(math.floor(y0), math.ceil(y0 + side))
    within = (x0 - columns[0], y0 - rows[0], x0 - columns[0] + side, y0 - rows[0] + side)
    columns, rows = np.clip(columns, 0, image.width - 1), np.clip(rows, 0, image.height - 1)
    covered = image.crop((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)).convert(mode)
    repeated = np.asarray(covered)[rows[:, None] - rows[0], columns - columns[0]]
    return np.asarray(Image.fromarray(repeated).resize((pixels, pixels), Image.Resampling.LANCZOS, box=within))


def _cut_turned(image: Image.Image, square: Square, *, mode: str, pixels: int) -> NDArray[np.uint8]:
    """Do what `cut_square` does for a square that is turned.

    An upright square around it is resampled first, to twice the pixels: of a large face, so, nothing is skipped.
    """
    x0, y0, side, roll = square
    angle = math.radians(roll)
    reach = abs(math.sin(angle)) + abs(math.cos(angle))  # of the square around it, in sides
    margin = math.ceil(pixels * (reach - 1)) + 8  # both resamplings look at neighbours of the corners
    across = 2 * (pixels + margin)
    beyond = side * margin / pixels / 2
    around = Square(x0 - beyond, y0 - beyond, side + 2 * beyond)
    turned = Image.fromarray(cut_square(image, around, mode=mode, pixels=across)).rotate(roll, Image.Resampling.BICUBIC)
    within = (margin, margin, margin + 2 * pixels, margin + 2 * pixels)
    return np.asarray(turned.resize((pixels, pixels), Image.Resampling.LANCZOS, box=within))
