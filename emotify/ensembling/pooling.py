"""Members that answer as one: their weighted mean, the temperature after it, and for the crowd another prior."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emotify.arrays import Float32Array
from emotify.emotions import EMOTIONS
from emotify.evaluation.classifier import logarithms, pool_probabilities, softmax
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


@dataclass(frozen=True)
class CrowdPooling:
    """How the crowd's heads of M members answer for other faces than those that they were trained on.

    After the temperature each probability is divided by how often people named that expression in train, to a power
    between 0 (not at all) and 1 (as if all expressions were equally frequent): Saerens et al. 2002,
    doi:10.1162/089976602753284446.
    """

    pooling: Pooling
    prior: tuple[float, ...] = (1 / len(EMOTIONS),) * len(EMOTIONS)  # (7,), of sum 1
    prior_power: float = 0.0

    @property
    def shift(self) -> tuple[float, ...]:
        """What is added to the logarithms (7,)."""
        return tuple(float(-self.prior_power * np.log(share)) for share in self.prior)

    def __call__(self, answers: Float32Array) -> Float32Array:
        """Return probabilities (N, 7) of members' probabilities (M, N, 7)."""
        return softmax(logarithms(self.pooling(answers)) + np.array(self.shift, np.float32))


def mean_prior(priors: list[tuple[float, ...]], weights: tuple[float, ...]) -> tuple[float, ...]:
    """Return the weighted geometric mean of members' priors (7,), of sum 1: pooled logarithms have that of theirs."""
    powers = np.exp(np.average(np.log(np.array(priors)), axis=0, weights=weights))
    return tuple(float(share) for share in powers / powers.sum())
