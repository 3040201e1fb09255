"""How the pixels of any picture become those that a classifier sees: in training as in use."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

IMAGE_SIZE: Final = 48  # pixels, the side of what a classifier sees
_GREY: Final = (128, 128, 128, 255)
_NARROW: Final = 0.25  # of what the bits in use have room for: values that fill less are spread
_OUTLIERS: Final = (0.2, 99.8)  # percentiles; a sensor has dead pixels, and hot ones
_SAMPLE: Final = 100_000  # values that percentiles are taken of
_AT_ONCE: Final = 2**20  # values


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
    """Return grey values (H, W) of 9 to 32 bits or floating point as 0..255, scaled by what they hold.

    That is by the bits in use (a sensor's 12 in a file of 16), or from the lowest to the highest value where these are
    close to each other, as of a thermal camera, or negative. A file of 16 bits made from one of 8 gives the latter.
    Raises ValueError where they are not numbers.
    """
    if not np.isfinite(values).all():
        msg = "some of its pixels are NaN or infinite; save it as an ordinary PNG or JPEG"
        raise ValueError(msg)
    black, white = _range_in_use(values)
    grey = np.empty(values.shape, np.uint8)
    step = max(1, _AT_ONCE // max(1, values[0].size))
    for row in range(0, len(values), step):  # in parts: a copy in floating point may be a large one
        part = values[row : row + step].astype(np.float64)
        grey[row : row + step] = np.clip((part - black) * (256 / (white - black)), 0, 255)
    return grey


def _range_in_use(values: NDArray[np.floating[Any] | np.integer[Any]]) -> tuple[float, float]:
    """Return the values that stand for black and, as the first that is too large, for white."""
    low, high = float(values.min()), float(values.max())
    whole = values.dtype.kind in "iu"
    if whole and low >= 0 and high <= 65535 and not ((values % 256).any() and (values % 257).any()):
        return 0.0, 65536.0  # made from 8 bits
    sample = values.reshape(-1)[:: max(1, values.size // _SAMPLE)]
    lower, upper = (float(value) for value in np.percentile(sample, _OUTLIERS))
    if low >= 0 and high <= 65535:
        white = 256 / 255 if high <= 1 and not whole else 2.0 ** max(8, int(high).bit_length())
        if low == high or upper - lower >= white * _NARROW:
            return 0.0, white
    if lower == upper or upper - lower >= (high - low) / 2:
        lower, upper = low, high if high > low else low + 1
    return lower, upper + (upper - lower) / 255


def on_grey(image: Image.Image) -> Image.Image:
    """Return an image that is transparent in places in RGB, above a middle grey; as it is where all would be hidden.

    Pillow's `convert` alone would show the colours that hide below transparent pixels. An alpha channel of zeros is
    one that was never filled.
    """
    hidden = image.mode[-1] in "Aa" and image.getchannel(len(image.getbands()) - 1).getextrema() == (0, 0)
    shown = Image.new("RGB", image.size)
    rows = max(1, _AT_ONCE // image.width)
    for top in range(0, image.height, rows):  # in parts: each copy of a large picture takes hundreds of MB
        part = image.crop((0, top, image.width, min(top + rows, image.height)))
        seen = part.convert("LA") if part.mode == "La" else part
        seen = seen if seen.mode == "RGBA" else seen.convert("RGBA")
        if hidden:
            shown.paste(Image.merge("RGB", seen.split()[:3]), (0, top))
            continue
        ground = Image.new("RGBA", part.size, _GREY)
        ground.alpha_composite(seen)
        shown.paste(ground.convert("RGB"), (0, top))
    return shown


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
