"""Temperature scaling: one number that makes probabilities more or less confident, without changing predictions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from emotify.arrays import Float32Array, Int64Array
from emotify.evaluation.classifier import logarithms, softmax
from emotify.evaluation.metrics import cross_entropy, negative_log_likelihood


def with_temperature(probabilities: Float32Array, temperature: float) -> Float32Array:
    """Return softmax(log p / temperature) of probabilities p (N, 7). A temperature above 1 flattens them."""
    return softmax(logarithms(probabilities) / temperature)


def fit_temperature(probabilities: Float32Array, labels: Int64Array) -> float:
    """Return the temperature, in 0.05..20, with the lowest NLL (Guo et al. 2017, arXiv:1706.04599)."""
    return _lowest(lambda temperature: negative_log_likelihood(with_temperature(probabilities, temperature), labels))


def fit_share_temperature(probabilities: Float32Array, shares: Float32Array) -> float:
    """Return the temperature, in 0.05..20, with the lowest cross-entropy to vote shares (N, 7)."""
    return _lowest(lambda temperature: cross_entropy(with_temperature(probabilities, temperature), shares))


def _lowest(loss: Callable[[float], float]) -> float:
    from scipy.optimize import minimize_scalar

    def of_logarithm(logarithm: float) -> float:
        return loss(float(np.exp(logarithm)))

    return float(np.exp(minimize_scalar(of_logarithm, bounds=(np.log(0.05), np.log(20)), method="bounded").x))
