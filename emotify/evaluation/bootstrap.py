"""Bootstrap intervals over images (Efron 1979), computed from counts.

A resample draws N of N images with replacement. The number of images in each category, such as a cell of a confusion
matrix, is then multinomial. So drawing the counts has the same distribution as drawing the images, and is much faster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from emotify.arrays import Int64Array

RESAMPLES = 10_000
SEED = 0

Interval: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Intervals:
    """95 % intervals: the 2.5th to the 97.5th percentile of the resamples."""

    accuracy: Interval
    balanced_accuracy: Interval
    macro_f1: Interval

    def document(self) -> dict[str, Any]:
        """Return the intervals for JSON."""
        return {"resamples": RESAMPLES, **{name: list(interval) for name, interval in vars(self).items()}}


def bootstrap_confusion(confusion: Int64Array, *, resamples: int = RESAMPLES, seed: int = SEED) -> Intervals:
    """Return the intervals for a confusion matrix (K, K) of at least one image. Rows are the truth."""
    drawn = _draw(confusion.ravel(), resamples, seed).reshape(resamples, *confusion.shape)
    hits = np.diagonal(drawn, axis1=1, axis2=2)
    support, predicted = drawn.sum(2), drawn.sum(1)
    present = support > 0
    return Intervals(
        accuracy=_middle(hits.sum(1) / confusion.sum()),
        balanced_accuracy=_middle(_mean_over(present, hits / np.maximum(support, 1))),
        macro_f1=_middle(_mean_over(present, 2 * hits / np.maximum(support + predicted, 1))),
    )


def bootstrap_difference(only_a: int, only_b: int, n: int, *, resamples: int = RESAMPLES, seed: int = SEED) -> Interval:
    """Return the interval of the accuracy of a minus the accuracy of b, on n images.

    only_a, only_b: the number of images on which only a, or only b, is right.
    """
    drawn = _draw(np.array([only_a, only_b, n - only_a - only_b]), resamples, seed)
    return _middle((drawn[:, 0] - drawn[:, 1]) / n)


def _draw(counts: Int64Array, resamples: int, seed: int) -> Int64Array:
    """Draw resamples of category counts (C,): int64 (resamples, C)."""
    drawn = np.zeros((resamples, len(counts)), np.int64)
    kinds = np.flatnonzero(counts)
    n = int(counts.sum())
    drawn[:, kinds] = np.random.default_rng(seed).multinomial(n, counts[kinds] / n, size=resamples)
    return drawn


def _mean_over(present: NDArray[np.bool_], values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((values * present).sum(1) / present.sum(1))


def _middle(values: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
