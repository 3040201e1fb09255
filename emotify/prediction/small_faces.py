"""How sure an answer may be about a face of few pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Probabilities = npt.NDArray[np.float32]  # (N, K)

_CERTAIN_FROM: Final = 24  # pixels a side
# Fitted on PublicTest shrunk to these sizes; tests/benchmarks/small_faces.py prints them. From 24 pixels on, a model's
# confidence falls with its accuracy.
_SIZES: Final = (12, 16, 20, 24)
_TEMPERATURES: Final = (1.9, 1.35, 1.1, 1.0)


def face_size(box: Sequence[float]) -> float:
    """Return the side of the square as large as a box, in pixels of the picture; of a picture taken whole, its own."""
    x0, y0, x1, y1 = box
    return math.sqrt((x1 - x0) * (y1 - y0))


def is_too_small(size: float) -> bool:
    """Tell whether a face of this size is `uncertain`, whatever the answer."""
    return size < _CERTAIN_FROM


def flatten_small(probabilities: Probabilities, sizes: Sequence[float]) -> Probabilities:
    """Return the probabilities (N, K) of faces of these sizes, flatter where they are small.

    Those of larger faces stay as they are, to the last bit.
    """
    temperatures = np.interp(sizes, _SIZES, _TEMPERATURES).astype(np.float32)
    small = temperatures > 1
    flatter = probabilities.copy()
    flatter[small] **= 1 / temperatures[small, None]
    flatter[small] /= flatter[small].sum(axis=1, keepdims=True)
    return flatter
