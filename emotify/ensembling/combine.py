"""Combine members on `valid`: the requested method, all other methods for comparison, and a conclusion."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emotify.arrays import Float32Array, Int64Array, UInt8Array
from emotify.choices import Method
from emotify.ensembling.conclusion import Recipes, conclude
from emotify.ensembling.diversity import Diversity, measure_diversity
from emotify.ensembling.pooling import Pooling
from emotify.ensembling.weights import BEST, FITTED, Contender, Headline, Trial, choose
from emotify.evaluation.crowd import Crowd, crowd_shares, score_crowd
from emotify.evaluation.metrics import Scores, score
from emotify.evaluation.temperature import fit_share_temperature


@dataclass(frozen=True)
class CrowdCombination:
    """The combined crowd heads of M members, with weights of their own."""

    method: Method  # the requested method
    taken: Contender  # the used method
    pooling: Pooling  # fitted to the vote shares; weight 0 for members without a crowd head
    scores: Crowd
    member_scores: tuple[Crowd | None, ...]  # (M,), None for a member without a crowd head

    def document(self) -> dict[str, Any]:
        """Return the scores of the crowd heads for JSON."""
        members = [
            one and {"accuracy": one.scores.accuracy, "cross_entropy": one.cross_entropy} for one in self.member_scores
        ]
        return {
            "taken": self.taken,
            "weights": list(self.pooling.weights),
            "temperature": self.pooling.temperature,
            "valid": self.scores.document(),
            "members": members,
        }


def fit_crowd_pooling(answers: Float32Array, votes: UInt8Array, pooling: Pooling) -> Pooling:
    """Return `pooling` with a temperature fitted to crowd answers (M, N, 7) and votes (N, 10)."""
    shares = crowd_shares(votes)
    voted = shares.sum(1) > 0
    raw = pooling.raw(answers)
    return dataclasses.replace(pooling, temperature=fit_share_temperature(raw[voted], shares[voted]))


def combine_crowd(
    answers: Sequence[Float32Array | None], votes: UInt8Array, *, method: Method = Method.MEAN, seed: int = 0
) -> CrowdCombination | None:
    """Combine M members' crowd answers (N, 7), None for members without a crowd head; votes (N, 10) are of `valid`.

    The weights are fitted to the vote shares as `combine` fits its weights to the labels. Return None without a crowd
    head, and when no image of `valid` has a majority for one of the seven classes.
    """
    places = [place for place, answer in enumerate(answers) if answer is not None]
    scores = [None if answer is None else score_crowd(answer, votes) for answer in answers]
    if not any(scores):
        return None
    heads, shares = np.stack([answer for answer in answers if answer is not None]), crowd_shares(votes)
    voted = shares.sum(1) > 0
    taken, trials = choose(method, heads[:, voted], shares[voted], seed=seed)
    fitted = trials[taken].pooling
    combined = score_crowd(fitted(heads), votes)
    assert combined is not None
    weights = np.zeros(len(answers))
    weights[places] = fitted.weights
    pooling = dataclasses.replace(fitted, weights=tuple(map(float, weights)))
    return CrowdCombination(method, taken, pooling, combined, tuple(scores))


@dataclass(frozen=True)
class Combination:
    """Members combined on `valid`, with the results of all methods."""

    method: Method  # the requested method
    taken: Contender  # the used method: another one when fitted weights do not help on held-out images
    trials: Mapping[Contender, Trial]
    scores: Scores  # of the ensemble, calibrated
    member_scores: tuple[Scores, ...]
    diversity: Diversity
    conclusion: str
    crowd: CrowdCombination | None = None  # None unless a member has a crowd head and `valid` has votes

    @property
    def pooling(self) -> Pooling:
        return self.trials[self.taken].pooling

    @property
    def cross_fitted(self) -> Headline:
        """The scores of the ensemble on images that its weights and temperature were not fitted to."""
        return self.trials[self.taken].cross_fitted

    @property
    def used(self) -> tuple[bool, ...]:
        """Whether each member has a weight above 0 in one of the heads."""
        crowd = self.crowd.pooling.weights if self.crowd else (0.0,) * len(self.pooling.weights)
        return tuple(max(pair) > 0 for pair in zip(self.pooling.weights, crowd, strict=True))

    def worse_in(self) -> list[str]:
        """Return the scores, as texts, in which the ensemble is worse on `valid` than its calibrated best member."""
        mine, best = self.scores, self.trials[BEST].fitted
        accuracy = f"accuracy ({mine.accuracy:.2%} against {best.accuracy:.2%})"
        nll = f"NLL ({mine.nll:.3f} against {best.nll:.3f})"
        return [
            text for text, worse in ((accuracy, mine.accuracy < best.accuracy), (nll, mine.nll > best.nll)) if worse
        ]

    def advice(self) -> Contender:
        """Return the method with the lowest cross-fitted NLL among those at least as accurate as the best member."""
        floor = self.trials[BEST].cross_fitted.accuracy
        fine = [trial for trial in self.trials.values() if trial.cross_fitted.accuracy >= floor]
        return min(fine, key=lambda trial: trial.cross_fitted.nll).method


def combine(
    answers: Float32Array,
    labels: Int64Array,
    *,
    method: Method = Method.MEAN,
    seed: int = 0,
    recipes: Recipes = (),
) -> Combination:
    """Combine members' probabilities (M, N, 7) on `valid` with labels (N,).

    seed: for the folds and for the bags of the greedy selection.
    """
    taken, trials = choose(method, answers, labels, seed=seed, others=tuple(Method) if len(answers) > 1 else ())
    pooling = trials[taken].pooling
    diversity = measure_diversity(
        answers, labels, pooling, held_out=trials[taken].held_out if taken in FITTED else None
    )
    scores, *member_scores = (score(answer, labels) for answer in (pooling(answers), *answers))
    return Combination(method, taken, trials, scores, tuple(member_scores), diversity, conclude(diversity, recipes))


def identical_members(answers: Float32Array) -> dict[int, int]:
    """Return later -> earlier for members of answers (M, N, 7) that are exactly equal to an earlier member."""
    found: dict[int, int] = {}
    for later in range(1, len(answers)):
        for earlier in range(later):
            if earlier not in found and np.array_equal(answers[later], answers[earlier]):
                found[later] = earlier
                break
    return found
