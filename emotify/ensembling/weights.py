"""Choose the weights of members on `valid`, and score each choice on images that it was not fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from emotify.arrays import Float32Array, Int64Array
from emotify.choices import Method
from emotify.ensembling.pooling import Pooling
from emotify.evaluation.classifier import logarithms
from emotify.evaluation.metrics import negative_log_likelihood
from emotify.evaluation.temperature import fit_temperature

FOLDS = 5
BAGS = 20
ROUNDS = 20  # members that each bag adds to its first ones
RIDGE = 0.01  # penalty in nats for a squared distance of 1 from equal weights
SMALLEST_SHARE = 0.1  # of an equal weight; a member below it costs its full time and adds almost nothing


Contender = Method | Literal["best member"]
BEST: Literal["best member"] = "best member"  # all weight on the most accurate member; an ensemble should beat it
FITTED = (Method.WEIGHTED, Method.GREEDY)  # the methods that fit weights


@dataclass(frozen=True)
class Headline:
    """The two scores to compare ensembles by."""

    accuracy: float
    nll: float


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


def attempt(method: Contender, answers: Float32Array, labels: Int64Array, *, seed: int) -> Trial:
    """Fit weights and temperature to members' probabilities (M, N, 7) and labels (N,).

    Score the fit on the same images, and with cross-fitting over FOLDS folds.
    """
    pooling = fit(method, answers, labels, seed=seed)
    held_out = np.empty(answers.shape[1:], np.float32)
    folds = _folds(labels, seed=seed)
    for fold in np.unique(folds):
        held = folds == fold
        rest = ~held if not held.all() else held  # there is only one image
        fitted = fit(method, answers[:, rest], labels[rest], seed=seed)
        held_out[held] = fitted(answers[:, held])
    return Trial(method, pooling, _headline(pooling(answers), labels), held_out, _headline(held_out, labels))


def fit(method: Contender, answers: Float32Array, labels: Int64Array, *, seed: int) -> Pooling:
    """Fit the weights of `method` to members' probabilities (M, N, 7) and labels (N,), then fit the temperature."""
    if method is Method.WEIGHTED:
        weights = without_small(fit_weights(answers, labels))
    elif method is Method.GREEDY:
        weights = without_small(select_greedily(answers, labels, seed=seed))
    elif method == BEST:
        weights = np.eye(len(answers))[(answers.argmax(2) == labels).mean(1).argmax()]
    else:
        weights = np.full(len(answers), 1 / len(answers))
    return with_weights(weights, answers, labels, linear=method is Method.PROBABILITIES)


def with_weights(
    weights: NDArray[np.float64], answers: Float32Array, labels: Int64Array, *, linear: bool = False
) -> Pooling:
    """Return a pooling with these weights (M,) and a fitted temperature."""
    shares = tuple(float(weight) for weight in weights)
    return Pooling(shares, fit_temperature(Pooling(shares, 1.0, linear).raw(answers), labels), linear)


def fit_weights(answers: Float32Array, labels: Int64Array) -> NDArray[np.float64]:
    """Return the weights (M,), at least 0 with sum 1, that give the lowest NLL after the temperature.

    Weights and temperature are fitted together: softmax(sum of v log p) with v >= 0 has weights v / sum(v) and
    temperature 1 / sum(v), and its NLL is convex in v. Weights fitted at temperature 1 would prefer confident members,
    although the temperature corrects confidence anyway. A small ridge penalty pulls v towards equal weights, so that
    similar members share their weight. Breiman 1996 (Stacked regressions) does the same, but pulls towards zero.
    """
    from scipy.optimize import minimize

    margins = _margins(answers, labels)
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


def select_greedily(answers: Float32Array, labels: Int64Array, *, seed: int) -> NDArray[np.float64]:
    """Return weights (M,): how often greedy selection with replacement picks each member (Caruana et al. 2004).

    The weights are the mean over BAGS bags. Each bag starts with the k members of lowest NLL, where k gives the lowest
    pooled NLL. ROUNDS times, it adds the member that gives the lowest NLL, and it keeps the best selection. A bag is a
    bootstrap of the images. The paper draws bags from its 2,000 members; with few members, this would force weight on
    weak ones. The pooling uses log-probabilities, at the temperature fitted for equal weights.
    """
    generator = np.random.default_rng(seed)
    margins = (_margins(answers, labels) / fit(Method.MEAN, answers, labels, seed=seed).temperature).astype(np.float32)
    images = len(labels)
    bags = (np.bincount(generator.integers(0, images, images), minlength=images) for _ in range(BAGS))
    return np.asarray(np.mean([_selected(margins, bag) for bag in bags], axis=0))


def without_small(weights: NDArray[np.float64]) -> NDArray[np.float64]:
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


def _margins(answers: Float32Array, labels: Int64Array) -> NDArray[np.float64]:
    """Return log p minus log p of the true class, (M, N, 7). The logsumexp of a row is the NLL of its softmax."""
    scores = logarithms(answers).astype(np.float64)
    return scores - scores[:, np.arange(len(labels)), labels][:, :, None]


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


def _headline(probabilities: Float32Array, labels: Int64Array) -> Headline:
    accuracy = float((probabilities.argmax(1) == labels).mean())
    return Headline(accuracy, negative_log_likelihood(probabilities, labels))
