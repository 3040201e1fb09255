"""What many results come to: how many of each expression, what failed, and what the folders' names say of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from emotify.emotions import EMOTIONS, emotion_index
from emotify.prediction.predictor import PictureResult


@dataclass
class Summary:
    """Counts over results, kept small: two numbers a picture."""

    pictures: int = 0
    without_face: int = 0
    expressions: Counter[str] = field(default_factory=Counter)  # of faces
    failures: Counter[str] = field(default_factory=Counter)  # status -> pictures
    _truth: list[int | None] = field(default_factory=list)  # of pictures that were read
    _probabilities: list[tuple[float, ...] | None] = field(default_factory=list)  # of each picture's largest face

    def add(self, result: PictureResult) -> None:
        """Count one result."""
        self.pictures += 1
        if not result.ok:
            self.failures[result.status] += 1
            return
        self.expressions.update(face.label for face in result.faces)
        self.without_face += not result.faces
        largest = max(result.faces, key=lambda face: face.area, default=None)
        self._truth.append(emotion_index(result.path.parent.name))
        self._probabilities.append(None if largest is None else largest.probabilities)

    @property
    def failed(self) -> int:
        return self.failures.total()

    @property
    def faces(self) -> int:
        return self.expressions.total()

    @property
    def in_class_folders(self) -> bool:
        """Whether every picture that was read lies in a folder named as an expression."""
        return bool(self._truth) and None not in self._truth

    def truth(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Return probabilities (N, 7) and labels (N,) of the pictures with a face in folders named as expressions."""
        both = zip(self._probabilities, self._truth, strict=True)
        rows = [(answer, label) for answer, label in both if answer is not None and label is not None]
        probabilities = np.array([answer for answer, _ in rows], np.float32).reshape(-1, len(EMOTIONS))
        return probabilities, np.array([label for _, label in rows], np.int64)
