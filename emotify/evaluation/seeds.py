"""Compare training recipes over several seeds, and test whether a difference could be chance."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotify.evaluation.bootstrap import Interval
from emotify.evaluation.significance import SIGNIFICANT, holm


@dataclass(frozen=True)
class RecipeScores:
    """The accuracies of runs that differ only in seed and machine, on the same images."""

    recipe: str
    accuracies: tuple[float, ...]  # one per seed
    mean: float
    deviation: float  # sample standard deviation

    def document(self) -> dict[str, Any]:
        """Return the scores for JSON."""
        return {**vars(self), "accuracies": list(self.accuracies)}


@dataclass(frozen=True)
class RecipeComparison:
    """The comparison of two recipes on the same images, each with several seeds."""

    a: str
    b: str
    difference: float  # mean accuracy of a minus that of b
    difference_ci95: Interval
    p: float  # two-sided
    p_holm: float  # corrected for the number of compared pairs

    @property
    def better(self) -> str | None:
        """The significantly better recipe, or None."""
        if self.p_holm >= SIGNIFICANT:
            return None
        return self.a if self.difference > 0 else self.b

    def document(self) -> dict[str, Any]:
        """Return the comparison for JSON."""
        return {**vars(self), "difference_ci95": list(self.difference_ci95), "better": self.better}


def compare_recipes(
    rights: Mapping[str, NDArray[np.bool_]],
) -> tuple[tuple[RecipeScores, ...], tuple[RecipeComparison, ...]]:
    """Score recipes, the most accurate first, and compare all pairs.

    rights: recipe -> mask (S, N) of the images that each seed predicts correctly; S is at least 2.
    """
    scores = sorted((_score(recipe, right) for recipe, right in rights.items()), key=lambda one: -one.mean)
    pairs = [
        _compare(a.recipe, rights[a.recipe], b.recipe, rights[b.recipe]) for a, b in itertools.combinations(scores, 2)
    ]
    corrected = holm([pair.p for pair in pairs])
    return tuple(scores), tuple(replace(pair, p_holm=p) for pair, p in zip(pairs, corrected, strict=True))


def _score(recipe: str, right: NDArray[np.bool_]) -> RecipeScores:
    accuracies = right.mean(1)
    return RecipeScores(
        recipe, tuple(float(one) for one in accuracies), float(accuracies.mean()), float(accuracies.std(ddof=1))
    )


def _compare(a: str, right_a: NDArray[np.bool_], b: str, right_b: NDArray[np.bool_]) -> RecipeComparison:
    """Compare two recipes with a t-test over random images and random seeds. With one image, p is 1.

    The variance of the difference is a sum: the variance over images of the mean over seeds, plus each recipe's
    variance of accuracy over seeds. This is two-way clustering (Cameron, Gelbach & Miller 2011,
    doi:10.1198/jbes.2010.07136) without subtracting the common part, so the test is conservative. Degrees of freedom:
    Satterthwaite 1946.
    """
    from scipy.stats import t

    images = right_a.mean(0) - right_b.mean(0)
    if len(images) < 2 or (images == images[0]).all():  # without variance, no test is possible
        return RecipeComparison(a, b, float(images.mean()), (-1.0, 1.0), 1.0, 1.0)
    parts = [(images.var(ddof=1) / len(images), len(images) - 1)]
    parts += [(right.mean(1).var(ddof=1) / len(right), len(right) - 1) for right in (right_a, right_b)]
    difference, variance = float(images.mean()), sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / free for part, free in parts)
    error = math.sqrt(variance)
    reach = float(t.ppf(0.975, freedom)) * error
    p = float(2 * t.sf(abs(difference) / error, freedom))
    return RecipeComparison(a, b, difference, (difference - reach, difference + reach), p, p)


def group_by_recipe(recipes: Sequence[str | None], rights: Sequence[NDArray[np.bool_]]) -> dict[str, NDArray[np.bool_]]:
    """Return recipe -> mask (S, N) of correct predictions, for recipes with at least two seeds."""
    grouped: dict[str, list[NDArray[np.bool_]]] = {}
    for recipe, right in zip(recipes, rights, strict=True):
        if recipe is not None:
            grouped.setdefault(recipe, []).append(right)
    return {recipe: np.stack(of) for recipe, of in grouped.items() if len(of) > 1}
