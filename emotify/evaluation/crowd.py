"""FER+'s ten annotators an image: what most people see in a face, and whether a classifier says the same."""

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
# FER+'s columns as classes; -1 for contempt, unknown and NF (not a face), which are none of the seven.
_CLASSES: Final = np.full(len(VOTES), -1)
_CLASSES[_EXPRESSIONS] = np.arange(len(EMOTIONS))


@dataclass(frozen=True)
class Crowd:
    """How a classifier agrees with the annotators.

    The images are those of FER+'s authors (`majority_columns`); of these `scores` has the ones whose majority is one of
    the seven classes.
    """

    head: Head  # that answered
    scores: Scores  # against the majority
    n_with_contempt: int  # images whose majority is one of the seven classes, or contempt
    accuracy_with_contempt: float  # on them; contempt is never answered
    cross_entropy: float  # to the shares of the votes on the images of `scores`, nats
    entropy: float  # of the votes themselves: no classifier's cross-entropy is less
    agreement: CalibrationBins = field(repr=False)  # by confidence; `accuracy` is the share of votes for the answer

    def document(self) -> dict[str, Any]:
        """Return the scores as JSON has them."""
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
    """Score probabilities (N, 7) against votes (N, 10); None when no image's majority is one of the seven."""
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
    """Return the class (0..6) that most annotators of votes (N, 10) named, or -1 where that is none of the seven."""
    columns = majority_columns(votes)
    return np.where(columns < 0, -1, _CLASSES[columns]).astype(np.int64)


def majority_columns(votes: UInt8Array) -> Int64Array:
    """Return the column of votes (N, 10) that has the majority, -1 where none has, or where it is no expression.

    A single vote for a column is dropped, and the majority is more than half of the votes that are left. Images of no
    majority, "unknown" and "NF" are left out, as FER+'s authors do (Barsoum et al. 2016, arXiv:1608.01041; "majority"
    in github.com/microsoft/FERPlus).
    """
    kept = np.where(votes > 1, votes, 0).astype(np.int64)
    columns = kept.argmax(1)
    counted = (2 * kept.max(1) > kept.sum(1)) & (columns < VOTES.index("unknown"))
    return np.where(counted, columns, -1).astype(np.int64)


def crowd_shares(votes: UInt8Array) -> Float32Array:
    """Return the shares (N, 7) of the seven classes among their votes (N, 10); 0 where an image has none of them."""
    counts = votes[:, _EXPRESSIONS].astype(np.float32)
    return np.asarray(counts / np.maximum(counts.sum(1, keepdims=True), 1))


def agreement_bins(probabilities: Float32Array, shares: Float32Array) -> CalibrationBins:
    """Bin images by the confidence of probabilities (N, 7), with the share of votes (N, 7) for the answer.

    When a classifier says 70 %, seven of ten people should name that expression.
    """
    return bin_by_confidence(probabilities, shares[np.arange(len(shares)), probabilities.argmax(1)])


def crowd_prior(votes: UInt8Array) -> NDArray[np.float64]:
    """Return the mean shares (7,) of the seven classes over images with votes (N, 10) for any of them."""
    shares = crowd_shares(votes).astype(np.float64)
    prior = shares[shares.sum(1) > 0].mean(0)
    return np.asarray(prior / prior.sum())
