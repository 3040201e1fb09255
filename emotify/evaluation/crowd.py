"""Scores against the ten FER+ annotators of each image: do classifiers agree with what most people see?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emotify.arrays import Float32Array, Int64Array, UInt8Array
from emotify.choices import Head
from emotify.data.ferplus import EXPRESSION_COLUMNS, VOTES
from emotify.emotions import EMOTIONS
from emotify.evaluation.metrics import CalibrationBins, Scores, bin_by_confidence, cross_entropy, score

TRUTH: Final = "FER+ majority"
_EXPRESSIONS: Final = list(EXPRESSION_COLUMNS)
# The class of each FER+ column; -1 for contempt, unknown and NF (not a face), which are not among the seven.
_CLASSES: Final = np.full(len(VOTES), -1)
_CLASSES[_EXPRESSIONS] = np.arange(len(EMOTIONS))


@dataclass(frozen=True)
class Crowd:
    """How well a classifier agrees with the annotators.

    Images are selected as FER+'s authors do (see `majority_columns`). `scores` counts only the images whose majority
    is one of the seven classes.
    """

    head: Head  # the scored head
    scores: Scores  # against the majority
    n_with_contempt: int  # images whose majority is one of the seven classes, or contempt
    accuracy_with_contempt: float  # on these images; a classifier never predicts contempt
    cross_entropy: float  # to the vote shares, on the images of `scores`, nats
    entropy: float  # of the vote shares, nats; the lowest possible cross-entropy
    agreement: CalibrationBins = field(repr=False)  # by confidence; `accuracy` is the vote share of the prediction

    def document(self) -> dict[str, Any]:
        """Return the scores for JSON."""
        return {
            "head": self.head,
            "truth": TRUTH,
            **self.scores.document(),
            "n_with_contempt": self.n_with_contempt,
            "accuracy_with_contempt": self.accuracy_with_contempt,
            "cross_entropy": self.cross_entropy,
            "entropy": self.entropy,
            "share_error": self.agreement.error,
        }


def score_crowd(probabilities: Float32Array, votes: UInt8Array, *, head: Head = Head.CROWD) -> Crowd | None:
    """Score probabilities (N, 7) against votes (N, 10). Return None without an image that `scores` could count."""
    columns = majority_columns(votes)
    labels = crowd_labels(votes)
    agreed, contempt = labels >= 0, columns == VOTES.index("contempt")
    if not agreed.any():
        return None
    answers, wanted = probabilities[agreed], crowd_shares(votes[agreed])
    scores = score(answers, labels[agreed])
    right, counted = int(scores.confusion.trace()), int((agreed | contempt).sum())
    return Crowd(
        head=head,
        scores=scores,
        n_with_contempt=counted,
        accuracy_with_contempt=right / counted,
        cross_entropy=cross_entropy(answers, wanted),
        entropy=cross_entropy(wanted, wanted),
        agreement=agreement_bins(answers, wanted),
    )


def crowd_labels(votes: UInt8Array) -> Int64Array:
    """Return the majority class (0..6) of votes (N, 10), or -1 where the majority is not one of the seven, as (N,)."""
    columns = majority_columns(votes)
    return np.where(columns < 0, -1, _CLASSES[columns]).astype(np.int64)


def majority_columns(votes: UInt8Array) -> Int64Array:
    """Return the column of votes (N, 10) that has the majority, as (N,); -1 where there is no expression.

    Columns with a single vote are ignored. A majority is more than half of the remaining votes. Images without a
    majority, and those with the majority "unknown" or "NF", get -1, as FER+'s authors exclude them (Barsoum et al.
    2016, arXiv:1608.01041; "majority" in github.com/microsoft/FERPlus).
    """
    kept = np.where(votes > 1, votes, 0).astype(np.int64)
    columns = kept.argmax(1)
    counted = (2 * kept.max(1) > kept.sum(1)) & (columns < VOTES.index("unknown"))
    return np.where(counted, columns, -1).astype(np.int64)


def crowd_shares(votes: UInt8Array) -> Float32Array:
    """Return votes (N, 10) as shares (N, 7) of the seven classes. A row without votes for them is all 0."""
    counts = votes[:, _EXPRESSIONS].astype(np.float32)
    return np.asarray(counts / np.maximum(counts.sum(1, keepdims=True), 1))


def agreement_bins(probabilities: Float32Array, shares: Float32Array) -> CalibrationBins:
    """Bin images by the confidence of probabilities (N, 7), with the share of votes (N, 7) for the prediction.

    At a confidence of 70 %, seven of ten people should name the predicted expression.
    """
    return bin_by_confidence(probabilities, shares[np.arange(len(shares)), probabilities.argmax(1)])


def crowd_prior(votes: UInt8Array) -> NDArray[np.float64]:
    """Return the mean shares (7,) of the classes in votes (N, 10). Ignore images without votes for the seven."""
    shares = crowd_shares(votes).astype(np.float64)
    prior = shares[shares.sum(1) > 0].mean(0)
    return np.asarray(prior / prior.sum())
