"""Scores of a classifier's probabilities after temperature scaling."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from emotify.arrays import Float32Array, Int64Array
from emotify.evaluation.metrics import (
    adaptive_calibration_error,
    brier_score,
    calibration_error,
    negative_log_likelihood,
)
from emotify.evaluation.temperature import fit_temperature, with_temperature

FOLDS = 5


@dataclass(frozen=True)
class Calibration:
    """Scores after the log-probabilities are divided by a temperature fitted on `valid`. Predictions do not change."""

    temperature: float  # fitted on all of `valid`
    cross_fitted: bool  # True when `valid` itself is scored: each of 5 folds has the temperature of the other folds
    nll: float
    brier: float
    ece: float
    ece_adaptive: float
    probabilities: Float32Array = field(repr=False, compare=False)  # (N, 7), after the temperature

    def document(self) -> dict[str, Any]:
        """Return the temperature and the scores for JSON."""
        names = ("temperature", "cross_fitted", "nll", "brier", "ece", "ece_adaptive")
        return {name: getattr(self, name) for name in names}


def calibrate(
    probabilities: Float32Array, labels: Int64Array, valid: tuple[Float32Array, Int64Array] | None = None
) -> Calibration:
    """Score probabilities (N, 7) after a temperature fitted on `valid`, given as (probabilities, labels).

    Without `valid`, the probabilities are those of `valid` itself, at least FOLDS images. Then each fold has the
    temperature fitted on the other folds, because scores on the fitted images would be too good.
    """
    if valid is None:
        after, temperature = _cross_fitted(probabilities, labels), fit_temperature(probabilities, labels)
    else:
        temperature = fit_temperature(*valid)
        after = with_temperature(probabilities, temperature)
    return Calibration(
        temperature=temperature,
        cross_fitted=valid is None,
        nll=negative_log_likelihood(after, labels),
        brier=brier_score(after, labels),
        ece=calibration_error(after, labels),
        ece_adaptive=adaptive_calibration_error(after, labels),
        probabilities=after,
    )


def _cross_fitted(probabilities: Float32Array, labels: Int64Array) -> Float32Array:
    """Return probabilities (N, 7) after temperature scaling, each fold with the temperature of the other folds."""
    folds = np.random.default_rng(0).permutation(len(labels)) % FOLDS
    after = np.empty_like(probabilities)
    for fold in range(FOLDS):
        here = folds == fold
        after[here] = with_temperature(probabilities[here], fit_temperature(probabilities[~here], labels[~here]))
    return after
