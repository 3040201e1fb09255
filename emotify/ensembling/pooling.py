"""Pool the probabilities of members: weighted mean, then temperature, and for crowd heads a change of the prior."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emotify.arrays import Float32Array
from emotify.emotions import EMOTIONS
from emotify.evaluation.classifier import logarithms, pool_probabilities, softmax
from emotify.evaluation.temperature import with_temperature


@dataclass(frozen=True)
class Pooling:
    """The parameters that combine the probabilities of M members."""

    weights: tuple[float, ...]  # (M,), at least 0, sum 1; 0 for a member that is not used
    temperature: float  # divides the pooled log-probabilities
    linear: bool = False  # True: mean of probabilities; False: mean of log-probabilities

    def __call__(self, answers: Float32Array) -> Float32Array:
        """Combine members' probabilities (M, N, 7) into (N, 7)."""
        return with_temperature(self.raw(answers), self.temperature)

    def raw(self, answers: Float32Array) -> Float32Array:
        """Combine members' probabilities (M, N, 7) into (N, 7), without the temperature."""
        weights = np.asarray(self.weights)
        if self.linear:
            return np.tensordot(weights, answers, 1).astype(np.float32)
        return pool_probabilities(answers, weights)


@dataclass(frozen=True)
class CrowdPooling:
    """Pooling of the crowd heads of M members, with a correction for the class frequencies of train.

    A member without a crowd head has weight 0.

    After the temperature, each probability is divided by prior ** prior_power, where the prior is the mean vote share
    of the class in train. Power 0 changes nothing. Power 1 assumes that all expressions are equally frequent (Saerens
    et al. 2002, doi:10.1162/089976602753284446).
    """

    pooling: Pooling
    prior: tuple[float, ...] = (1 / len(EMOTIONS),) * len(EMOTIONS)  # (7,), of sum 1
    prior_power: float = 0.0

    @property
    def shift(self) -> tuple[float, ...]:
        """The values to add to the log-probabilities, (7,)."""
        return tuple(float(-self.prior_power * np.log(share)) for share in self.prior)

    def __call__(self, answers: Float32Array) -> Float32Array:
        """Combine members' probabilities (M, N, 7) into (N, 7)."""
        return softmax(logarithms(self.pooling(answers)) + np.array(self.shift, np.float32))


def mean_prior(priors: list[tuple[float, ...]], weights: tuple[float, ...]) -> tuple[float, ...]:
    """Return the weighted geometric mean of members' priors (7,), with sum 1. It fits the mean of log-probabilities."""
    powers = np.exp(np.average(np.log(np.array(priors)), axis=0, weights=weights))
    return tuple(float(share) for share in powers / powers.sum())
