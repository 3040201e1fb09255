"""Members that answer as one: their weighted mean, and the temperature after it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emotify.data.types import Float32Array
from emotify.evaluation.classifier import pool_probabilities
from emotify.evaluation.temperature import with_temperature


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
