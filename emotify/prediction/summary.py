"""Summarise many results: counts of expressions and failures, and the true classes that folder names give."""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emotify.choices import Truth
from emotify.emotions import CLASS_ORDERS, EMOTIONS, FER2013, class_number, emotion_index, unambiguous_index
from emotify.errors import InputError
from emotify.files import printable
from emotify.prediction.results import PictureResult


@dataclass
class Summary:
    """Counts over results. Memory does not grow, except by 29 bytes per picture while all are in class folders.

    truth_wanted: `auto` reads only unambiguous folder names, and needs at least two expressions. `folders` also reads
    short codes, words such as `joy`, and numbers, which `order` maps to classes. `none` reads no folder names.
    """

    truth_wanted: Truth = "auto"
    order: Mapping[int, str] = field(default_factory=lambda: CLASS_ORDERS[FER2013])
    pictures: int = 0  # pictures and frames of clips
    frames: int = 0  # frames of clips
    without_face: int = 0
    with_frames: int = 0  # pictures with several frames, of which only the first was read
    expressions: Counter[str] = field(default_factory=Counter)  # label -> faces
    failures: Counter[str] = field(default_factory=Counter)  # status -> pictures
    in_class_folders: bool = True  # whether every picture so far is in a folder named as an expression
    numbers: set[int] = field(default_factory=set)  # class numbers that are names of folders
    _classes: set[int] = field(default_factory=set)  # class indices of the folders
    _truth: array[int] = field(default_factory=lambda: array("b"))  # class index of each picture with a face
    _probabilities: array[float] = field(default_factory=lambda: array("f"))  # 7 per picture, of its largest face

    def add(self, result: PictureResult) -> None:
        """Count one result."""
        self.pictures += 1
        self.frames += result.time is not None and result.ok
        if not result.ok:
            self.failures[result.status] += 1
            return
        self.expressions.update(face.label for face in result.faces)
        self.without_face += not result.faces
        self.with_frames += result.frames > 1
        if self.truth_wanted != "none" and self.in_class_folders:
            self._compare(result)

    def merge(self, other: Summary) -> None:
        """Add the counts of another summary, which is of other pictures."""
        self.pictures += other.pictures
        self.frames += other.frames
        self.without_face += other.without_face
        self.with_frames += other.with_frames
        self.expressions.update(other.expressions)
        self.failures.update(other.failures)
        self.numbers |= other.numbers
        self._classes |= other._classes
        self.in_class_folders = self.in_class_folders and other.in_class_folders
        if self.in_class_folders:
            self._truth.extend(other._truth)
            self._probabilities.extend(other._probabilities)
        else:
            del self._truth[:], self._probabilities[:]

    def check_truth(self, path: Path) -> None:
        """Raise InputError if the truth is required but the folder of the last picture, at `path`, gives none."""
        if self.truth_wanted == "folders" and not self.in_class_folders:
            advice = "give the order of the numbers with --class-order" if self.numbers else "remove the picture"
            msg = f"--truth folders: the folder of {printable(path)} is not named as an expression; {advice}"
            raise InputError(msg)

    def _compare(self, result: PictureResult) -> None:
        label = self._label(_folder_name(result.path))
        if label is None:
            self.in_class_folders = False
            del self._truth[:], self._probabilities[:]
            return
        self._classes.add(label)
        if result.faces:
            self._truth.append(label)
            self._probabilities.extend(max(result.faces, key=lambda face: face.area).probabilities)

    def _label(self, name: str) -> int | None:
        if self.truth_wanted == "auto":
            return unambiguous_index(name)
        number = class_number(name)
        if number is None:
            return emotion_index(name)
        self.numbers.add(number)
        meaning = self.order.get(number)
        return EMOTIONS.index(meaning) if meaning in EMOTIONS else None

    @property
    def has_truth(self) -> bool:
        """Whether folder names give the true class of every picture."""
        enough = 2 if self.truth_wanted == "auto" else 1  # a single album named `happy` is not a test set
        return self.truth_wanted != "none" and self.in_class_folders and len(self._classes) >= enough

    @property
    def failed(self) -> int:
        return self.failures.total()

    @property
    def faces(self) -> int:
        return self.expressions.total()

    def truth(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Return probabilities, float32 (N, 7), and labels, int64 (N,), of the pictures with a face.

        N is 0 if not all pictures are in class folders.
        """
        probabilities = np.array(self._probabilities, np.float32).reshape(-1, len(EMOTIONS))
        return probabilities, np.array(self._truth, np.int64)


def _folder_name(path: Path) -> str:
    """Return the name of a picture's folder, also for paths that do not contain it: `a.jpg`, `../a.jpg`."""
    name = path.parent.name
    if name not in {"", ".."} or str(path) == "-":  # standard input has no folder
        return name
    return Path(os.path.normpath(path.absolute())).parent.name
