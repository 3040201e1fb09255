"""Choose example images: confident mistakes, and images on which the classifier is unsure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from emotify.arrays import Float32Array, Int64Array
from emotify.emotions import EMOTIONS

COUNT = 24  # examples of each kind


@dataclass(frozen=True)
class Example:
    """One image with its label and the classifier's answer."""

    row: int  # in the split, from 0
    label: str
    shares: tuple[tuple[str, float], ...]  # the three most probable expressions, and the label


@dataclass(frozen=True)
class Examples:
    """Informative images: at most 24 of each kind."""

    mistakes: tuple[Example, ...]  # wrong predictions, the most confident first
    ambiguous: tuple[Example, ...]  # the images with the highest entropy, in decreasing order

    def document(self) -> dict[str, Any]:
        """Return the examples for JSON."""
        return {
            kind: [{"row": each.row, "label": each.label, "probabilities": dict(each.shares)} for each in examples]
            for kind, examples in (("mistakes", self.mistakes), ("ambiguous", self.ambiguous))
        }


def choose_examples(probabilities: Float32Array, labels: Int64Array) -> Examples:
    """Choose examples from probabilities (N, 7) and labels (N,)."""
    kinds = (confident_mistakes(probabilities, labels, COUNT), most_ambiguous(probabilities, COUNT))
    return Examples(*(tuple(_example(int(row), probabilities, labels) for row in rows) for rows in kinds))


def confident_mistakes(probabilities: Float32Array, labels: Int64Array, count: int) -> Int64Array:
    """Return at most `count` rows with wrong predictions, the most confident first."""
    wrong = np.flatnonzero(probabilities.argmax(1) != labels)
    order = np.argsort(-probabilities[wrong].max(1), kind="stable")
    return wrong[order][:count].astype(np.int64)


def most_ambiguous(probabilities: Float32Array, count: int) -> Int64Array:
    """Return the `count` rows whose probabilities have the highest entropy, in decreasing order."""
    shares = probabilities.astype(np.float64)
    entropy = -(shares * np.log(np.maximum(shares, 1e-12))).sum(1)
    return np.argsort(-entropy, kind="stable")[:count].astype(np.int64)


def _example(row: int, probabilities: Float32Array, labels: Int64Array) -> Example:
    label = int(labels[row])
    first = np.argsort(-probabilities[row], kind="stable")[:3].tolist()
    shown = first if label in first else [*first, label]
    return Example(row, EMOTIONS[label], tuple((EMOTIONS[index], float(probabilities[row, index])) for index in shown))
