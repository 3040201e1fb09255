"""One number that makes probabilities more or less sure, and leaves the answers as they are."""

from __future__ import annotations

import numpy as np

from emotify.data.types import Float32Array, Int64Array
from emotify.evaluation.classifier import logarithms, softmax
from emotify.evaluation.metrics import negative_log_likelihood


def with_temperature(probabilities: Float32Array, temperature: float) -> Float32Array:
    """Return softmax(log p / temperature) of probabilities (N, 7); above 1 it flattens them."""
    return softmax(logarithms(probabilities) / temperature)


def fit_temperature(probabilities: Float32Array, labels: Int64Array) -> float:
    """Return the temperature, in 0.05..20, with the lowest NLL (Guo et al. 2017, arXiv:1706.04599)."""
    from scipy.optimize import minimize_scalar

    def loss(logarithm: float) -> float:
        return negative_log_likelihood(with_temperature(probabilities, float(np.exp(logarithm))), labels)

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded").x))
