"""What an ensemble's numbers mean, in plain sentences."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emotify.ensembling.diversity import Diversity, mean_of_pairs
from emotify.evaluation.significance import SIGNIFICANT

MUCH_WEAKER = 0.02  # of accuracy
WIDE_RANGE = 0.15  # of the error correlation among pairs
# Bands of agreement beyond chance: Landis & Koch 1977.
LIKENESS = ((0.6, "very similar"), (0.4, "similar"), (-1.0, "hardly related"))
_WITHOUT_EFFECT = {"device", "precision", "layout", "compile", "threads"}

Recipes = Sequence[Mapping[str, Any]]  # how each member was trained; empty where that is not known


def conclude(diversity: Diversity, recipes: Recipes = ()) -> str:
    """Say whether pooling helped, and when and why members make very similar mistakes."""
    if len(diversity.weights) == 1:
        return "An ensemble of one is its member; add runs that differ to gain anything."
    return " ".join(filter(None, (_verdict(diversity), _reason(diversity), _likeness(diversity, recipes))))


def _verdict(diversity: Diversity) -> str:
    points = 100 * (diversity.pooled_accuracy - diversity.best_accuracy)
    p = f"p = {diversity.mcnemar_p:.2g}" + (", cross-fitted" if diversity.cross_fitted else "")
    shared = diversity.mean_double_fault / max(1 - float(diversity.accuracies.mean()), 1e-9)
    why = f"members disagree on {diversity.mean_disagreement:.1%} of images and share {shared:.0%} of their mistakes."
    if (diversity.weights > 0).sum() == 1:
        return f"The ensemble is #{int(diversity.weights.argmax()) + 1} alone: {why}"
    if points > 0 and diversity.mcnemar_p < SIGNIFICANT:
        return f"The ensemble beats its best member by {points:.2f} points ({p}): {why}"
    if points >= 0:
        return f"The ensemble is {points:.2f} points above its best member, which could be chance ({p}): {why}"
    how = "which could be chance" if diversity.mcnemar_p >= SIGNIFICANT else "which alone is more accurate"
    return f"The ensemble is {-points:.2f} points below its best member, {how} ({p}): {why}"


def _reason(diversity: Diversity) -> str:
    """Say why the ensemble is below its best member, where it is."""
    if diversity.pooled_accuracy >= diversity.best_accuracy:
        return ""
    weakest = int(np.where(diversity.weights > 0, diversity.accuracies, 1).argmin())
    gap = diversity.best_accuracy - diversity.accuracies[weakest]
    if gap < MUCH_WEAKER:
        return "Its members are about equally good, so what one mends another spoils."
    vote = diversity.weights[weakest]
    return f"#{weakest + 1} is {100 * gap:.1f} points weaker than the best member and has {vote:.0%} of the vote."


def _likeness(diversity: Diversity, recipes: Recipes) -> str:
    correlation = diversity.error_correlation
    mean = mean_of_pairs(correlation, alone=math.nan)
    if math.isnan(mean):
        return ""
    word = next(word for least, word in LIKENESS if mean >= least)
    same = mean_of_pairs(diversity.same_mistake, alone=math.nan)
    # Weak members share most mistakes by chance alone.
    text = f"Beyond chance, their mistakes are {word} (error correlation {mean:.2f}"
    text += ")" if math.isnan(same) else f"; where two err, {same:.0%} of the time with the same answer)"
    pairs = itertools.combinations(range(len(correlation)), 2)
    known = [pair for pair in pairs if not np.isnan(correlation[pair])]
    most, least = max(known, key=correlation.__getitem__), min(known, key=correlation.__getitem__)
    if correlation[most] - correlation[least] <= WIDE_RANGE:
        return f"{text}{_because(recipes, range(len(correlation)), ': they ')}."
    return f"{text}: most alike are {_pair(most, diversity, recipes)}, least {_pair(least, diversity, recipes)}."


def _pair(pair: tuple[int, int], diversity: Diversity, recipes: Recipes) -> str:
    one, other = pair
    text = f"#{one + 1} and #{other + 1} ({diversity.error_correlation[pair]:.2f}"
    return f"{text}{_because(recipes, pair, '; they ')})"


def _because(recipes: Recipes, members: Sequence[int], start: str) -> str:
    """Say in what these members' trainings differ; nothing where one is not known."""
    chosen = [recipes[member] for member in members] if recipes else []
    if not chosen or not all(chosen):
        return ""
    # Older versions had fewer options: what one recipe does not speak of is not a difference.
    names = [name for name in chosen[0] if name not in _WITHOUT_EFFECT and all(name in recipe for recipe in chosen)]
    differ = [name for name in names if any(recipe[name] != chosen[0][name] for recipe in chosen)]
    if not differ:
        return f"{start}were trained the same way, with the same seed"
    if differ == ["seed"]:
        return f"{start}differ in nothing but their seed"
    return f"{start}differ in {', '.join(name.replace('_', ' ') for name in differ)}"
