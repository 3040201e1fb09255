"""Colours of 16 bits a channel. Pillow keeps the upper 8, in which a sensor's 10 to 14 bits are nearly black."""

from __future__ import annotations

import sys
from typing import Final

import numpy as np
from PIL import Image

from emotify.arrays import UInt8Array

_HALF: Final = 128  # an upper byte below it says that a bit at least is not in use
_GREY_AND_ALPHA: Final = "LA;16B"
_NATIVE: Final = "L" if sys.byteorder == "little" else "B"


def layout(image: Image.Image) -> str:
    """Return how the pixels of an image that is open, but not loaded, are stored, if in 16 bits a channel; or ''."""
    if image.mode not in {"RGB", "RGBA"} or not getattr(image, "tile", None):
        return ""
    stored = _rawmode(image)
    return stored if ";16" in stored else ""


def leaves_bits_unused(upper: Image.Image) -> bool:
    """Tell whether the upper bytes show that the highest bit of every colour is never set."""
    return all(np.asarray(channel).max() < _HALF for channel in upper.split()[:3])


def show_lower_bytes(image: Image.Image, stored: str) -> None:
    """Let an image that is not loaded show the lower bytes, which would come first if it were of the other order."""
    order = _NATIVE if stored.endswith("N") else stored[-1]
    other = "RGBA" if stored == _GREY_AND_ALPHA else stored[:-1] + ("L" if order == "B" else "B")
    image.tile = [  # type: ignore[attr-defined] # of images that come from files
        part._replace(args=other if isinstance(part.args, str) else (other, *part.args[1:]))
        for part in image.tile  # type: ignore[attr-defined]
    ]


def scale_to_bits_in_use(upper: Image.Image, lower: Image.Image, stored: str) -> Image.Image:
    """Return an image of 8 bits a channel from the upper and the lower bytes of one of 16."""
    high, low = np.asarray(upper).astype(np.uint16), np.asarray(lower)
    if stored == _GREY_AND_ALPHA:  # which the lower image shows as grey, its lower byte, alpha and its lower byte
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
