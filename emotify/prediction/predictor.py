"""Pictures in, expressions out: read ahead in threads, find faces, classify them in batches, in the order asked."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from emotify.cpus import available_cpus
from emotify.emotions import EMOTIONS
from emotify.prediction.ahead import ahead
from emotify.prediction.crops import Face, FaceMode, cut_face, find_faces
from emotify.prediction.detection import Detector, load_detector
from emotify.prediction.pictures import Failure, read_picture
from emotify.prediction.session import Session, open_session, packaged_model

_AHEAD: Final = 4  # pictures read ahead, for each thread
_BATCH: Final = 64  # faces classified at once
UNCERTAIN: Final = "uncertain"


class Content(NamedTuple):
    """A picture that is no file: the bytes of one, and the name that it goes by."""

    path: Path
    content: bytes


@dataclass(frozen=True, slots=True)
class FaceResult:
    """The expression of one face."""

    box: tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels of the upright picture
    detection: float | None  # the detector's score; None when the whole picture was taken as the face
    probabilities: tuple[float, ...]  # (7,), in the order of EMOTIONS
    uncertain: bool = False  # less probable than was asked for

    @property
    def label(self) -> str:
        """The most probable expression, or `uncertain`."""
        return UNCERTAIN if self.uncertain else EMOTIONS[self.probabilities.index(self.probability)]

    @property
    def probability(self) -> float:
        """That of the most probable expression, whatever the label."""
        return max(self.probabilities)

    def ranked(self, top: int = len(EMOTIONS)) -> list[tuple[str, float]]:
        """Return the `top` most probable expressions, the most probable first."""
        order = sorted(range(len(EMOTIONS)), key=self.probabilities.__getitem__, reverse=True)
        return [(EMOTIONS[index], self.probabilities[index]) for index in order[:top]]

    @property
    def area(self) -> float:
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0)

    def document(self, top: int = 0) -> dict[str, Any]:
        """Return the face as JSON has it, with its `top` most probable expressions in order if that is not 0."""
        document: dict[str, Any] = {
            "box": [round(edge, 1) for edge in self.box],
            "detection": None if self.detection is None else round(self.detection, 4),
            "label": self.label,
            "probability": round(self.probability, 4),
            "probabilities": {name: round(value, 4) for name, value in zip(EMOTIONS, self.probabilities, strict=True)},
        }
        if top:
            document["top"] = [{"label": name, "probability": round(value, 4)} for name, value in self.ranked(top)]
        return document


@dataclass(frozen=True, slots=True)
class PictureResult:
    """What became of one picture: its faces, or why there is none."""

    path: Path
    status: str  # ok, or one of the failures that CONTRACT lists
    message: str = ""  # what is wrong and what to do, when status is not ok
    width: int = 0  # pixels of the upright picture
    height: int = 0
    frames: int = 1  # the first is classified
    note: str = ""  # what to know about a picture that could be read: it has more frames, its EXIF data are broken
    faces: tuple[FaceResult, ...] = ()

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    @property
    def path_b64(self) -> str | None:
        """The bytes of a path that is no text, in base64."""
        return None if _is_utf8(str(self.path)) else base64.b64encode(bytes(self.path)).decode()

    def document(self, top: int = 0) -> dict[str, Any]:
        """Return the picture as a line of JSON has it; `top` as for a face."""
        document: dict[str, Any] = {"schema": 1, "path": str(self.path)}
        if self.path_b64:
            document["path_b64"] = self.path_b64
        document["status"] = self.status
        if not self.ok:
            return {**document, "message": self.message}
        document |= {"width": self.width, "height": self.height}
        if self.frames > 1:
            document["frames"] = self.frames
        if self.note:
            document["note"] = self.note
        return {**document, "faces": [face.document(top) for face in self.faces]}


@dataclass(frozen=True, slots=True)
class _Read:
    """A picture that was read: its result so far, and the faces cut out of it."""

    result: PictureResult
    faces: tuple[Face, ...] = ()
    crops: tuple[npt.NDArray[np.uint8], ...] = ()  # (48, 48) each


class Predictor:
    """Reads expressions with one exported model; never imports torch.

    `model` is an .onnx file of `emotify export`, by default the one inside the package. `faces`: `auto` takes a picture
    that is a face crop already as it is and looks for faces in others, `detect` always looks, `whole` never does.
    A face whose most probable expression is less probable than `min_confidence` is labelled `uncertain`.
    Raises ModelError when a model cannot be used.
    """

    def __init__(
        self,
        model: Path | None = None,
        *,
        faces: FaceMode = "auto",
        face_model: Path | None = None,
        min_confidence: float = 0.0,
        threads: int = 0,
    ) -> None:
        self.threads = threads or available_cpus()
        self.session: Session = open_session(model or packaged_model(), threads=self.threads)
        self._mode, self._face_model, self._min_confidence = faces, face_model, min_confidence
        self._lock = Lock()

    def predict(self, pictures: Iterable[Path | Content]) -> Iterator[PictureResult]:
        """Yield the result of each picture, in order, as soon as it is there; memory does not grow with them."""
        with ThreadPoolExecutor(self.threads) as pool:
            pending: deque[_Read] = deque()
            faces = 0
            for future in ahead(pool, self._read, pictures, window=_AHEAD * self.threads):
                if pending and (faces >= _BATCH or not future.done()):
                    yield from self._classify(pending)
                    pending.clear()
                    faces = 0
                pending.append(future.result())
                faces += len(pending[-1].crops)
            yield from self._classify(pending)

    @cached_property
    def _detector(self) -> Detector:
        # One thread a picture: pictures, not the parts of one, are what is worked on side by side.
        return load_detector(self._face_model, threads=1)

    def _load_detector(self) -> Detector:
        with self._lock:
            return self._detector

    def _read(self, source: Path | Content) -> _Read:
        path = source.path if isinstance(source, Content) else source
        try:
            picture = read_picture(source.content if isinstance(source, Content) else source)
            if isinstance(picture, Failure):
                return _Read(PictureResult(path, picture.status, picture.message))
            faces = tuple(find_faces(picture, self._mode, self._load_detector))
            crops = tuple(cut_face(picture, face) for face in faces)
        except MemoryError:
            return _Read(PictureResult(path, "memory", "not enough memory for this picture; make it smaller"))
        notes = [f"only the first of its {picture.frames} frames was read"] if picture.frames > 1 else []
        note = "; ".join([*notes, *filter(None, [picture.note])])
        result = PictureResult(path, "ok", "", picture.width, picture.height, picture.frames, note)
        return _Read(result, faces, crops)

    def _classify(self, pictures: Iterable[_Read]) -> Iterator[PictureResult]:
        pictures = list(pictures)
        crops = [crop for picture in pictures for crop in picture.crops]
        images = np.stack(crops)[:, None] if crops else np.zeros((0, 1, 48, 48), np.uint8)
        answers = iter(self.session.probabilities(images).tolist())
        for picture in pictures:
            faces = tuple(self._face(face, tuple(next(answers))) for face in picture.faces)
            yield replace(picture.result, faces=faces)

    def _face(self, face: Face, probabilities: tuple[float, ...]) -> FaceResult:
        return FaceResult(face.box, face.detection, probabilities, max(probabilities) < self._min_confidence)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
