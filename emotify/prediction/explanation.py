"""Which part of a face decided, found by covering one part after the other (Zeiler & Fergus 2014, arXiv:1311.2901)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from emotify.emotions import EMOTIONS

PATCH: Final = 12  # pixels a side, a quarter of the face's: a mouth, or an eye with its brow
STEP: Final = 4  # pixels from one place of the patch to the next


class Answers(Protocol):
    """What explanations are asked of: images (N, 1, 48, 48) in, probabilities (N, 7) out."""

    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]: ...


@dataclass(frozen=True)
class Explanation:
    """What covering parts of a face does to the probability of the expression that was read from it."""

    label: str
    probability: float  # of the whole face
    drops: npt.NDArray[np.float32]  # (P, P), what is lost with the patch at each place, rows from the top; < 0: gained
    face: npt.NDArray[np.uint8]  # (48, 48), what the classifier saw


def explain(session: Answers, face: npt.NDArray[np.uint8]) -> Explanation:
    """Explain the likeliest expression of a grey face (48, 48).

    A square of the face's mean grey covers it at every STEP pixels, the middle of the first and last ones on its edges.
    """
    covered = cover(face)
    images = np.concatenate([face[None], covered])[:, None]
    answers = session.probabilities(images)
    label = int(answers[0].argmax())
    drops = answers[0, label] - answers[1:, label]
    side = round(len(drops) ** 0.5)
    return Explanation(EMOTIONS[label], float(answers[0, label]), drops.reshape(side, side), face)


def cover(face: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return copies (P * P, 48, 48) of a face, each with the patch at another place, row by row."""
    side = len(face)
    middles = np.arange(0, side + 1, STEP)[:, None]
    inside = np.abs(np.arange(side) + 0.5 - middles) < PATCH / 2  # (P, side)
    patches = inside[:, None, :, None] & inside[None, :, None, :]
    return np.where(patches.reshape(-1, side, side), np.uint8(round(face.mean())), face)
