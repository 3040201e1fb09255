"""How much members differ, and what an ensemble gains from it."""

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
    """What one member adds: the ensemble minus the same without it (other weights scaled, temperature fitted again)."""

    accuracy: float  # positive: it helps
    nll: float  # negative: it helps
    mcnemar_p: float


@dataclass(frozen=True)
class Diversity:
    """What members share and do not share, on one split. M members, N images.

    NaN stands where a number has no meaning, as the correlation with a member that is never wrong.
    """

    accuracies: NDArray[np.float64]  # (M,)
    weights: NDArray[np.float64]  # (M,), 0 for members that were left out
    disagreement: NDArray[np.float64]  # (M, M), share of images on which two members' predictions differ
    double_fault: NDArray[np.float64]  # (M, M), share of images that two members both get wrong
    same_mistake: NDArray[np.float64]  # (M, M), of those, the share to which both give the same wrong answer
    q_statistic: NDArray[np.float64]  # (M, M), Yule's Q of being right, -1..1
    error_correlation: NDArray[np.float64]  # (M, M), of being wrong, -1..1
    all_wrong: float  # share of images that every member gets wrong
    oracle_accuracy: float  # share of images that at least one member gets right
    member_nll: float  # mean over members, weighted
    pooled_nll: float  # of the pooled members, before the temperature
    divergence: float  # weighted mean of KL(pooled || member), nats
    gain: float  # member_nll - pooled_nll; the divergence, exactly, where logarithms are pooled
    pooled_accuracy: float
    cross_fitted: bool  # whether that accuracy, and its test below, are on images that the weights were not fitted to
    best_member: int
    best_accuracy: float
    mcnemar_p: float  # pooled against the best member
    marginal: tuple[Marginal | None, ...]  # a member; None where it was left out, or is alone

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
        """Return the numbers as JSON has them."""
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
    """Measure members' probabilities (M, N, 7), pooled as `pooling` says (else equally), against labels (N,).

    held_out: what the pool answers to images (N, 7) that it was not fitted to, which is what its accuracy is taken of;
    weights that are not fitted do without.
    Disagreement, double fault, Q and the correlation: Kuncheva & Whitaker 2003. The decomposition of the NLL holds for
    the mean of log-probabilities: Krogh & Vedelsby 1995, Heskes 1998.
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
    """Return what classifiers with these answers, each (N, 7), share, equally weighted; None for one alone."""
    return measure_diversity(np.stack(answers), labels) if len(answers) > 1 else None


def mean_of_pairs(matrix: NDArray[np.float64], *, alone: float) -> float:
    """Return the mean over pairs of different members of a matrix (M, M), and `alone` where there is none."""
    pairs = matrix[np.triu_indices(len(matrix), k=1)]
    pairs = pairs[~np.isnan(pairs)]
    return float(pairs.mean()) if len(pairs) else alone


def _q_statistic(both_right: NDArray[np.float64], both_wrong: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Yule's Q (M, M) of shares of images that two members both get right, and both wrong (Yule 1900)."""
    one_right = np.diag(both_right)[:, None] - both_right  # [i, j]: only i is right
    alike, unlike = both_right * both_wrong, one_right * one_right.T
    return _ratio(alike - unlike, alike + unlike)


def _correlation(wrong: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Pearson correlation (M, M) of being wrong (M, N)."""
    centred = wrong - wrong.mean(1, keepdims=True)
    spread = np.sqrt((centred**2).sum(1))
    return _ratio(centred @ centred.T, np.outer(spread, spread))


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return above / below, NaN where below is 0 but for rounding."""
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
