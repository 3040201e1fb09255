"""Occlusion maps: how much each part of a face matters for its expression (Zeiler & Fergus 2014, arXiv:1311.2901)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from emotify.emotions import EMOTIONS

PATCH: Final = 12  # side of the patch in pixels, a quarter of the image: covers a mouth, or an eye with its brow
STEP: Final = 4  # pixels between neighbouring positions of the patch


class Answers(Protocol):
    """A classifier to explain: images uint8 (N, 1, 48, 48) in, probabilities (N, 7) out."""

    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]: ...


@dataclass(frozen=True)
class Explanation:
    """The occlusion map of one face: how the probability of its expression changes when parts are covered."""

    label: str
    probability: float  # of the uncovered face
    drops: npt.NDArray[np.float32]  # (P, P), loss of probability per patch position, top row first; negative: a gain
    face: npt.NDArray[np.uint8]  # (48, 48), the classifier's input


def explain(session: Answers, face: npt.NDArray[np.uint8]) -> Explanation:
    """Compute the occlusion map for the most probable expression of a grey face, uint8 (48, 48).

    A square patch in the face's mean grey moves over the face in steps of STEP pixels. The centres of the first and
    last patches are on the image's edges.
    """
    covered = cover(face)
    images = np.concatenate([face[None], covered])[:, None]
    answers = session.probabilities(images)
    label = int(answers[0].argmax())
    drops = answers[0, label] - answers[1:, label]
    side = round(len(drops) ** 0.5)
    return Explanation(EMOTIONS[label], float(answers[0, label]), drops.reshape(side, side), face)


def cover(face: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return copies (P * P, 48, 48) of a face, each with the patch at another position, row by row."""
    side = len(face)
    middles = np.arange(0, side + 1, STEP)[:, None]
    inside = np.abs(np.arange(side) + 0.5 - middles) < PATCH / 2  # (P, side)
    patches = inside[:, None, :, None] & inside[None, :, None, :]
    return np.where(patches.reshape(-1, side, side), np.uint8(round(face.mean())), face)
