"""The result of one picture, with the results of its faces."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotify.emotions import EMOTIONS
from emotify.errors import InputError
from emotify.files import printable
from emotify.pictures.reading import Failure, Source, read_picture
from emotify.prediction.annotated import draw_faces
from emotify.prediction.faces import EDGES, FaceResult

if TYPE_CHECKING:
    from PIL.Image import Image


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
