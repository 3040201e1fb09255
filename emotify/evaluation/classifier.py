"""The interface of classifiers (runs, ensembles, .onnx files), and the average over test-time views."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from emotify.arrays import Float32Array, UInt8Array
from emotify.choices import Head
from emotify.errors import ModelError
from emotify.files import printable


class View(NamedTuple):
    """A test-time variant of an image: shifted by `down` and `right` pixels (-1..1), and perhaps mirrored."""

    down: int
    right: int
    mirrored: bool


_PLACES = ((0, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))
VIEWS: Mapping[str, tuple[View, ...]] = MappingProxyType(
    {
        "one": (View(0, 0, mirrored=False),),
        "mirror": (View(0, 0, mirrored=False), View(0, 0, mirrored=True)),
        # Five places and their mirror images (Krizhevsky et al. 2012). One pixel of 48 replaces their 32 of 256.
        "ten": tuple(View(*place, mirrored=mirrored) for mirrored in (False, True) for place in _PLACES),
    }
)


@dataclass(frozen=True)
class Answers:
    """The probabilities of N images from each head, float32 (N, 7), rows sum to 1."""

    labels: Float32Array  # probability of each FER-2013 label
    crowd: Float32Array | None = None  # share of people who would name each expression; None without a crowd head

    @property
    def heads(self) -> tuple[Head, ...]:
        """The heads that have probabilities."""
        return (Head.LABELS,) if self.crowd is None else (Head.LABELS, Head.CROWD)

    def of(self, head: Head) -> Float32Array | None:
        """Return the probabilities (N, 7) of one head, or None without this head."""
        return self.crowd if head is Head.CROWD else self.labels


class Classifier(Protocol):
    """An object with a name that turns uint8 images (N, 1, 48, 48) into probabilities."""

    @property
    def name(self) -> str: ...

    def answers(self, images: UInt8Array) -> Answers: ...


class AveragedViews:
    """A classifier that averages the log-probabilities of several views of each image."""

    def __init__(self, classifier: Classifier, views: str) -> None:
        self._classifier, self._views = classifier, VIEWS[views]
        self.name = classifier.name if views == "one" else f"{classifier.name} + {views}"

    def answers(self, images: UInt8Array) -> Answers:
        """Return the probabilities of each head for uint8 images (N, 1, 48, 48)."""
        answers = [self._classifier.answers(_show(images, view)) for view in self._views]
        return answers[0] if len(answers) == 1 else pool_answers(answers, pool_probabilities)


def no_crowd_head(name: str) -> ModelError:
    """Return the error for a model that is asked for the answers of a crowd head that it lacks."""
    return ModelError(f"{printable(name)} has no crowd head; it was trained without FER+'s votes; use --head labels")


def pool_answers(
    answers: Sequence[Answers],
    pool: Callable[[Float32Array], Float32Array],
    pool_crowd: Callable[[Float32Array], Float32Array] | None = None,
) -> Answers:
    """Combine M answers, separately for each head. `pool` turns (M, N, 7) into (N, 7).

    pool_crowd: a different function for the crowd head, with weight 0 for each answer without a crowd head. Without
    this function, the result has a crowd head only if all answers have one.
    """
    labels = np.stack([answer.labels for answer in answers])
    known = [answer.crowd is not None for answer in answers]
    if not (all(known) or (pool_crowd and any(known))):
        return Answers(pool(labels))
    even = np.full_like(labels[0], 1 / labels.shape[2])
    crowds = np.stack([even if answer.crowd is None else answer.crowd for answer in answers])
    return Answers(pool(labels), (pool_crowd or pool)(crowds))


def _show(images: UInt8Array, view: View) -> UInt8Array:
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    height, width = images.shape[2:]
    shown = padded[:, :, 1 + view.down : 1 + view.down + height, 1 + view.right : 1 + view.right + width]
    return np.ascontiguousarray(shown[..., ::-1] if view.mirrored else shown)


def pool_probabilities(probabilities: Float32Array, weights: NDArray[np.float64] | None = None) -> Float32Array:
    """Combine probabilities (M, N, 7) of M members or views into (N, 7): the normalised mean of log-probabilities.

    weights: the weights (M,) of the members; equal by default.
    """
    return softmax(np.average(logarithms(probabilities), axis=0, weights=weights))


def logarithms(probabilities: Float32Array) -> Float32Array:
    """Return the natural logarithms of probabilities. For 0, use the smallest normal float32; its log is about -87."""
    return np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))


def softmax(logits: NDArray[np.floating[Any]]) -> Float32Array:
    """Turn logits (N, 7) into probabilities (N, 7)."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), dtype=np.float32)
