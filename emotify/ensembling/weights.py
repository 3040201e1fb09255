"""Choose the weights of members on `valid`, and score each choice on images that it was not fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from emotify.arrays import Float32Array, Int64Array
from emotify.choices import Method
from emotify.emotions import EMOTIONS
from emotify.ensembling.pooling import Pooling
from emotify.evaluation.classifier import logarithms
from emotify.evaluation.metrics import cross_entropy
from emotify.evaluation.temperature import fit_share_temperature

FOLDS = 5
BAGS = 20
ROUNDS = 20  # members that each bag adds to its first ones
RIDGE = 0.01  # penalty in nats for a squared distance of 1 from equal weights
SMALLEST_SHARE = 0.1  # of an equal weight; a member below it costs its full time and adds almost nothing


Targets = Int64Array | Float32Array  # labels (N,), or shares (N, 7), rows sum to 1
Contender = Method | Literal["best member"]
BEST: Literal["best member"] = "best member"  # all weight on the most accurate member; an ensemble should beat it
FITTED = (Method.WEIGHTED, Method.GREEDY)  # the methods that fit weights


@dataclass(frozen=True)
class Headline:
    """The two scores to compare ensembles by."""

    accuracy: float  # against the largest share of each target
    nll: float  # the cross-entropy to the targets


@dataclass(frozen=True)
class Trial:
    """The result of one method."""

    method: Contender
    pooling: Pooling
    fitted: Headline  # scores on the images that the method was fitted to
    held_out: Float32Array  # (N, 7), cross-fitted probabilities: each fold by a fit to the other folds
    cross_fitted: Headline  # scores of held_out

    @property
    def members(self) -> int:
        """The number of members with a weight above 0."""
        return sum(weight > 0 for weight in self.pooling.weights)

    def document(self) -> dict[str, Any]:
        """Return the trial for JSON."""
        scores = {"valid": vars(self.fitted), "cross_fitted": vars(self.cross_fitted)}
        return {"method": self.method, "members": self.members, "weights": list(self.pooling.weights), **scores}


def choose(
    method: Method, answers: Float32Array, targets: Targets, *, seed: int, others: Sequence[Method] = ()
) -> tuple[Contender, dict[Contender, Trial]]:
    """Return the method to use for members' probabilities (M, N, 7), and the trials of all compared methods.

    Fitted weights are used only if their cross-fitted NLL is the lowest. Otherwise, equal weights or only the best
    member are used. others: more methods to compare.
    """
    rivals: tuple[Contender, ...] = (method, Method.MEAN, BEST) if method in FITTED else (method,)
    compared: dict[Contender, None] = dict.fromkeys((*others, *rivals, BEST))
    trials = {each: score_method(each, answers, targets, seed=seed) for each in compared}
    return min(rivals, key=lambda rival: trials[rival].cross_fitted.nll), trials


def score_method(method: Contender, answers: Float32Array, targets: Targets, *, seed: int) -> Trial:
    """Fit weights and temperature to members' probabilities (M, N, 7) and targets.

    Score the fit on the same images, and with cross-fitting over FOLDS folds.
    """
    targets = _shares(targets)
    pooling = fit(method, answers, targets, seed=seed)
    held_out = np.empty(answers.shape[1:], np.float32)
    folds = _folds(targets.argmax(1), seed=seed)
    for fold in np.unique(folds):
        held = folds == fold
        rest = ~held if not held.all() else held  # there is only one image
        fitted = fit(method, answers[:, rest], targets[rest], seed=seed)
        held_out[held] = fitted(answers[:, held])
    return Trial(method, pooling, _headline(pooling(answers), targets), held_out, _headline(held_out, targets))


def fit(method: Contender, answers: Float32Array, targets: Targets, *, seed: int) -> Pooling:
    """Fit the weights of `method` to members' probabilities (M, N, 7) and targets, then fit the temperature."""
    if method is Method.WEIGHTED:
        weights = drop_small_weights(fit_weights(answers, targets))
    elif method is Method.GREEDY:
        weights = drop_small_weights(select_greedily(answers, targets, seed=seed))
    elif method == BEST:
        weights = np.eye(len(answers))[(answers.argmax(2) == _shares(targets).argmax(1)).mean(1).argmax()]
    else:
        weights = np.full(len(answers), 1 / len(answers))
    return with_weights(weights, answers, targets, linear=method is Method.PROBABILITIES)


def with_weights(
    weights: NDArray[np.float64], answers: Float32Array, targets: Targets, *, linear: bool = False
) -> Pooling:
    """Return a pooling with these weights (M,) and a fitted temperature."""
    shares = tuple(float(weight) for weight in weights)
    raw = Pooling(shares, 1.0, linear).raw(answers)
    return Pooling(shares, fit_share_temperature(raw, _shares(targets)), linear)


def fit_weights(answers: Float32Array, targets: Targets) -> NDArray[np.float64]:
    """Return the weights (M,), at least 0 with sum 1, that give the lowest NLL after the temperature.

    Weights and temperature are fitted together: softmax(sum of v log p) with v >= 0 has weights v / sum(v) and
    temperature 1 / sum(v), and its NLL is convex in v. Weights fitted at temperature 1 would prefer confident members,
    although the temperature corrects confidence anyway. A small ridge penalty pulls v towards equal weights, so that
    similar members share their weight. Breiman 1996 (Stacked regressions) does the same, but pulls towards zero.
    """
    from scipy.optimize import minimize

    margins = _margins(answers, targets)
    members, images = margins.shape[:2]

    def loss(v: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scores = np.tensordot(v, margins, 1)
        nll, probabilities = _nll_and_softmax(scores)
        centred = v - v.mean()
        slope = np.tensordot(margins, probabilities, 2) / images
        return float(nll.mean() + RIDGE * centred @ centred), slope + 2 * RIDGE * centred

    start = np.full(members, 1 / members)
    found = minimize(loss, start, jac=True, bounds=[(0, None)] * members, method="L-BFGS-B").x
    return np.asarray(found / found.sum() if found.sum() > 0 else start)


def select_greedily(answers: Float32Array, targets: Targets, *, seed: int) -> NDArray[np.float64]:
    """Return weights (M,): how often greedy selection with replacement picks each member (Caruana et al. 2004).

    The weights are the mean over BAGS bags. Each bag starts with the k members of lowest NLL, where k gives the lowest
    pooled NLL. ROUNDS times, it adds the member that gives the lowest NLL, and it keeps the best selection. A bag is a
    bootstrap of the images. The paper draws bags from its 2,000 members; with few members, this would force weight on
    weak ones. The pooling uses log-probabilities, at the temperature fitted for equal weights.
    """
    generator = np.random.default_rng(seed)
    temperature = fit(Method.MEAN, answers, targets, seed=seed).temperature
    margins = (_margins(answers, targets) / temperature).astype(np.float32)
    images = len(targets)
    bags = (np.bincount(generator.integers(0, images, images), minlength=images) for _ in range(BAGS))
    return np.asarray(np.mean([_selected(margins, bag) for bag in bags], axis=0))


def drop_small_weights(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Set weights (M,) below SMALLEST_SHARE of an equal weight to 0, and scale the others to sum 1."""
    kept = np.where(weights < SMALLEST_SHARE / len(weights), 0.0, weights)
    return np.asarray(kept / kept.sum())


def _selected(margins: Float32Array, counts: Int64Array) -> NDArray[np.float64]:
    """Return the weights (M,) that one bag selects. `counts` (N,) is how often the bootstrap drew each image."""
    drawn = counts > 0
    margins, chances = margins[:, drawn], counts[drawn] / counts.sum()

    def loss(scores: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        return np.asarray(_nll_and_softmax(scores)[0] @ chances)

    order = np.argsort(loss(margins), kind="stable")
    sums = margins[order].cumsum(0)
    losses = loss(sums / np.arange(1, len(order) + 1, dtype=np.float32)[:, None, None])
    start = int(losses.argmin()) + 1
    votes = np.isin(np.arange(len(order)), order[:start]).astype(np.float64)
    total, best, best_votes = sums[start - 1], losses.min(), votes.copy()
    for size in range(start + 1, start + 1 + ROUNDS):
        losses = loss((total + margins) / np.float32(size))
        choice = int(losses.argmin())
        votes[choice] += 1
        total = total + margins[choice]
        if losses[choice] < best:
            best, best_votes = losses[choice], votes.copy()
    return np.asarray(best_votes / best_votes.sum())


def _shares(targets: Targets) -> Float32Array:
    """Return targets as shares (N, 7); a label is the whole share of its class."""
    if targets.ndim == 1:
        targets = np.eye(len(EMOTIONS), dtype=np.float32)[targets.astype(np.int64)]
    return targets.astype(np.float32, copy=False)


def _margins(answers: Float32Array, targets: Targets) -> NDArray[np.float64]:
    """Return log p minus its mean over the targets, (M, N, 7). The logsumexp of a row is its cross-entropy."""
    scores = logarithms(answers).astype(np.float64)
    return np.asarray(scores - (scores * _shares(targets)).sum(2, keepdims=True))


def _nll_and_softmax(
    scores: NDArray[np.floating[Any]],
) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
    """Return the NLL (..., N) and the softmax (..., N, 7) of margins (..., N, 7)."""
    largest = scores.max(-1, keepdims=True)
    powers = np.exp(scores - largest)
    total = powers.sum(-1, keepdims=True)
    return (np.log(total) + largest)[..., 0], powers / total


def _folds(labels: Int64Array, *, seed: int) -> Int64Array:
    """Return the fold (N,) of each image: random, with each class spread evenly over the folds."""
    order = np.lexsort((np.random.default_rng(seed).random(len(labels)), labels))
    folds = np.empty(len(labels), np.int64)
    folds[order] = np.arange(len(labels)) % FOLDS
    return folds


def _headline(probabilities: Float32Array, shares: Float32Array) -> Headline:
    accuracy = float((probabilities.argmax(1) == shares.argmax(1)).mean())
    return Headline(accuracy, cross_entropy(probabilities, shares))
