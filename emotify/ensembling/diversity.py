"""Measure how much the members of an ensemble differ, and what the ensemble gains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotify.arrays import Float32Array, Int64Array
from emotify.ensembling.pooling import Pooling
from emotify.ensembling.weights import with_weights
from emotify.evaluation.metrics import negative_log_likelihood
from emotify.evaluation.significance import compare


@dataclass(frozen=True)
class Marginal:
    """The contribution of one member: scores of the ensemble minus scores without this member.

    Without it, the other weights are scaled to sum 1, and the temperature is fitted again.
    """

    accuracy: float  # positive when the member helps
    nll: float  # negative when the member helps
    mcnemar_p: float


@dataclass(frozen=True)
class Diversity:
    """Measures of how much M members differ on one split of N images.

    A value is NaN where it is undefined, such as the error correlation with a member that is never wrong.
    """

    accuracies: NDArray[np.float64]  # (M,)
    weights: NDArray[np.float64]  # (M,), 0 for dropped members
    disagreement: NDArray[np.float64]  # (M, M), share of images on which two members' predictions differ
    double_fault: NDArray[np.float64]  # (M, M), share of images that two members both get wrong
    same_mistake: NDArray[np.float64]  # (M, M), share of the double faults with the same wrong prediction
    q_statistic: NDArray[np.float64]  # (M, M), Yule's Q of right predictions, -1..1
    error_correlation: NDArray[np.float64]  # (M, M), Pearson correlation of wrong predictions, -1..1
    all_wrong: float  # share of images that every member gets wrong
    oracle_accuracy: float  # share of images that at least one member gets right
    member_nll: float  # weighted mean over members
    pooled_nll: float  # NLL of the pooled members, before the temperature
    divergence: float  # weighted mean of KL(pooled || member), nats
    gain: float  # member_nll - pooled_nll; equals the divergence when log-probabilities are pooled
    pooled_accuracy: float
    cross_fitted: bool  # True when pooled_accuracy and mcnemar_p use images that the weights were not fitted to
    best_member: int
    best_accuracy: float
    mcnemar_p: float  # pooled members against the best member
    marginal: tuple[Marginal | None, ...]  # one per member; None when it was dropped, or is the only member

    @property
    def mean_disagreement(self) -> float:
        return mean_of_pairs(self.disagreement, alone=0.0)

    @property
    def mean_double_fault(self) -> float:
        return mean_of_pairs(self.double_fault, alone=0.0)

    @property
    def mean_error_correlation(self) -> float:
        return mean_of_pairs(self.error_correlation, alone=math.nan)

    @property
    def mean_q_statistic(self) -> float:
        return mean_of_pairs(self.q_statistic, alone=math.nan)

    def document(self) -> dict[str, Any]:
        """Return the numbers for JSON."""
        pairs = ("disagreement", "double_fault", "same_mistake", "q_statistic", "error_correlation")
        means = {f"mean_{name}": mean_of_pairs(getattr(self, name), alone=math.nan) for name in pairs}
        marginal = [None if member is None else vars(member) for member in self.marginal]
        return {name: _plain(value) for name, value in {**vars(self), **means, "marginal": marginal}.items()}


def measure_diversity(
    answers: Float32Array,
    labels: Int64Array,
    pooling: Pooling | None = None,
    *,
    held_out: Float32Array | None = None,
) -> Diversity:
    """Measure members' probabilities (M, N, 7) against labels (N,).

    pooling: how the members are pooled; equal weights by default.
    held_out: cross-fitted probabilities (N, 7) of the pooled members, for their accuracy. Only fitted weights need it.

    Disagreement, double fault, Q and error correlation: Kuncheva & Whitaker 2003. The decomposition of the NLL holds
    for the mean of log-probabilities: Krogh & Vedelsby 1995, Heskes 1998.
    """
    members = len(answers)
    pooling = pooling or Pooling((1 / members,) * members, 1.0)
    weights = np.asarray(pooling.weights)
    predictions = answers.argmax(2)
    right = predictions == labels
    wrong = (~right).astype(np.float64)
    both_wrong = wrong @ wrong.T / len(labels)
    disagreement = (predictions[:, None] != predictions[None]).mean(2)
    both_right = (1 - wrong) @ (1 - wrong).T / len(labels)
    pooled = pooling.raw(answers)
    pooled_right = (pooled if held_out is None else held_out).argmax(1) == labels
    best = int(right.mean(1).argmax())
    member_nll = float(weights @ [negative_log_likelihood(member, labels) for member in answers])
    pooled_nll = negative_log_likelihood(pooled, labels)
    return Diversity(
        accuracies=right.mean(1),
        weights=weights,
        disagreement=disagreement,
        double_fault=both_wrong,
        same_mistake=_ratio(np.maximum(1 - disagreement - both_right, 0), both_wrong),
        q_statistic=_q_statistic(both_right, both_wrong),
        error_correlation=_correlation(wrong),
        all_wrong=float((~right).all(0).mean()),
        oracle_accuracy=float(right.any(0).mean()),
        member_nll=member_nll,
        pooled_nll=pooled_nll,
        divergence=float(weights @ [_divergence(pooled, member) for member in answers]),
        gain=member_nll - pooled_nll,
        pooled_accuracy=float(pooled_right.mean()),
        cross_fitted=held_out is not None,
        best_member=best,
        best_accuracy=float(right[best].mean()),
        mcnemar_p=compare("pooled", pooled_right, "best", right[best]).mcnemar_p,
        marginal=_marginal(answers, labels, pooling),
    )


def diversity_of(answers: Sequence[Float32Array], labels: Int64Array) -> Diversity | None:
    """Return the diversity of classifiers with equal weights. Answers are (N, 7) each. None for a single classifier."""
    return measure_diversity(np.stack(answers), labels) if len(answers) > 1 else None


def mean_of_pairs(matrix: NDArray[np.float64], *, alone: float) -> float:
    """Return the mean of a matrix (M, M) over pairs of different members, without NaN; `alone` without any pair."""
    pairs = matrix[np.triu_indices(len(matrix), k=1)]
    pairs = pairs[~np.isnan(pairs)]
    return float(pairs.mean()) if len(pairs) else alone


def _q_statistic(both_right: NDArray[np.float64], both_wrong: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Yule's Q (M, M) from the shares of images that two members both get right, and both get wrong (Yule 1900).

    both_right, both_wrong: (M, M).
    """
    one_right = np.diag(both_right)[:, None] - both_right  # [i, j]: only i is right
    alike, unlike = both_right * both_wrong, one_right * one_right.T
    return _ratio(alike - unlike, alike + unlike)


def _correlation(wrong: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Pearson correlation (M, M) of wrong predictions (M, N)."""
    centred = wrong - wrong.mean(1, keepdims=True)
    spread = np.sqrt((centred**2).sum(1))
    return _ratio(centred @ centred.T, np.outer(spread, spread))


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return above / below, and NaN where `below` is 0 up to rounding."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 1e-12)


def _divergence(pooled: Float32Array, member: Float32Array) -> float:
    """Return the mean KL(pooled || member) in nats."""
    logarithms = [np.log(np.maximum(one, 1e-12)).astype(np.float64) for one in (pooled, member)]
    return float((pooled * (logarithms[0] - logarithms[1])).sum(1).mean())


def _marginal(answers: Float32Array, labels: Int64Array, pooling: Pooling) -> tuple[Marginal | None, ...]:
    weights = np.asarray(pooling.weights)
    if (weights > 0).sum() < 2:
        return (None,) * len(weights)
    whole = with_weights(weights, answers, labels, linear=pooling.linear)(answers)
    return tuple(
        _without(member, whole, answers, labels, pooling) if weight > 0 else None
        for member, weight in enumerate(weights)
    )


def _without(member: int, whole: Float32Array, answers: Float32Array, labels: Int64Array, pooling: Pooling) -> Marginal:
    others = np.delete(np.asarray(pooling.weights), member)
    answers = np.delete(answers, member, axis=0)
    rest = with_weights(others / others.sum(), answers, labels, linear=pooling.linear)(answers)
    pair = compare("whole", whole.argmax(1) == labels, "rest", rest.argmax(1) == labels)
    nll = negative_log_likelihood(whole, labels) - negative_log_likelihood(rest, labels)
    return Marginal(pair.difference, nll, pair.mcnemar_p)


def _plain(value: object) -> object:
    """Return arrays as lists and NaN as None, for JSON."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value
