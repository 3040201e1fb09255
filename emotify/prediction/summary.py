"""What many results come to: how many of each expression, what failed, and what the folders' names say of it."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from emotify.emotions import EMOTIONS, emotion_index
from emotify.prediction.predictor import PictureResult


@dataclass
class Summary:
    """Counts over results. What the folders' names say is kept only while every picture's folder says something."""

    pictures: int = 0
    without_face: int = 0
    expressions: Counter[str] = field(default_factory=Counter)  # of faces
    failures: Counter[str] = field(default_factory=Counter)  # status -> pictures
    in_class_folders: bool = False  # whether every picture that was read lies in a folder named as an expression
    _read: int = 0
    _truth: array[int] = field(default_factory=lambda: array("b"))  # of pictures with a face
    _probabilities: array[float] = field(default_factory=lambda: array("f"))  # seven of each picture's largest face

    def add(self, result: PictureResult) -> None:
        """Count one result."""
        self.pictures += 1
        if not result.ok:
            self.failures[result.status] += 1
            return
        self.expressions.update(face.label for face in result.faces)
        self.without_face += not result.faces
        self._compare(result)

    @property
    def failed(self) -> int:
        return self.failures.total()

    @property
    def faces(self) -> int:
        return self.expressions.total()

    def _compare(self, result: PictureResult) -> None:
        self._read += 1
        if not self.in_class_folders and self._read > 1:
            return  # a picture in another folder was there already
        label = emotion_index(result.path.parent.name)
        self.in_class_folders = label is not None
        if label is not None and result.faces:
            largest = max(result.faces, key=lambda face: face.area)
            self._truth.append(label)
            self._probabilities.extend(largest.probabilities)

    def truth(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Return probabilities (N, 7) and labels (N,) of the pictures with a face, `in_class_folders`."""
        probabilities = np.array(self._probabilities, np.float32).reshape(-1, len(EMOTIONS))
        return probabilities, np.array(self._truth, np.int64)
