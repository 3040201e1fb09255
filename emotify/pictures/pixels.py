"""Convert the pixels of any picture to the classifier's input, in the same way for training and prediction."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

IMAGE_SIZE: Final = 48  # side of the classifier's input, in pixels
_GREY: Final = (128, 128, 128, 255)
_NARROW: Final = 0.25  # of the range of the bits in use; a smaller range of values is stretched
_OUTLIERS: Final = (0.2, 99.8)  # percentiles; a sensor has dead and hot pixels
_SAMPLE: Final = 100_000  # values from which percentiles are computed
_AT_ONCE: Final = 2**20  # values converted at a time


class Square(NamedTuple):
    """The square of an image that a classifier sees, in pixels. It may extend beyond the image.

    x0 and y0 are its upper left corner before it is rotated clockwise about its centre by `roll` degrees.
    """

    x0: float
    y0: float
    side: float
    roll: float = 0.0

    def scaled(self, scale: float) -> Square:
        """Return the square in pixels of the image resized by `scale`."""
        return Square(self.x0 * scale, self.y0 * scale, self.side * scale, self.roll)


def has_many_levels(image: Image.Image) -> bool:
    """Return whether an image has grey values of more than 8 bits."""
    return image.mode in {"I", "F"} or image.mode.startswith("I;")


def to_eight_bits(values: NDArray[np.floating[Any] | np.integer[Any]]) -> NDArray[np.uint8]:
    """Scale grey values (H, W), of 9 to 32 bits or floating point, to uint8 0..255.

    Values are scaled by the bits in use, such as a sensor's 12 bits in a 16-bit file. If the values are close to each
    other, as from a thermal camera, or negative, they are scaled from the lowest to the highest. A 16-bit file made
    from an 8-bit one gives the values of the 8-bit file. Raises ValueError if a value is NaN or infinite.
    """
    if not np.isfinite(values).all():
        msg = "some pixels are NaN or infinite; save it as an ordinary PNG or JPEG"
        raise ValueError(msg)
    black, white = _range_in_use(values)
    grey = np.empty(values.shape, np.uint8)
    step = max(1, _AT_ONCE // max(1, values[0].size))
    for row in range(0, len(values), step):  # in parts, since a copy of all values in floating point may be large
        part = values[row : row + step].astype(np.float64)
        grey[row : row + step] = np.clip((part - black) * (256 / (white - black)), 0, 255)
    return grey


def _range_in_use(values: NDArray[np.floating[Any] | np.integer[Any]]) -> tuple[float, float]:
    """Return the value of black, and the first value above white."""
    low, high = float(values.min()), float(values.max())
    whole = values.dtype.kind in "iu"
    if whole and low >= 0 and high <= 65535 and not ((values % 256).any() and (values % 257).any()):
        return 0.0, 65536.0  # a 16-bit file made from an 8-bit one
    sample = values.reshape(-1)[:: max(1, values.size // _SAMPLE)]
    lower, upper = (float(value) for value in np.percentile(sample, _OUTLIERS))
    if low >= 0 and high <= 65535:
        white = 256 / 255 if high <= 1 and not whole else 2.0 ** max(8, int(high).bit_length())
        if low == high or upper - lower >= white * _NARROW:
            return 0.0, white
    if lower == upper or upper - lower >= (high - low) / 2:
        lower, upper = low, high if high > low else low + 1
    return lower, upper + (upper - lower) / 255


def composite_on_grey(image: Image.Image) -> Image.Image:
    """Return an image with transparency as RGB, composited on middle grey.

    Pillow's `convert` alone would show the hidden colours of transparent pixels. If alpha is zero everywhere, it is
    ignored, since it was probably never filled.
    """
    hidden = image.mode[-1] in "Aa" and image.getchannel(len(image.getbands()) - 1).getextrema() == (0, 0)
    shown = Image.new("RGB", image.size)
    rows = max(1, _AT_ONCE // image.width)
    for top in range(0, image.height, rows):  # in parts, since each copy of a large picture takes hundreds of MB
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
    """Return the square for a picture that is one whole face. It may extend beyond the picture.

    The square has the picture's centre and area. Stretching the picture would cost accuracy, and cropping it to its
    shorter side would cut off chins. This square loses a little on one axis and repeats the edge on the other.
    """
    side = math.sqrt(width * height)
    return Square((width - side) / 2, (height - side) / 2, side)


def cut_square(image: Image.Image, square: Square, *, mode: str = "L", pixels: int = IMAGE_SIZE) -> NDArray[np.uint8]:
    """Resample a square of an image to uint8 (pixels, pixels), or (pixels, pixels, 3) if `mode` is RGB.

    Where the square extends beyond the image, the image's edge is repeated. Corners are not rounded to whole pixels:
    rounding would shift or scale a face of 24 pixels by 4 %.
    """
    x0, y0, side, roll = square
    if roll:
        return _cut_turned(image, square, mode=mode, pixels=pixels)
    if (x0, y0, side, side) == (0, 0, *image.size):
        if image.size != (pixels, pixels) or image.mode != mode:  # images of FER-2013 are already 48x48 and grey
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
    """Resample a rotated square, as `cut_square` does for an upright one.

    First an upright square around it is resampled to twice the resolution, so that no pixels of a large face are
    skipped. Then that square is rotated and resampled.
    """
    x0, y0, side, roll = square
    angle = math.radians(roll)
    reach = abs(math.sin(angle)) + abs(math.cos(angle))  # side of the square around it, as a multiple of its side
    margin = math.ceil(pixels * (reach - 1)) + 8  # 8 more, since both resamplings read neighbours of the corners
    across = 2 * (pixels + margin)
    beyond = side * margin / pixels / 2
    around = Square(x0 - beyond, y0 - beyond, side + 2 * beyond)
    turned = Image.fromarray(cut_square(image, around, mode=mode, pixels=across)).rotate(roll, Image.Resampling.BICUBIC)
    within = (margin, margin, margin + 2 * pixels, margin + 2 * pixels)
    return np.asarray(turned.resize((pixels, pixels), Image.Resampling.LANCZOS, box=within))
