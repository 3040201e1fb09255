"""Write a page of pictures with the boxes and expressions of their faces: one HTML file without scripts or links."""

from __future__ import annotations

import base64
import io
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import IO, TYPE_CHECKING, Any, Final

from emotify.emotions import EMOTIONS
from emotify.files import printable
from emotify.palette import colour_of, ink_on
from emotify.prediction.small_faces import CERTAIN_FROM
from emotify.reports.templates import template
from emotify.reports.timeline import Timeline

if TYPE_CHECKING:
    from pathlib import Path

    from jinja2 import Template
    from PIL.Image import Image

    from emotify.prediction.faces import FaceResult
    from emotify.prediction.results import PictureResult

SHOWN: Final = 5000  # pictures; browsers become slow with more
_FAILURES_SHOWN: Final = 500
_THUMBNAIL: Final = 320  # pixels of the longer side
_LABELS: Final = (*EMOTIONS, "uncertain")
_STEPS: Final = (90, 70, 50)  # per cent


def thumbnail(image: Image) -> bytes:
    """Return a picture as a small JPEG file, without EXIF data."""
    from PIL.Image import Resampling

    small = image.copy()
    small.thumbnail((_THUMBNAIL, _THUMBNAIL), Resampling.BOX if max(image.size) > 1000 else Resampling.LANCZOS)
    content = io.BytesIO()
    small.save(content, "JPEG", quality=80)
    return content.getvalue()


@dataclass
class Gallery:
    """The cards of a page, collected on disk rather than in memory. top: number of expressions to show per face."""

    cards: IO[bytes]
    top: int = 0
    thumbnails: bool = False  # also show small pictures of the faces in clips
    pictures: int = 0
    read: int = 0  # readable pictures
    clips: int = 0
    frames: int = 0  # of all clips
    tracks: int = 0  # followed faces of all clips
    without_face: int = 0
    faces: Counter[str] = field(default_factory=Counter)  # label -> faces
    failures: Counter[str] = field(default_factory=Counter)  # status -> pictures
    _failed: list[dict[str, str]] = field(default_factory=list)
    _card: Template = field(default_factory=lambda: template("card.html"))
    _clip_card: Template = field(default_factory=lambda: template("clip.html"))
    _clip: Timeline | None = None

    def add(self, result: PictureResult, shown_path: str, small: bytes | None = None) -> None:
        """Add a picture under the name `shown_path`. small: its thumbnail, a JPEG file, or None."""
        if self._clip is not None and (result.time is None or result.path != self._clip.path):
            self._end_clip()
        self.pictures += result.time is None
        if not result.ok:
            self.failures[result.status] += 1
            if len(self._failed) < _FAILURES_SHOWN:
                row = {"path": shown_path, "status": result.status, "message": result.message}
                self._failed.append({name: printable(text) for name, text in row.items()})
            return
        self.faces.update(face.label for face in result.faces)
        if result.time is not None:
            self._add_frame(result, shown_path)
            return
        self.without_face += not result.faces
        self.read += 1
        if self.read <= SHOWN:
            self.cards.write(self._card.render(_card_values(result, shown_path, small, self.top)).encode())

    def _add_frame(self, result: PictureResult, shown_path: str) -> None:
        if self._clip is None:
            self._clip = Timeline(result.path, shown_path)
            self.clips += 1
        self._clip.add(result)
        self.frames += 1

    def _end_clip(self) -> None:
        if self._clip is not None:
            self.tracks += len(self._clip.tracks)
            self.cards.write(self._clip_card.render(self._clip.values(faces=self.thumbnails)).encode())
        self._clip = None

    def write(self, file: IO[bytes], *, model: str, meaning: str, source: str = "") -> None:
        """Write the page.

        model: the name of the model. meaning: a sentence about its probabilities. source: the name of the input.
        """
        from emotify import __version__

        self._end_clip()
        page = template("gallery.html").generate(
            version=__version__, model=printable(model), meaning=meaning, source=source,
            pictures=self.pictures, read=self.read, clips=self.clips, frames=self.frames,
            shown=min(self.read, SHOWN), cards_shown=min(self.read, SHOWN) + self.clips, tracks=self.tracks,
            smallest=CERTAIN_FROM,
            faces=self.faces, without_face=self.without_face, labels=_LABELS, steps=_STEPS, rules=_rules(),
            colours={label: colour_of(label) for label in _LABELS}, failed=self._failed,
            failures=self.failures.total(), cards=_CARDS,
        )  # fmt: skip
        for part in page:
            before, here, after = part.partition(_CARDS)
            file.write(before.encode())
            if here:
                self.cards.seek(0)
                shutil.copyfileobj(self.cards, file)
                file.write(after.encode())


_CARDS: Final = "<!-- cards -->"


@contextmanager
def new_gallery(folder: Path | None, *, top: int = 0, thumbnails: bool = False) -> Iterator[Gallery]:
    """Yield a gallery with a temporary file for its cards, in the folder of the page.

    With both files on the same disk, only one disk can be full. None: use the system's folder for temporary files.
    """
    with tempfile.TemporaryFile(dir=folder) as cards:
        yield Gallery(cards, top, thumbnails)


def _card_values(result: PictureResult, shown_path: str, small: bytes | None, top: int) -> dict[str, Any]:
    folder, _, name = shown_path.rpartition("/")
    return {
        "name": printable(name),
        "folder": printable(folder),
        "note": printable(result.note),
        "width": result.width,
        "height": result.height,
        "thumbnail": base64.b64encode(small).decode() if small else "",
        "faces": [_face_values(result, face, number, top) for number, face in enumerate(result.faces, 1)],
    }


def _face_values(result: PictureResult, face: FaceResult, number: int, top: int) -> dict[str, Any]:
    x0, y0, x1, y1 = face.box
    across, down = 100 / result.width, 100 / result.height
    steps = [f"c{step}" for step in _STEPS if face.probability * 100 >= step] or ["low"]
    colour = colour_of(face.label)
    return {
        "number": number,
        "label": face.label,
        "classes": " ".join([f"is-{face.label}", *steps]),
        "colour": colour,
        "ink": ink_on(colour),
        "percent": f"{face.probability:.0%}",
        "place": f"left:{x0 * across:.2f}%;top:{y0 * down:.2f}%;"
        f"width:{(x1 - x0) * across:.2f}%;height:{(y1 - y0) * down:.2f}%",
        "ranked": [
            {"label": name, "share": round(100 * share, 1), "percent": f"{share:.0%}", "colour": colour_of(name)}
            for name, share in face.ranked(top or 3)
        ],
    }


def _rules() -> str:
    """Return the CSS rules of the filters: they hide cards for each choice of expression and confidence."""
    rules = []
    for label, step in product(("any", *_LABELS), ("any", *(f"c{step}" for step in _STEPS), "low")):
        if (label, step) == ("any", "any"):
            continue
        wanted = ("" if label == "any" else f".is-{label}") + ("" if step == "any" else f".{step}")
        chosen = f"body:has(#e-{label}:checked):has(#p-{step}:checked)"
        rules.append(f"{chosen} .card:not(:has({wanted})){{display:none}}")
        rules.append(f"{chosen} .box:not({wanted}),{chosen} li:not({wanted}){{opacity:.25}}")
    none = "body:has(#e-none:checked)"
    rules.append(f"{none} .card:has(.box),{none} .clip{{display:none}}")
    return "\n".join(rules)
