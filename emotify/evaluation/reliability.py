"""Reliability of a classifier: accuracy against confidence, in bins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from emotify.arrays import Float32Array, Int64Array
from emotify.evaluation.metrics import calibration_bins, wilson_interval


@dataclass(frozen=True)
class ReliabilityBin:
    """The images whose confidence is in one bin; at least one."""

    count: int
    confidence: float  # mean
    accuracy: float
    interval: tuple[float, float]  # of the accuracy, 95 %, Wilson 1927


@dataclass(frozen=True)
class Reliability:
    """The confidence and the accuracy of predictions."""

    bins: tuple[ReliabilityBin, ...]  # before temperature scaling
    calibrated_bins: tuple[ReliabilityBin, ...]  # after temperature scaling; empty without a temperature
    right: Int64Array  # (20,), number of right predictions in each of 20 equal intervals of confidence
    wrong: Int64Array  # (20,), number of wrong predictions in the same intervals

    def document(self) -> dict[str, Any]:
        """Return the numbers for JSON."""
        return {
            "bins": [vars(part) for part in self.bins],
            "calibrated_bins": [vars(part) for part in self.calibrated_bins],
            "right_by_confidence": self.right.tolist(),
            "wrong_by_confidence": self.wrong.tolist(),
        }


def measure_reliability(
    probabilities: Float32Array, labels: Int64Array, calibrated: Float32Array | None = None
) -> Reliability:
    """Measure probabilities (N, 7) against labels (N,). calibrated: the probabilities (N, 7) after a temperature."""
    after = () if calibrated is None else reliability(calibrated, labels)
    return Reliability(reliability(probabilities, labels), after, *confidence_counts(probabilities, labels))


def reliability(probabilities: Float32Array, labels: Int64Array) -> tuple[ReliabilityBin, ...]:
    """Return the non-empty bins of 15 equal-width bins (DeGroot & Fienberg 1983)."""
    bins = calibration_bins(probabilities, labels)
    filled = (row for row in zip(bins.counts, bins.confidence, bins.accuracy, strict=True) if row[0])
    return tuple(
        ReliabilityBin(
            int(count), float(confidence), float(accuracy), wilson_interval(round(accuracy * count), int(count))
        )
        for count, confidence, accuracy in filled
    )


def confidence_counts(
    probabilities: Float32Array, labels: Int64Array, *, bins: int = 20
) -> tuple[Int64Array, Int64Array]:
    """Count right and wrong predictions in each of `bins` equal intervals of confidence: two arrays (bins,)."""
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    counts = [np.histogram(confidence[rows], bins=bins, range=(0, 1))[0] for rows in (right, ~right)]
    return counts[0].astype(np.int64), counts[1].astype(np.int64)
