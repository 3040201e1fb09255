"""FER+'s ten annotators an image, as a second opinion on FER-2013's labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emotify.data.ferplus import VOTES
from emotify.data.types import Float32Array, Int64Array, UInt8Array
from emotify.emotions import EMOTIONS, emotion_index

# FER+'s columns as classes; -1 for contempt, unknown and NF (not a face), which are none of the seven.
_CLASSES: Final = np.array([-1 if (index := emotion_index(name)) is None else index for name in VOTES])


@dataclass(frozen=True)
class Crowd:
    """How a classifier agrees with the annotators, on the images whose majority is one of the seven classes."""

    n: int
    accuracy: float  # against the majority
    cross_entropy: float  # to the distribution of the votes, nats
    entropy: float  # of the votes themselves: no classifier's cross-entropy is less


def score_crowd(probabilities: Float32Array, votes: UInt8Array) -> Crowd | None:
    """Score probabilities (N, 7) against votes (N, 10); None when no image's majority is one of the seven."""
    labels = crowd_labels(votes)
    agreed = labels >= 0
    if not agreed.any():
        return None
    answers, wanted = probabilities[agreed], crowd_distribution(votes[agreed])
    return Crowd(
        n=len(answers),
        accuracy=float((answers.argmax(1) == labels[agreed]).mean()),
        cross_entropy=_cross_entropy(wanted, answers),
        entropy=_cross_entropy(wanted, wanted),
    )


def crowd_labels(votes: UInt8Array) -> Int64Array:
    """Return the class (0..6) on which most annotators of votes (N, 10) agree, or -1 where that is none of the seven.

    A single vote for a column is dropped, and the majority is more than half of the votes that are left: the filter of
    FER+'s authors (Barsoum et al. 2016, arXiv:1608.01041; "majority" in github.com/microsoft/FERPlus).
    """
    return np.where(majority_columns(votes) < 0, -1, _CLASSES[majority_columns(votes)]).astype(np.int64)


def majority_columns(votes: UInt8Array) -> Int64Array:
    """Return the column of votes (N, 10) that has the majority, as for `crowd_labels`, -1 where none has."""
    kept = np.where(votes > 1, votes, 0).astype(np.int64)
    return np.where(2 * kept.max(1) > kept.sum(1), kept.argmax(1), -1)


def crowd_distribution(votes: UInt8Array) -> NDArray[np.float64]:
    """Return the shares (N, 7) of the seven classes among their votes (N, 10), of which each image has some."""
    counts = np.zeros((len(votes), len(EMOTIONS)))
    counts[:, _CLASSES[_CLASSES >= 0]] = votes[:, _CLASSES >= 0]
    return np.asarray(counts / counts.sum(1, keepdims=True))


def _cross_entropy(wanted: NDArray[np.float64], answers: NDArray[np.floating]) -> float:
    """Return the mean of -sum(wanted * log(answers)) over images (N, 7), nats."""
    return float(-(wanted * np.log(np.maximum(answers.astype(np.float64), 1e-12))).sum(1).mean())
