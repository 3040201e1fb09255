"""Whether one classifier is better than another, or was only luckier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Comparison:
    """Two classifiers on the same images."""

    a: str
    b: str
    difference: float  # accuracy of a minus accuracy of b
    mcnemar_p: float  # two-sided, exact


def compare(a: str, right_a: NDArray[np.bool_], b: str, right_b: NDArray[np.bool_]) -> Comparison:
    """Compare two classifiers by which images (N,) each got right, with McNemar's exact test (McNemar 1947)."""
    from scipy.stats import binomtest

    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    p = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    return Comparison(a, b, float(right_a.mean() - right_b.mean()), float(p))
