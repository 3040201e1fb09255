"""Compare classifiers, and test whether a difference could be chance."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotify.evaluation.bootstrap import Interval, bootstrap_difference

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Comparison:
    """The comparison of two classifiers on the same images."""

    a: str
    b: str
    difference: float  # accuracy of a minus accuracy of b
    difference_ci95: Interval  # paired bootstrap over images
    only_a: int  # number of images that only a predicts correctly
    only_b: int
    mcnemar_p: float  # two-sided, exact
    mcnemar_p_holm: float  # corrected for the number of compared pairs; equals mcnemar_p for one pair

    @property
    def better(self) -> str | None:
        """The classifier that is significantly better by both test and interval, or None."""
        low, high = self.difference_ci95
        if self.mcnemar_p_holm >= SIGNIFICANT or low <= 0 <= high:
            return None
        return self.a if self.difference > 0 else self.b

    def document(self) -> dict[str, Any]:
        """Return the comparison for JSON."""
        return {**vars(self), "difference_ci95": list(self.difference_ci95), "better": self.better}


def compare(a: str, right_a: NDArray[np.bool_], b: str, right_b: NDArray[np.bool_]) -> Comparison:
    """Compare two classifiers by their masks (N,) of correct predictions, with McNemar's exact test (McNemar 1947)."""
    from scipy.stats import binomtest

    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    p = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    interval = bootstrap_difference(only_a, only_b, len(right_a))
    return Comparison(a, b, (only_a - only_b) / len(right_a), interval, only_a, only_b, p, p)


def compare_all(rights: Sequence[tuple[str, NDArray[np.bool_]]]) -> tuple[Comparison, ...]:
    """Compare all pairs of (name, mask (N,) of correct predictions), with corrected p-values (Holm 1979)."""
    pairs = [compare(*a, *b) for a, b in itertools.combinations(rights, 2)]
    corrected = holm([pair.mcnemar_p for pair in pairs])
    return tuple(replace(pair, mcnemar_p_holm=p) for pair, p in zip(pairs, corrected, strict=True))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values with Holm's correction, which controls the chance of any false positive among them."""
    order = np.argsort(p_values, kind="stable")
    steps = np.asarray(p_values)[order] * np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(p) for p in corrected]
