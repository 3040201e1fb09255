"""Classifiers in, a leaderboard out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotify.data.types import Float32Array, LabelledImages, Split
from emotify.evaluation.classifier import Classifier
from emotify.evaluation.crowd import crowd_labels
from emotify.evaluation.metrics import Scores, score
from emotify.evaluation.significance import Comparison, compare


@dataclass(frozen=True)
class Result:
    """One classifier on one split."""

    model: str
    split: Split
    scores: Scores
    clean_n: int | None  # images whose pixels are not in train; None when train is not there or is the split
    clean_accuracy: float | None
    crowd_n: int | None = None  # images on which FER+'s majority is one of the seven; None without FER+
    crowd_accuracy: float | None = None  # against that majority

    def document(self) -> dict[str, Any]:
        """Return the result as CONTRACT's JSON has it."""
        clean = None if self.clean_n is None else {"n": self.clean_n, "accuracy": self.clean_accuracy}
        document = {"model": self.model, "split": self.split.value, **self.scores.document(), "clean": clean}
        if self.crowd_n is not None:
            document["crowd"] = {"n": self.crowd_n, "accuracy": self.crowd_accuracy}
        return document


@dataclass(frozen=True)
class Leaderboard:
    """Every classifier's result, the most accurate first, and every pair compared."""

    results: tuple[Result, ...]
    pairs: tuple[Comparison, ...]

    def document(self) -> dict[str, Any]:
        """Return the leaderboard as `evaluate --json` prints it."""
        return {
            "schema": 1,
            "results": [result.document() for result in self.results],
            "pairs": [vars(pair) for pair in self.pairs],
        }


def evaluate(
    classifiers: Sequence[Classifier],
    images: LabelledImages,
    split: Split,
    *,
    in_train: NDArray[np.bool_] | None = None,
) -> Leaderboard:
    """Score classifiers on the same images; `in_train` (N,) marks those whose pixels are also in train."""
    answers = [(classifier.name, classifier.probabilities(images.images)) for classifier in classifiers]
    answers.sort(key=lambda answer: -_right(answer[1], images).mean())
    pairs = [
        compare(name_a, _right(a, images), name_b, _right(b, images))
        for (name_a, a), (name_b, b) in itertools.combinations(answers, 2)
    ]
    results = [_result(name, probabilities, images, split, in_train) for name, probabilities in answers]
    return Leaderboard(tuple(results), tuple(pairs))


def _result(
    name: str, probabilities: Float32Array, images: LabelledImages, split: Split, in_train: NDArray[np.bool_] | None
) -> Result:
    result = Result(name, split, score(probabilities, images.labels), None, None)
    if in_train is not None and not in_train.all():
        clean = _right(probabilities, images)[~in_train]
        result = replace(result, clean_n=len(clean), clean_accuracy=float(clean.mean()))
    if images.votes is not None:
        labels = crowd_labels(images.votes)
        agreed = labels >= 0
        right = probabilities.argmax(1)[agreed] == labels[agreed]
        result = replace(result, crowd_n=len(right), crowd_accuracy=float(right.mean()) if len(right) else 0.0)
    return result


def _right(probabilities: Float32Array, images: LabelledImages) -> NDArray[np.bool_]:
    return np.asarray(probabilities.argmax(1) == images.labels)
