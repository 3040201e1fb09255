"""What can be evaluated: a run, an ensemble or an .onnx file, all of them images in, answers out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from emotify.arrays import Float32Array, UInt8Array
from emotify.choices import Head


class View(NamedTuple):
    """One way to look at an image: from `down` pixels lower and `right` pixels further right (-1..1), or mirrored."""

    down: int
    right: int
    mirrored: bool


_PLACES = ((0, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))
VIEWS: Mapping[str, tuple[View, ...]] = MappingProxyType(
    {
        "one": (View(0, 0, mirrored=False),),
        "mirror": (View(0, 0, mirrored=False), View(0, 0, mirrored=True)),
        # Five places and their mirror images: Krizhevsky et al. 2012, with one pixel of 48 for their 32 of 256.
        "ten": tuple(View(*place, mirrored=mirrored) for mirrored in (False, True) for place in _PLACES),
    }
)


@dataclass(frozen=True)
class Answers:
    """What a classifier says of N images: the answers of its heads, float32 (N, 7) each, rows of sum 1."""

    labels: Float32Array  # how probable each of FER-2013's labels is
    crowd: Float32Array | None = None  # what share of people would name each expression; None without that head

    @property
    def heads(self) -> tuple[Head, ...]:
        """The heads that answer."""
        return (Head.LABELS,) if self.crowd is None else (Head.LABELS, Head.CROWD)

    def of(self, head: Head) -> Float32Array | None:
        """Return the answer (N, 7) of one head."""
        return self.crowd if head is Head.CROWD else self.labels


class Classifier(Protocol):
    """Anything with a name that answers images (N, 1, 48, 48)."""

    @property
    def name(self) -> str: ...

    def answers(self, images: UInt8Array) -> Answers: ...


class AveragedViews:
    """A classifier that sees several views of an image, and answers with the mean of their log-probabilities."""

    def __init__(self, classifier: Classifier, views: str) -> None:
        self._classifier, self._views = classifier, VIEWS[views]
        self.name = classifier.name if views == "one" else f"{classifier.name} + {views}"

    def answers(self, images: UInt8Array) -> Answers:
        """Return what each head answers to uint8 images (N, 1, 48, 48)."""
        answers = [self._classifier.answers(_show(images, view)) for view in self._views]
        return answers[0] if len(answers) == 1 else pool_answers(answers, pool_probabilities)


def pool_answers(
    answers: Sequence[Answers],
    pool: Callable[[Float32Array], Float32Array],
    pool_crowd: Callable[[Float32Array], Float32Array] | None = None,
) -> Answers:
    """Combine answers, each head by itself: `pool` turns (M, N, 7) into (N, 7), for the crowd `pool_crowd` where given.

    There is a crowd's answer only where all have one.
    """
    crowds = [answer.crowd for answer in answers if answer.crowd is not None]
    crowd = (pool_crowd or pool)(np.stack(crowds)) if len(crowds) == len(answers) else None
    return Answers(pool(np.stack([answer.labels for answer in answers])), crowd)


def _show(images: UInt8Array, view: View) -> UInt8Array:
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    height, width = images.shape[2:]
    shown = padded[:, :, 1 + view.down : 1 + view.down + height, 1 + view.right : 1 + view.right + width]
    return np.ascontiguousarray(shown[..., ::-1] if view.mirrored else shown)


def pool_probabilities(probabilities: Float32Array, weights: NDArray[np.float64] | None = None) -> Float32Array:
    """Combine probabilities (M, N, 7) of M members or views: the mean of logarithms, normalised, (N, 7).

    weights: of the members, (M,); without them all count the same.
    """
    return softmax(np.average(logarithms(probabilities), axis=0, weights=weights))


def logarithms(probabilities: Float32Array) -> Float32Array:
    """Return the natural logarithms of probabilities, that of 0 as of the least normal float32, about -87."""
    return np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))


def softmax(logits: NDArray[np.floating[Any]]) -> Float32Array:
    """Turn logarithms (N, 7), each row up to a constant, into probabilities (N, 7)."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), dtype=np.float32)
