"""What many results come to: how many of each expression, what failed, and what the folders' names say of it."""

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
from emotify.emotions import CLASS_ORDERS, EMOTIONS, FER2013, class_number, emotion_index, unmistakable_index
from emotify.errors import InputError
from emotify.files import printable
from emotify.prediction.results import PictureResult


@dataclass
class Summary:
    """Counts over results: nothing a picture, but 29 bytes while all lie in folders named as expressions.

    truth_wanted: `auto` for folders named by words that mean hardly anything else, two expressions or more; `folders`
    for codes, `joy` and numbers too, whose meaning `order` says.
    """

    truth_wanted: Truth = "auto"
    order: Mapping[int, str] = field(default_factory=lambda: CLASS_ORDERS[FER2013])
    pictures: int = 0  # and frames of clips
    frames: int = 0  # of clips
    without_face: int = 0
    with_frames: int = 0  # of which only the first was read
    expressions: Counter[str] = field(default_factory=Counter)  # of faces
    failures: Counter[str] = field(default_factory=Counter)  # status -> pictures
    in_class_folders: bool = True  # every picture that was read, as long as the truth is wanted
    numbers: set[int] = field(default_factory=set)  # that folders are named by
    _classes: set[int] = field(default_factory=set)  # of folders
    _truth: array[int] = field(default_factory=lambda: array("b"))  # of pictures with a face
    _probabilities: array[float] = field(default_factory=lambda: array("f"))  # 7 a picture: those of its largest face

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
        """Count what another summary counted, of other pictures."""
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
        """Raise InputError where the truth must be had, and the picture that was counted last, at `path`, has none."""
        if self.truth_wanted == "folders" and not self.in_class_folders:
            advice = "name their order with --class-order" if self.numbers else "leave it out"
            msg = f"--truth folders: {printable(path)} lies in no folder named as an expression; {advice}"
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
            return unmistakable_index(name)
        number = class_number(name)
        if number is None:
            return emotion_index(name)
        self.numbers.add(number)
        meaning = self.order.get(number)
        return EMOTIONS.index(meaning) if meaning in EMOTIONS else None

    @property
    def has_truth(self) -> bool:
        """Whether the folders' names say what to compare with."""
        enough = 2 if self.truth_wanted == "auto" else 1  # one album named as an expression is no test set
        return self.truth_wanted != "none" and self.in_class_folders and len(self._classes) >= enough

    @property
    def failed(self) -> int:
        return self.failures.total()

    @property
    def faces(self) -> int:
        return self.expressions.total()

    def truth(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Return probabilities (N, 7) and labels (N,) of the pictures with a face, if all are in such folders."""
        probabilities = np.array(self._probabilities, np.float32).reshape(-1, len(EMOTIONS))
        return probabilities, np.array(self._truth, np.int64)


def _folder_name(path: Path) -> str:
    """Return the name of the folder that a picture lies in, also where its path does not tell: `a.jpg`, `../a.jpg`."""
    name = path.parent.name
    if name not in {"", ".."} or str(path) == "-":  # standard input lies in none
        return name
    return Path(os.path.normpath(path.absolute())).parent.name
