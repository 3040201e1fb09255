"""Explain the numbers of an ensemble in plain sentences."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emotify.ensembling.diversity import Diversity, mean_of_pairs
from emotify.evaluation.significance import SIGNIFICANT

MUCH_WEAKER = 0.02  # difference in accuracy
WIDE_RANGE = 0.15  # range of the error correlation over all pairs
# Bands of agreement beyond chance (Landis & Koch 1977).
LIKENESS = ((0.6, "very similar"), (0.4, "similar"), (-1.0, "hardly related"))
_WITHOUT_EFFECT = {"device", "precision", "layout", "compile", "threads"}

Recipes = Sequence[Mapping[str, Any]]  # config.json of each member; empty when unknown


def conclude(diversity: Diversity, recipes: Recipes = ()) -> str:
    """Return sentences about whether pooling helped, and how similar the mistakes of the members are."""
    if len(diversity.weights) == 1:
        return "An ensemble of one run equals that run; add different runs to gain accuracy."
    return " ".join(filter(None, (_verdict(diversity), _reason(diversity), _likeness(diversity, recipes))))


def _verdict(diversity: Diversity) -> str:
    points = 100 * (diversity.pooled_accuracy - diversity.best_accuracy)
    p = f"p = {diversity.mcnemar_p:.2g}" + (", cross-fitted" if diversity.cross_fitted else "")
    shared = diversity.mean_double_fault / max(1 - float(diversity.accuracies.mean()), 1e-9)
    why = f"members disagree on {diversity.mean_disagreement:.1%} of images and share {shared:.0%} of their mistakes."
    if (diversity.weights > 0).sum() == 1:
        return f"The ensemble is only #{int(diversity.weights.argmax()) + 1}: {why}"
    if points > 0 and diversity.mcnemar_p < SIGNIFICANT:
        return f"The ensemble beats its best member by {points:.2f} points ({p}): {why}"
    if points >= 0:
        return f"The ensemble is {points:.2f} points above its best member, which could be chance ({p}): {why}"
    how = "which could be chance" if diversity.mcnemar_p >= SIGNIFICANT else "which is unlikely to be chance"
    return f"The ensemble is {-points:.2f} points below its best member, {how} ({p}): {why}"


def _reason(diversity: Diversity) -> str:
    """Return why the ensemble is below its best member, or an empty text when it is not."""
    if diversity.pooled_accuracy >= diversity.best_accuracy:
        return ""
    weakest = int(np.where(diversity.weights > 0, diversity.accuracies, 1).argmin())
    gap = diversity.best_accuracy - diversity.accuracies[weakest]
    if gap < MUCH_WEAKER:
        return "Its members are about equally good, so one corrects as many mistakes as another adds."
    weight = diversity.weights[weakest]
    return f"#{weakest + 1} is {100 * gap:.1f} points weaker than the best member and has {weight:.0%} of the weight."


def _likeness(diversity: Diversity, recipes: Recipes) -> str:
    correlation = diversity.error_correlation
    mean = mean_of_pairs(correlation, alone=math.nan)
    if math.isnan(mean):
        return ""
    word = next(word for least, word in LIKENESS if mean >= least)
    same = mean_of_pairs(diversity.same_mistake, alone=math.nan)
    # Correlation and not the share of common mistakes, because weak members share most mistakes by chance.
    text = f"Beyond chance, their mistakes are {word} (error correlation {mean:.2f}"
    text += ")" if math.isnan(same) else f"; when two are wrong, they give the same answer {same:.0%} of the time)"
    pairs = itertools.combinations(range(len(correlation)), 2)
    known = [pair for pair in pairs if not np.isnan(correlation[pair])]
    most, least = max(known, key=correlation.__getitem__), min(known, key=correlation.__getitem__)
    if correlation[most] - correlation[least] <= WIDE_RANGE:
        return f"{text}{_because(recipes, range(len(correlation)), ': they ')}."
    most_similar, least_similar = _pair(most, diversity, recipes), _pair(least, diversity, recipes)
    return f"{text}: the most similar are {most_similar}, the least similar {least_similar}."


def _pair(pair: tuple[int, int], diversity: Diversity, recipes: Recipes) -> str:
    one, other = pair
    text = f"#{one + 1} and #{other + 1} ({diversity.error_correlation[pair]:.2f}"
    return f"{text}{_because(recipes, pair, '; they ')})"


def _because(recipes: Recipes, members: Sequence[int], start: str) -> str:
    """Return in which options these members' trainings differ; an empty text when a training is unknown."""
    chosen = [recipes[member] for member in members] if recipes else []
    if not chosen or not all(chosen):
        return ""
    # Older versions had fewer options, so an option that is missing in one recipe is not a difference.
    names = [name for name in chosen[0] if name not in _WITHOUT_EFFECT and all(name in recipe for recipe in chosen)]
    differ = [name for name in names if any(recipe[name] != chosen[0][name] for recipe in chosen)]
    if not differ:
        return f"{start}were trained the same way, with the same seed"
    if differ == ["seed"]:
        return f"{start}differ only in their seed"
    return f"{start}differ in {', '.join(name.replace('_', ' ') for name in differ)}"
