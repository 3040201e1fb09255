"""Combine members on `valid`: the requested method, all other methods for comparison, and a conclusion."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from emotify.arrays import Float32Array, Int64Array, UInt8Array
from emotify.choices import Method
from emotify.ensembling.conclusion import Recipes, conclude
from emotify.ensembling.diversity import Diversity, measure_diversity
from emotify.ensembling.pooling import Pooling
from emotify.ensembling.weights import BEST, FITTED, Contender, Headline, Trial, attempt
from emotify.evaluation.crowd import Crowd, crowd_shares, score_crowd
from emotify.evaluation.metrics import Scores, score
from emotify.evaluation.temperature import fit_share_temperature


@dataclass(frozen=True)
class CrowdCombination:
    """The combined crowd heads of the members, with the same weights as the labels heads."""

    pooling: Pooling  # its temperature gives the lowest cross-entropy to the vote shares
    scores: Crowd
    member_scores: tuple[Crowd, ...]

    def document(self) -> dict[str, Any]:
        """Return the scores of the crowd heads for JSON."""
        members = [{"accuracy": one.scores.accuracy, "cross_entropy": one.cross_entropy} for one in self.member_scores]
        return {"temperature": self.pooling.temperature, "valid": self.scores.document(), "members": members}


def fit_crowd_pooling(answers: Float32Array, votes: UInt8Array, pooling: Pooling) -> Pooling:
    """Return `pooling` with a temperature fitted to crowd answers (M, N, 7) and votes (N, 10)."""
    shares = crowd_shares(votes)
    voted = shares.sum(1) > 0
    raw = pooling.raw(answers)
    return dataclasses.replace(pooling, temperature=fit_share_temperature(raw[voted], shares[voted]))


def combine_crowd(answers: Float32Array, votes: UInt8Array, pooling: Pooling) -> CrowdCombination | None:
    """Combine members' crowd answers (M, N, 7) with the weights of `pooling`; votes (N, 10) are those of `valid`.

    Return None when no image of `valid` has a majority for one of the seven classes.
    """
    fitted = fit_crowd_pooling(answers, votes, pooling)
    scores = [one for answer in (fitted(answers), *answers) if (one := score_crowd(answer, votes)) is not None]
    return CrowdCombination(fitted, scores[0], tuple(scores[1:])) if scores else None


@dataclass(frozen=True)
class Combination:
    """Members combined on `valid`, with the results of all methods."""

    method: Contender  # the requested method
    taken: Contender  # the used method: another one when fitted weights do not help on held-out images
    trials: Mapping[Contender, Trial]
    scores: Scores  # of the ensemble, calibrated
    member_scores: tuple[Scores, ...]
    diversity: Diversity
    conclusion: str
    crowd: CrowdCombination | None = None  # None unless every member has a crowd head and `valid` has votes

    @property
    def pooling(self) -> Pooling:
        return self.trials[self.taken].pooling

    @property
    def cross_fitted(self) -> Headline:
        """The scores of the ensemble on images that its weights and temperature were not fitted to."""
        return self.trials[self.taken].cross_fitted

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

    Fitted weights are used only if their cross-fitted NLL is the lowest. Otherwise, the ensemble uses equal weights or
    only the best member. seed: for the folds and for the bags of the greedy selection.
    """
    methods = (*Method, BEST) if len(answers) > 1 else (method, BEST)
    trials = {each: attempt(each, answers, labels, seed=seed) for each in methods}
    rivals = [each for each in (method, Method.MEAN, BEST) if each in trials] if method in FITTED else [method]
    taken = min(rivals, key=lambda rival: trials[rival].cross_fitted.nll)
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
