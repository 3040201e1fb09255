"""Read colours of 16 bits per channel. Pillow keeps only the upper 8 bits, so a sensor's 10 to 14 bits look black."""

from __future__ import annotations

import sys
from typing import Final

import numpy as np
from PIL import Image

from emotify.arrays import UInt8Array

_HALF: Final = 128  # if all upper bytes are below it, the highest bit is unused
_GREY_AND_ALPHA: Final = "LA;16B"
_NATIVE: Final = "L" if sys.byteorder == "little" else "B"


def layout(image: Image.Image) -> str:
    """Return Pillow's raw mode of an opened image that is not loaded yet, if it has 16 bits per channel, or ''."""
    if image.mode not in {"RGB", "RGBA"} or not getattr(image, "tile", None):
        return ""
    stored = _rawmode(image)
    return stored if ";16" in stored else ""


def leaves_bits_unused(upper: Image.Image) -> bool:
    """Return whether the highest bit of every colour is never set, given an image of the upper bytes."""
    return all(np.asarray(channel).max() < _HALF for channel in upper.split()[:3])


def show_lower_bytes(image: Image.Image, stored: str) -> None:
    """Make an image that is not loaded yet decode the lower bytes, by swapping the byte order of its raw mode."""
    order = _NATIVE if stored.endswith("N") else stored[-1]
    other = "RGBA" if stored == _GREY_AND_ALPHA else stored[:-1] + ("L" if order == "B" else "B")
    image.tile = [  # type: ignore[attr-defined] # only images from files have it
        part._replace(args=other if isinstance(part.args, str) else (other, *part.args[1:]))
        for part in image.tile  # type: ignore[attr-defined]
    ]


def scale_to_bits_in_use(upper: Image.Image, lower: Image.Image, stored: str) -> Image.Image:
    """Return an 8-bit image from the upper and lower bytes of a 16-bit one, scaled by the bits in use."""
    high, low = np.asarray(upper).astype(np.uint16), np.asarray(lower)
    if stored == _GREY_AND_ALPHA:  # channels of `lower`: grey, its lower byte, alpha, its lower byte
        low = low[..., [1, 1, 1, 3]]
    values = high * np.uint16(256) + low
    scaled = [_eight_bits(values[..., :3])]
    if values.shape[2] > 3:
        scaled.append(_eight_bits(values[..., 3:]))
    return Image.fromarray(np.concatenate(scaled, axis=2))


def _eight_bits(values: np.ndarray[tuple[int, ...], np.dtype[np.uint16]]) -> UInt8Array:
    unused = max(int(values.max()).bit_length() - 8, 0)
    return (values >> np.uint16(unused)).astype(np.uint8)


def _rawmode(image: Image.Image) -> str:
    arguments = image.tile[0].args  # type: ignore[attr-defined]
    first = arguments if isinstance(arguments, str) else arguments[0] if arguments else ""
    return first if isinstance(first, str) else ""
