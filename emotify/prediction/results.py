"""What a predictor finds: one result a picture, with one for each of its faces."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from emotify.emotions import EMOTIONS
from emotify.errors import InputError
from emotify.files import printable
from emotify.pictures.pixels import Square
from emotify.pictures.reading import Failure, Source, read_picture

if TYPE_CHECKING:
    from PIL.Image import Image

UNCERTAIN: Final = "uncertain"
EDGES: Final = ("x0", "y0", "x1", "y1")
_NOWHERE: Final = Square(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class FaceResult:
    """The expression of one face. `str(face)` is `happy 93%`."""

    box: tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels of the upright picture
    detection: float | None  # the detector's score, 0..1; None when the whole picture was taken as the face
    probabilities: tuple[float, ...]  # (7,), 0..1, in the order of Predictor.classes; they sum to 1
    uncertain: bool = False  # less probable than was asked for, or too small
    square: Square = _NOWHERE  # what the classifier saw
    track: int | None = None  # of frames: the same number for the same face, from 1 on

    @property
    def label(self) -> str:
        """The most probable expression, or `uncertain`."""
        return UNCERTAIN if self.uncertain else EMOTIONS[self.probabilities.index(self.probability)]

    @property
    def probability(self) -> float:
        """That of the most probable expression, whatever the label."""
        return max(self.probabilities)

    def ranked(self, top: int = len(EMOTIONS)) -> list[tuple[str, float]]:
        """Return the `top` most probable expressions with their probabilities, the most probable first."""
        order = sorted(range(len(EMOTIONS)), key=self.probabilities.__getitem__, reverse=True)
        return [(EMOTIONS[index], self.probabilities[index]) for index in order[:top]]

    @property
    def roll(self) -> float:
        """By how many degrees the face was tilted clockwise before it was turned upright; 0 for others."""
        return self.square.roll

    @property
    def area(self) -> float:
        """That of the box, in square pixels of the upright picture."""
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0)

    def to_dict(self, top: int = 0) -> dict[str, Any]:
        """Return the face as JSON has it, with its `top` most probable expressions in order if that is not 0."""
        document: dict[str, Any] = {} if self.track is None else {"track": self.track}
        document |= {
            "box": [round(edge, 1) for edge in self.box],
            "detection": None if self.detection is None else round(self.detection, 4),
        }
        if self.roll:
            document["roll"] = round(self.roll, 1)
        shares = zip(EMOTIONS, self.probabilities, strict=True)
        document |= {
            "label": self.label,
            "probability": round(self.probability, 4),
            "probabilities": {name: round(value, 4) for name, value in shares},
        }
        if top:
            document["top"] = [{"label": name, "probability": round(value, 4)} for name, value in self.ranked(top)]
        return document

    def row(self, top: int = 0) -> dict[str, Any]:
        """Return the face's part of a row: numbers as they are, not rounded."""
        row: dict[str, Any] = dict(zip(EDGES, self.box, strict=True))
        row |= {"detection": self.detection, "label": self.label, "probability": self.probability}
        row |= dict(zip(EMOTIONS, self.probabilities, strict=True))
        for rank, (name, value) in enumerate(self.ranked(top)[1:], 2):
            row |= {f"label_{rank}": name, f"probability_{rank}": value}
        return row

    def __str__(self) -> str:
        return f"{self.label} {self.probability:.0%}"


@dataclass(frozen=True, slots=True)
class PictureResult:
    """What became of one picture: its faces, or why there is none.

    `str(result)` is a line to read: `a.jpg: 2 faces: happy 93%, neutral 51%`. A result can be looped over, as several
    can: what is written for a folder does for a file.
    """

    path: Path  # of the file; what was given in memory is named by its type, such as <ndarray>
    status: str  # ok, or one of the failures that docs/formats.md lists
    message: str = ""  # what is wrong and what to do, when status is not ok
    width: int = 0  # pixels of the upright picture
    height: int = 0
    frames: int = 1  # the first is classified
    note: str = ""  # what to know about a picture that could be read: it has more frames, its EXIF data are broken
    faces: tuple[FaceResult, ...] = ()  # the one that the detector is surest of first
    time: float | None = None  # of a frame: seconds since the clip began

    @property
    def ok(self) -> bool:
        """Whether the picture could be read, with or without a face."""
        return self.status == "ok"

    @property
    def path_b64(self) -> str | None:
        """The bytes of a path that is no text, in base64."""
        return None if _is_utf8(str(self.path)) else base64.b64encode(bytes(self.path)).decode()

    def to_dict(self, top: int = 0) -> dict[str, Any]:
        """Return what a line of `emotify predict --jsonl` holds.

        With `top`, each face has a list of that many expressions, the most probable first.
        """
        document: dict[str, Any] = {"schema": 1, "path": str(self.path)}
        if self.path_b64:
            document["path_b64"] = self.path_b64
        if self.time is not None:
            document["time"] = round(self.time, 3)
        document["status"] = self.status
        if not self.ok:
            document["message"] = self.message
            return document
        document["width"], document["height"] = self.width, self.height
        if self.frames > 1:
            document["frames"] = self.frames
        if self.note:
            document["note"] = self.note
        document["faces"] = [face.to_dict(top) for face in self.faces]
        return document

    def rows(self, top: int = 0) -> list[dict[str, Any]]:
        """Return one flat dict a face, and one for a picture without any; all have the same keys, those of `columns`.

        `pandas.DataFrame(result.rows())` is a table. What is not known is None.
        """
        head: dict[str, Any] = dict.fromkeys(columns(top))
        head |= {"path": str(self.path), "path_b64": self.path_b64, "status": self.status, "time": self.time}
        head["message"] = self.message or self.note or None
        if self.ok:
            head |= {"width": self.width, "height": self.height, "frames": self.frames}
        rows = [
            {**head, "face": number, "track": face.track, **face.row(top)} for number, face in enumerate(self.faces, 1)
        ]
        return rows or [head]

    def draw(self, picture: Source | None = None) -> Image:
        """Return an RGB image of Pillow's: the upright picture with a box and a label for each face.

        The picture is read again. Give what was not predicted from a file of its own: an array, bytes, a frame. Small
        pictures are enlarged. Raises InputError when there is no picture to draw on.
        """
        from emotify.prediction.annotated import draw_faces

        if picture is None and (self.time is not None or str(self.path).startswith("<")):
            msg = f"{printable(self.path)} is no picture file; give the picture itself: result.draw(picture)"
            raise InputError(msg)
        read = read_picture(self.path if picture is None else picture)
        if isinstance(read, Failure):
            msg = f"{printable(self.path)}: {read.message}"
            raise InputError(msg)
        return draw_faces(read.image, self.faces)

    def __iter__(self) -> Iterator[PictureResult]:
        yield self

    def __str__(self) -> str:
        name = printable(self.path) + ("" if self.time is None else f" at {self.time:.2f} s")
        if not self.ok:
            return f"{name}: {self.status}: {printable(self.message)}"
        count = "no face" if not self.faces else f"{len(self.faces)} face{'s' if len(self.faces) > 1 else ''}: "
        return f"{name}: {count}{', '.join(map(str, self.faces))}"


def columns(top: int = 0) -> tuple[str, ...]:
    """Return the keys of a row, in order; `top` adds the second to the `top`-th most probable expression."""
    more = [f"{name}_{rank}" for rank in range(2, top + 1) for name in ("label", "probability")]
    picture = ("path", "path_b64", "status", "message", "time", "width", "height", "frames", "face", "track")
    return (*picture, *EDGES, "detection", "label", "probability", *EMOTIONS, *more)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
