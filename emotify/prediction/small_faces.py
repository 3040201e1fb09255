"""The size of a face, and the limit below which a face is too small for a certain label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

# Side in pixels. Probabilities of smaller faces need no extra flattening: the models were trained on images as small as
# 12 pixels, and are less confident on small faces. tests/benchmarks/small_faces.py measures this.
CERTAIN_FROM: Final = 24


def face_size(box: Sequence[float]) -> float:
    """Return the side of the square with the same area as a box, in pixels of the picture."""
    x0, y0, x1, y1 = box
    return math.sqrt((x1 - x0) * (y1 - y0))


def is_too_small(size: float) -> bool:
    """Return whether a face of this size is always labelled `uncertain`."""
    return size < CERTAIN_FROM
