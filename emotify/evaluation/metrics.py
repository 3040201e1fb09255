"""Scores of a classifier from its probabilities and the labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from emotify.arrays import Float32Array, Int64Array
from emotify.emotions import EMOTIONS

Float64Array: TypeAlias = NDArray[np.float64]

CALIBRATION_BINS = 15
_Z95 = 1.959963984540054  # the normal distribution has 95 % between -_Z95 and _Z95


@dataclass(frozen=True)
class ClassScores:
    """The scores of one class, in 0..1. A score is 0 when its denominator is 0."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Scores:
    """The scores of a classifier on one split."""

    n: int
    accuracy: float
    accuracy_ci95: tuple[float, float]  # Wilson 1927
    balanced_accuracy: float  # mean recall of the classes that are present
    macro_f1: float
    nll: float  # mean negative log-likelihood, nats
    brier: float  # mean squared distance to the one-hot label, 0..2 (Brier 1950)
    ece: float  # expected calibration error, equal-width bins (Naeini et al. 2015)
    ece_adaptive: float  # expected calibration error, bins of equally many images (Nguyen & O'Connor 2015)
    top2_accuracy: float  # share of images whose label is among the two most probable classes
    per_class: dict[str, ClassScores]
    confusion: Int64Array  # (7, 7), rows are the truth

    def document(self) -> dict[str, Any]:
        """Return the scores for `evaluate --json`."""
        return {
            "n": self.n,
            "accuracy": self.accuracy,
            "accuracy_ci95": list(self.accuracy_ci95),
            "balanced_accuracy": self.balanced_accuracy,
            "macro_f1": self.macro_f1,
            "nll": self.nll,
            "brier": self.brier,
            "ece": self.ece,
            "ece_adaptive": self.ece_adaptive,
            "top2_accuracy": self.top2_accuracy,
            "per_class": {name: vars(scores) for name, scores in self.per_class.items()},
            "confusion": self.confusion.tolist(),
        }


def score(probabilities: Float32Array, labels: Int64Array) -> Scores:
    """Score probabilities (N, 7) against labels (N,); N >= 1."""
    predictions = probabilities.argmax(1)
    confusion = confusion_matrix(labels, predictions)
    columns = _class_columns(confusion)
    present = columns[3] > 0
    right = int(confusion.trace())
    return Scores(
        n=len(labels),
        accuracy=right / len(labels),
        accuracy_ci95=wilson_interval(right, len(labels)),
        balanced_accuracy=float(columns[1][present].mean()),
        macro_f1=float(columns[2][present].mean()),
        nll=negative_log_likelihood(probabilities, labels),
        brier=brier_score(probabilities, labels),
        ece=calibration_error(probabilities, labels),
        ece_adaptive=adaptive_calibration_error(probabilities, labels),
        top2_accuracy=top2_accuracy(probabilities, labels),
        per_class={
            name: ClassScores(float(precision), float(recall), float(f1), int(support))
            for name, precision, recall, f1, support in zip(EMOTIONS, *columns, strict=True)
        },
        confusion=confusion,
    )


def confusion_matrix(labels: Int64Array, predictions: Int64Array) -> Int64Array:
    """Count labels (N,) and predictions (N,) in a matrix (7, 7). Rows are the labels."""
    count = len(EMOTIONS)
    return np.bincount(labels * count + predictions, minlength=count**2).reshape(count, count).astype(np.int64)


def wilson_interval(right: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of the share `right` / `count` (Wilson 1927)."""
    square, share = _Z95**2, right / count
    centre = 2 * right + square
    reach = _Z95 * math.sqrt(square + 4 * right * (1 - share))
    low, high = ((centre + edge) / (2 * (count + square)) for edge in (-reach, reach))
    return (0.0 if right == 0 else low), (1.0 if right == count else high)


def _class_columns(confusion: Int64Array) -> tuple[Float64Array, Float64Array, Float64Array, Int64Array]:
    """Return precision, recall, F1 and support of each class (7,) from a confusion matrix."""
    right, predicted, support = confusion.diagonal(), confusion.sum(0), confusion.sum(1)
    precision, recall = right / np.maximum(predicted, 1), right / np.maximum(support, 1)
    return precision, recall, 2 * right / np.maximum(predicted + support, 1), support


def negative_log_likelihood(probabilities: Float32Array, labels: Int64Array) -> float:
    """Return the mean negative log-likelihood of labels (N,) in nats."""
    chosen = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())


def cross_entropy(probabilities: Float32Array, shares: NDArray[np.floating[Any]]) -> float:
    """Return the mean of -sum(shares * log(probabilities)) over images (N, 7), nats."""
    logarithms = np.log(np.maximum(probabilities.astype(np.float64), 1e-12))
    return float(-(shares * logarithms).sum(1).mean())


def brier_score(probabilities: Float32Array, labels: Int64Array) -> float:
    """Return the mean squared distance between probabilities (N, K) and one-hot labels (N,), in 0..2."""
    wanted = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - wanted) ** 2).sum(1).mean())


def top2_accuracy(probabilities: Float32Array, labels: Int64Array) -> float:
    """Return the share of labels (N,) that are among the two most probable classes of probabilities (N, K)."""
    two = np.argsort(-probabilities, axis=1, kind="stable")[:, :2]
    return float((two == labels[:, None]).any(1).mean())


def calibration_error(probabilities: Float32Array, labels: Int64Array, bins: int = CALIBRATION_BINS) -> float:
    """Return the expected calibration error over equal-width bins: the mean gap between confidence and accuracy."""
    return calibration_bins(probabilities, labels, bins=bins).error


def adaptive_calibration_error(probabilities: Float32Array, labels: Int64Array, bins: int = CALIBRATION_BINS) -> float:
    """Return the expected calibration error over bins of equally many images."""
    return calibration_bins(probabilities, labels, bins=bins, adaptive=True).error


@dataclass(frozen=True)
class CalibrationBins:
    """Images in bins of increasing confidence. An empty bin has the values 0."""

    counts: Int64Array  # (bins,)
    confidence: Float64Array  # (bins,), mean
    accuracy: Float64Array  # (bins,)

    @property
    def error(self) -> float:
        """The expected calibration error."""
        return float((np.abs(self.accuracy - self.confidence) * self.counts).sum() / self.counts.sum())


def calibration_bins(
    probabilities: Float32Array, labels: Int64Array, *, bins: int = CALIBRATION_BINS, adaptive: bool = False
) -> CalibrationBins:
    """Bin images by the confidence of probabilities (N, K): equal-width bins, or `adaptive` bins of equally many."""
    return bin_by_confidence(probabilities, probabilities.argmax(1) == labels, bins=bins, adaptive=adaptive)


def bin_by_confidence(
    probabilities: Float32Array, agreed: NDArray[Any], *, bins: int = CALIBRATION_BINS, adaptive: bool = False
) -> CalibrationBins:
    """Bin images by the confidence of probabilities (N, K).

    agreed: how correct each prediction is, (N,) in 0..1; its mean in a bin becomes the bin's accuracy.
    """
    confidence = probabilities.max(1).astype(np.float64)
    if adaptive:
        # By rank, because the rounding of a quantile could separate images of equal confidence.
        place = np.searchsorted(np.sort(confidence), confidence) * bins // len(confidence)
    else:
        place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence)
    counts = np.bincount(place, minlength=bins)
    filled = np.maximum(counts, 1)
    return CalibrationBins(
        counts,
        np.bincount(place, weights=confidence, minlength=bins) / filled,
        np.bincount(place, weights=agreed, minlength=bins) / filled,
    )
