"""Results of a predictor: one per picture, with one per face in it."""

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
    detection: float | None  # the detector's score, 0..1; None if the whole picture is the face
    probabilities: tuple[float, ...]  # (7,), 0..1, in the order of Predictor.classes; they sum to 1
    uncertain: bool = False  # the probability is below min_confidence, or the face is too small
    square: Square = _NOWHERE  # the classifier's input, in pixels of the upright picture
    track: int | None = None  # in frames of a clip: the number of the face, from 1

    @property
    def label(self) -> str:
        """The most probable expression, or `uncertain`."""
        return UNCERTAIN if self.uncertain else EMOTIONS[self.probabilities.index(self.probability)]

    @property
    def probability(self) -> float:
        """The probability of the most probable expression, also if the label is `uncertain`."""
        return max(self.probabilities)

    def ranked(self, top: int = len(EMOTIONS)) -> list[tuple[str, float]]:
        """Return the `top` most probable expressions with their probabilities, the most probable first."""
        order = sorted(range(len(EMOTIONS)), key=self.probabilities.__getitem__, reverse=True)
        return [(EMOTIONS[index], self.probabilities[index]) for index in order[:top]]

    @property
    def roll(self) -> float:
        """The clockwise tilt, in degrees, of a face that was rotated upright; 0 for other faces."""
        return self.square.roll

    @property
    def area(self) -> float:
        """The area of the box, in square pixels of the upright picture."""
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0)

    def to_dict(self, top: int = 0) -> dict[str, Any]:
        """Return the face as a dict for JSON. If `top` is not 0, add its `top` most probable expressions in order."""
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
        """Return the face's cells of a row; numbers are not rounded."""
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
    """The result of one picture: its faces, or the reason why it could not be read.

    `str(result)` is a readable line: `a.jpg: 2 faces: happy 93%, neutral 51%`. Iterating over a result yields the
    result itself, so the same loop works for a file and for a folder.
    """

    path: Path  # of the file; a picture in memory is named by its type, such as <ndarray>
    status: str  # ok, or one of the failures that docs/formats.md lists
    message: str = ""  # what is wrong and what to do, when status is not ok
    width: int = 0  # pixels of the upright picture
    height: int = 0
    frames: int = 1  # frames or pages of the file; only the first is classified
    note: str = ""  # a remark on a picture that could be read, such as more frames or damaged EXIF data
    faces: tuple[FaceResult, ...] = ()  # the highest detection score first
    time: float | None = None  # of a frame: seconds since the start of the clip

    @property
    def ok(self) -> bool:
        """Whether the picture could be read, with or without a face."""
        return self.status == "ok"

    @property
    def path_b64(self) -> str | None:
        """The path's bytes in base64 if the path is not valid UTF-8, otherwise None."""
        return None if _is_utf8(str(self.path)) else base64.b64encode(bytes(self.path)).decode()

    def to_dict(self, top: int = 0) -> dict[str, Any]:
        """Return the result as a dict, as in a line of `emotify predict --jsonl`.

        If `top` is not 0, each face has a list of its `top` most probable expressions in order.
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
        """Return one flat dict per face, or a single one for a picture without faces.

        All have the keys of `columns(top)`; missing values are None. `pandas.DataFrame(result.rows())` makes a table.
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
        """Return the upright picture as an RGB Pillow image, with a box and a label for each face.

        Small pictures are enlarged. The picture's file is read again. For a result without a file of its own (an
        array, bytes, a frame), pass the picture as `picture`. Raises InputError if the picture is missing or cannot be
        read.
        """
        from emotify.prediction.annotated import draw_faces

        if picture is None and (self.time is not None or str(self.path).startswith("<")):
            msg = f"{printable(self.path)} is not a picture file; pass the picture itself: result.draw(picture)"
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
    """Return the keys of a row, in order. `top` adds columns for the second to the `top`-th expression."""
    more = [f"{name}_{rank}" for rank in range(2, top + 1) for name in ("label", "probability")]
    picture = ("path", "path_b64", "status", "message", "time", "width", "height", "frames", "face", "track")
    return (*picture, *EDGES, "detection", "label", "probability", *EMOTIONS, *more)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
