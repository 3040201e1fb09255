"""Which images are worth a look: where a classifier is surely wrong, and where it cannot tell."""

from __future__ import annotations

import numpy as np

from emotify.arrays import Float32Array, Int64Array


def confident_mistakes(probabilities: Float32Array, labels: Int64Array, count: int) -> Int64Array:
    """Return the rows, at most `count`, of wrong answers, the most confident first."""
    wrong = np.flatnonzero(probabilities.argmax(1) != labels)
    order = np.argsort(-probabilities[wrong].max(1), kind="stable")
    return wrong[order][:count].astype(np.int64)


def most_ambiguous(probabilities: Float32Array, count: int) -> Int64Array:
    """Return the rows, at most `count`, whose probabilities have the highest entropy, the highest first."""
    shares = probabilities.astype(np.float64)
    entropy = -(shares * np.log(np.maximum(shares, 1e-12))).sum(1)
    return np.argsort(-entropy, kind="stable")[:count].astype(np.int64)
