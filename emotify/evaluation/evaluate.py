"""Score classifiers on the same images, and rank them in a leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotify.arrays import Float32Array
from emotify.choices import Head, Split
from emotify.data.types import LabelledImages
from emotify.evaluation.bootstrap import Intervals, bootstrap_confusion
from emotify.evaluation.calibration import FOLDS, Calibration, calibrate
from emotify.evaluation.classifier import Answers, Classifier, no_crowd_head
from emotify.evaluation.crowd import Crowd, crowd_labels, score_crowd
from emotify.evaluation.examples import Examples, choose_examples
from emotify.evaluation.metrics import Scores, score
from emotify.evaluation.reliability import Reliability, measure_reliability
from emotify.evaluation.seeds import RecipeComparison, RecipeScores, compare_recipes, group_by_recipe
from emotify.evaluation.significance import Comparison, compare_all

BoolArray = NDArray[np.bool_]
TRUTH = "FER-2013 label"


@dataclass(frozen=True)
class Clean:
    """Scores without the images whose pixels are also in train."""

    scores: Scores
    near_duplicates: int  # number of these images that are nearly the same as one of train
    accuracy_without_near: float | None  # also without near duplicates; None when no image is left

    def document(self) -> dict[str, Any]:
        """Return the scores for `evaluate --json`."""
        near = {"near_duplicates": self.near_duplicates, "accuracy_without_near": self.accuracy_without_near}
        return {**self.scores.document(), **near}


@dataclass(frozen=True)
class Result:
    """The result of one classifier on one split."""

    model: str
    split: Split
    head: Head  # the head that is scored against FER-2013's labels
    scores: Scores
    intervals: Intervals
    calibration: Calibration | None  # None without `valid`, or when it has fewer than 5 images
    clean: Clean | None  # None when train is missing, is the scored split, or has all of its images
    crowd: Crowd | None  # None without FER+
    reliability: Reliability
    examples: Examples
    probabilities: Float32Array = field(repr=False, compare=False)  # (N, 7), of `head`
    crowd_probabilities: Float32Array = field(repr=False, compare=False)  # (N, 7), of the head that `crowd` scores

    def document(self) -> dict[str, Any]:
        """Return the result for `evaluate --json`."""
        return {
            "model": self.model,
            "split": self.split.value,
            "head": self.head,
            "truth": TRUTH,
            **self.scores.document(),
            "bootstrap_ci95": self.intervals.document(),
            "calibrated": self.calibration and self.calibration.document(),
            "clean": self.clean and self.clean.document(),
            "crowd": self.crowd and self.crowd.document(),
            "reliability": self.reliability.document(),
            "examples": self.examples.document(),
        }


@dataclass(frozen=True)
class Leaderboard:
    """All results, the most accurate first, with comparisons of all pairs; the same for recipes over seeds."""

    results: tuple[Result, ...]
    pairs: tuple[Comparison, ...]
    crowd_pairs: tuple[Comparison, ...]  # pairs of `by_crowd`, on the images with a FER+ majority
    recipes: tuple[RecipeScores, ...]
    recipe_pairs: tuple[RecipeComparison, ...]

    def by_crowd(self) -> tuple[Result, ...]:
        """Return the results with crowd scores, ordered by accuracy against FER+'s majority. Empty without votes."""
        return by_crowd(self.results)

    def document(self) -> dict[str, Any]:
        """Return the leaderboard for `evaluate --json`."""
        return {
            "schema": 1,
            "results": [result.document() for result in self.results],
            "pairs": [pair.document() for pair in self.pairs],
            "crowd_pairs": [pair.document() for pair in self.crowd_pairs],
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
    head: Head | None = None,
) -> Leaderboard:
    """Score classifiers on the same images, against FER-2013's labels and, if there are votes, against FER+'s.

    valid: the images to fit temperatures on when another split is scored.
    in_train, near_train: masks (N,) of the images that are also in train, exactly or nearly. Both, or neither.
    recipes: the name of each classifier without its seed (see `emotify.training.recipes.distinguish`). Classifiers
        with the same recipe are also scored together.
    head: the head to score against both. Without it, the labels head is scored against the labels, and the crowd head
        against the votes; a classifier without a crowd head uses its labels head for both.

    Raises ModelError for a classifier without the requested head.
    """
    overlap = None if in_train is None or near_train is None else (in_train, near_train)
    results = [_evaluate_one(classifier, images, split, valid, overlap, head) for classifier in classifiers]
    rights = [result.probabilities.argmax(1) == images.labels for result in results]
    over_seeds = compare_recipes(group_by_recipe(recipes or [None] * len(rights), rights))
    order = sorted(range(len(results)), key=lambda place: -results[place].scores.accuracy)
    pairs = compare_all([(results[place].model, rights[place]) for place in order])
    ordered = tuple(results[place] for place in order)
    return Leaderboard(ordered, pairs, _compare_by_crowd(ordered, images), *over_seeds)


def by_crowd(results: Sequence[Result]) -> tuple[Result, ...]:
    """Return the results with crowd scores, ordered by their accuracy against FER+'s majority, the best first."""
    scored = [(result.crowd.scores.accuracy, result) for result in results if result.crowd is not None]
    return tuple(result for _, result in sorted(scored, key=lambda one: -one[0]))


def _compare_by_crowd(results: Sequence[Result], images: LabelledImages) -> tuple[Comparison, ...]:
    if images.votes is None:
        return ()
    labels = crowd_labels(images.votes)
    agreed = labels >= 0
    return compare_all(
        [(result.model, (result.crowd_probabilities.argmax(1) == labels)[agreed]) for result in by_crowd(results)]
    )


def _evaluate_one(
    classifier: Classifier,
    images: LabelledImages,
    split: Split,
    valid: LabelledImages | None,
    overlap: tuple[BoolArray, BoolArray] | None,
    head: Head | None,
) -> Result:
    answers = classifier.answers(images.images)
    label_head = head or Head.LABELS
    crowd_head = head or answers.heads[-1]
    probabilities, of_crowd = (_answer(classifier, answers, each) for each in (label_head, crowd_head))
    scores = score(probabilities, images.labels)
    calibration = _calibrate(classifier, label_head, probabilities, images, split, valid)
    return Result(
        classifier.name,
        split,
        label_head,
        scores,
        bootstrap_confusion(scores.confusion),
        calibration,
        None if overlap is None else _clean(probabilities, images, *overlap),
        None if images.votes is None else score_crowd(of_crowd, images.votes, head=crowd_head),
        measure_reliability(probabilities, images.labels, None if calibration is None else calibration.probabilities),
        choose_examples(probabilities, images.labels),
        probabilities,
        of_crowd,
    )


def _answer(classifier: Classifier, answers: Answers, head: Head) -> Float32Array:
    answer = answers.of(head)
    if answer is None:
        raise no_crowd_head(classifier.name)
    return answer


def _calibrate(
    classifier: Classifier,
    head: Head,
    probabilities: Float32Array,
    images: LabelledImages,
    split: Split,
    valid: LabelledImages | None,
) -> Calibration | None:
    if split == Split.VALID:
        return calibrate(probabilities, images.labels) if len(images) >= FOLDS else None
    if valid is None or len(valid) < FOLDS:
        return None
    answers = classifier.answers(valid.images)
    return calibrate(probabilities, images.labels, (_answer(classifier, answers, head), valid.labels))


def _clean(
    probabilities: Float32Array, images: LabelledImages, in_train: BoolArray, near_train: BoolArray
) -> Clean | None:
    if in_train.all():
        return None
    left = ~in_train
    scores = score(probabilities[left], images.labels[left])
    apart = left & ~near_train
    right = probabilities.argmax(1)[apart] == images.labels[apart]
    return Clean(scores, int((left & near_train).sum()), float(right.mean()) if len(right) else None)
