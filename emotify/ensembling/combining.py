"""Members that answer as one: their weighted mean, and the temperature fitted after pooling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emotify.data.types import Float32Array, Int64Array
from emotify.evaluation.classifier import pool_probabilities
from emotify.evaluation.metrics import negative_log_likelihood


@dataclass(frozen=True)
class Pooling:
    """How the probabilities of M members become those of one classifier."""

    weights: tuple[float, ...]  # of the members, at least 0, sum 1
    temperature: float  # divides the pooled logarithms
    linear: bool = False  # the mean of probabilities; else of their logarithms

    def __call__(self, answers: Float32Array) -> Float32Array:
        """Return probabilities (N, 7) of members' probabilities (M, N, 7)."""
        return with_temperature(self.raw(answers), self.temperature)

    def raw(self, answers: Float32Array) -> Float32Array:
        """Return what the members answer together before the temperature."""
        weights = np.asarray(self.weights)
        if self.linear:
            return np.tensordot(weights, answers, 1).astype(np.float32)
        return pool_probabilities(answers, weights)


def with_temperature(probabilities: Float32Array, temperature: float) -> Float32Array:
    """Return softmax(log p / temperature) of probabilities (N, 7); above 1 it flattens them."""
    return pool_probabilities(np.maximum(probabilities, 1e-12)[None] ** np.float32(1 / temperature))


def fit_temperature(probabilities: Float32Array, labels: Int64Array) -> float:
    """Return the temperature, in 0.05..20, with the lowest NLL (Guo et al. 2017, arXiv:1706.04599)."""
    from scipy.optimize import minimize_scalar

    def loss(logarithm: float) -> float:
        return negative_log_likelihood(with_temperature(probabilities, float(np.exp(logarithm))), labels)

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded").x))
