"""What can be evaluated: a run, an ensemble or an .onnx file, all of them images in, probabilities out."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from emotify.data.types import Float32Array, UInt8Array


class Classifier(Protocol):
    """Anything with a name that turns images (N, 1, 48, 48) into probabilities (N, 7)."""

    @property
    def name(self) -> str: ...

    def probabilities(self, images: UInt8Array) -> Float32Array: ...


class Mirrored:
    """A classifier that also sees the mirrored image, and answers with the mean of the two log-probabilities."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self.name = f"{classifier.name} + mirror"

    def probabilities(self, images: UInt8Array) -> Float32Array:
        views = (images, np.ascontiguousarray(images[..., ::-1]))
        return pool_probabilities(np.stack([self._classifier.probabilities(view) for view in views]))


def pool_probabilities(probabilities: Float32Array, weights: NDArray[np.float64] | None = None) -> Float32Array:
    """Combine probabilities (M, N, 7) of M members or views: the mean of logarithms, normalised, (N, 7).

    weights: of the members, (M,); without them all count the same.
    """
    logarithms = np.average(np.log(np.maximum(probabilities, 1e-12)), axis=0, weights=weights)
    scores = np.exp(logarithms - logarithms.max(1, keepdims=True))
    return np.asarray(scores / scores.sum(1, keepdims=True), dtype=np.float32)
