"""Classifiers in, a leaderboard out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotify.data.types import Float32Array, LabelledImages, Split
from emotify.evaluation.bootstrap import Intervals, bootstrap_confusion
from emotify.evaluation.calibration import FOLDS, Calibration, calibrate
from emotify.evaluation.classifier import Classifier
from emotify.evaluation.crowd import Crowd, score_crowd
from emotify.evaluation.metrics import Scores, score
from emotify.evaluation.seeds import RecipeComparison, RecipeScores, compare_recipes, group_by_recipe
from emotify.evaluation.significance import Comparison, compare_all

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Clean:
    """Scores without the images whose pixels are in train, and what is left of nearly the same ones."""

    scores: Scores
    near_duplicates: int | None  # of these images, how many look nearly the same as one of train; None: not counted
    accuracy_without_near: float | None  # without those as well; None when nothing is left

    def document(self) -> dict[str, Any]:
        """Return the scores as CONTRACT's JSON has them."""
        near = {"near_duplicates": self.near_duplicates, "accuracy_without_near": self.accuracy_without_near}
        return {**self.scores.document(), **near}


@dataclass(frozen=True)
class Result:
    """One classifier on one split."""

    model: str
    split: Split
    scores: Scores
    intervals: Intervals
    calibration: Calibration | None  # None without `valid`, or where it has next to no images
    clean: Clean | None  # None when train is not there, is the split, or has all of its images
    crowd: Crowd | None  # None without FER+
    probabilities: Float32Array = field(repr=False, compare=False)  # (N, 7), as the classifier answered

    def document(self) -> dict[str, Any]:
        """Return the result as CONTRACT's JSON has it."""
        return {
            "model": self.model,
            "split": self.split.value,
            **self.scores.document(),
            "bootstrap_ci95": self.intervals.document(),
            "calibrated": self.calibration and self.calibration.document(),
            "clean": self.clean and self.clean.document(),
            "crowd": self.crowd and vars(self.crowd),
        }


@dataclass(frozen=True)
class Leaderboard:
    """Every classifier's result, the most accurate first, and every pair compared; so too for recipes over seeds."""

    results: tuple[Result, ...]
    pairs: tuple[Comparison, ...]
    recipes: tuple[RecipeScores, ...]
    recipe_pairs: tuple[RecipeComparison, ...]

    def document(self) -> dict[str, Any]:
        """Return the leaderboard as `evaluate --json` prints it."""
        return {
            "schema": 1,
            "results": [result.document() for result in self.results],
            "pairs": [pair.document() for pair in self.pairs],
            "recipes": [recipe.document() for recipe in self.recipes],
            "recipe_pairs": [pair.document() for pair in self.recipe_pairs],
        }


def evaluate(
    classifiers: Sequence[Classifier],
    images: LabelledImages,
    split: Split,
    *,
    valid: LabelledImages | None = None,
    in_train: BoolArray | None = None,
    near_train: BoolArray | None = None,
    recipes: Sequence[str | None] = (),
) -> Leaderboard:
    """Score classifiers on the same images.

    valid: where temperatures are fitted when another split is scored. `in_train` and `near_train` (N,) mark the images
    whose pixels are in train too, and those that look nearly the same as one of train. recipes: what each classifier is
    called but for its seed (`emotify.training.recipes.distinguish`); those of one recipe are also scored together.
    """
    overlap = None if in_train is None else (in_train, near_train)
    results = [_evaluate_one(classifier, images, split, valid, overlap) for classifier in classifiers]
    rights = [result.probabilities.argmax(1) == images.labels for result in results]
    over_seeds = compare_recipes(group_by_recipe(recipes or [None] * len(rights), rights))
    order = sorted(range(len(results)), key=lambda place: -results[place].scores.accuracy)
    pairs = compare_all([(results[place].model, rights[place]) for place in order])
    return Leaderboard(tuple(results[place] for place in order), pairs, *over_seeds)


def _evaluate_one(
    classifier: Classifier,
    images: LabelledImages,
    split: Split,
    valid: LabelledImages | None,
    overlap: tuple[BoolArray, BoolArray | None] | None,
) -> Result:
    probabilities = classifier.probabilities(images.images)
    scores = score(probabilities, images.labels)
    return Result(
        classifier.name,
        split,
        scores,
        bootstrap_confusion(scores.confusion),
        _calibrate(classifier, probabilities, images, split, valid),
        None if overlap is None else _clean(probabilities, images, *overlap),
        None if images.votes is None else score_crowd(probabilities, images.votes),
        probabilities,
    )


def _calibrate(
    classifier: Classifier,
    probabilities: Float32Array,
    images: LabelledImages,
    split: Split,
    valid: LabelledImages | None,
) -> Calibration | None:
    if split == Split.VALID:
        return calibrate(probabilities, images.labels) if len(images) >= FOLDS else None
    if valid is None or len(valid) < FOLDS:
        return None
    return calibrate(probabilities, images.labels, (classifier.probabilities(valid.images), valid.labels))


def _clean(
    probabilities: Float32Array, images: LabelledImages, in_train: BoolArray, near_train: BoolArray | None
) -> Clean | None:
    if in_train.all():
        return None
    left = ~in_train
    scores = score(probabilities[left], images.labels[left])
    if near_train is None:
        return Clean(scores, None, None)
    apart = left & ~near_train
    right = probabilities.argmax(1)[apart] == images.labels[apart]
    return Clean(scores, int((left & near_train).sum()), float(right.mean()) if len(right) else None)
