"""Faces of few pixels: how large a face is, and when it is too small to be sure of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

# Pixels a side. The probabilities of smaller faces need no flattening: networks that learned from images of 12 pixels
# are less sure of them by themselves. tests/benchmarks/small_faces.py measures it.
_CERTAIN_FROM: Final = 24


def face_size(box: Sequence[float]) -> float:
    """Return the side of the square as large as a box, in pixels of the picture; of a picture taken whole, its own."""
    x0, y0, x1, y1 = box
    return math.sqrt((x1 - x0) * (y1 - y0))


def is_too_small(size: float) -> bool:
    """Tell whether a face of this size is `uncertain`, whatever the answer."""
    return size < _CERTAIN_FROM
