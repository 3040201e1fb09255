"""Pictures in, expressions out: read ahead in threads, find faces, classify them in batches, in the order asked."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emotify.cpus import available_cpus
from emotify.emotions import EMOTIONS
from emotify.prediction.crops import Face, FaceMode, cut_face, find_faces
from emotify.prediction.detection import DEFAULT_SEARCH, Detector, Search, load_detector
from emotify.prediction.pictures import Failure, read_picture
from emotify.prediction.session import Session, open_session, packaged_model

_AHEAD: Final = 4  # pictures read ahead, for each thread
_BATCH: Final = 64  # faces classified at once


@dataclass(frozen=True, slots=True)
class FaceResult:
    """The expression of one face."""

    box: tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels of the upright picture
    detection: float | None  # the detector's score; None when the whole picture was taken as the face
    probabilities: tuple[float, ...]  # (7,), in the order of EMOTIONS

    @property
    def label(self) -> str:
        return EMOTIONS[max(range(len(EMOTIONS)), key=self.probabilities.__getitem__)]

    @property
    def probability(self) -> float:
        return max(self.probabilities)

    @property
    def area(self) -> float:
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0)

    def document(self) -> dict[str, Any]:
        """Return the face as JSON has it."""
        return {
            "box": [round(edge, 1) for edge in self.box],
            "detection": None if self.detection is None else round(self.detection, 4),
            "label": self.label,
            "probability": round(self.probability, 4),
            "probabilities": {name: round(value, 4) for name, value in zip(EMOTIONS, self.probabilities, strict=True)},
        }


@dataclass(frozen=True, slots=True)
class PictureResult:
    """What became of one picture: its faces, or why there is none."""

    path: Path
    status: str  # ok, or one of the failures that CONTRACT lists
    message: str = ""  # what is wrong and what to do, when status is not ok
    width: int = 0  # pixels of the upright picture
    height: int = 0
    frames: int = 1  # the first is classified
    note: str = ""  # what was odd about a picture that could be read
    faces: tuple[FaceResult, ...] = ()

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    def document(self) -> dict[str, Any]:
        """Return the picture as a line of JSON has it."""
        path = str(self.path)
        document: dict[str, Any] = {"schema": 1, "path": path}
        if not _is_utf8(path):
            document["path_b64"] = base64.b64encode(bytes(self.path)).decode()
        document["status"] = self.status
        if not self.ok:
            return {**document, "message": self.message}
        document |= {"width": self.width, "height": self.height}
        if self.frames > 1:
            document["frames"] = self.frames
        return {**document, "faces": [face.document() for face in self.faces]}


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
    `search` says how small the faces are and at what size they are sought.
    Raises ModelError when a model cannot be used.
    """

    def __init__(
        self,
        model: Path | None = None,
        *,
        faces: FaceMode = "auto",
        face_model: Path | None = None,
        search: Search = DEFAULT_SEARCH,
        threads: int = 0,
    ) -> None:
        self.threads = threads or available_cpus()
        self.session: Session = open_session(model or packaged_model(), threads=self.threads)
        self._mode, self._face_model, self._search = faces, face_model, search
        self._lock = Lock()
        if face_model and faces != "whole":
            self._load_detector()  # what is wrong with the file is told before any picture is read

    def predict(self, paths: Iterable[Path]) -> Iterator[PictureResult]:
        """Yield the result of each path, in order, as soon as it is there. Memory does not grow with their number."""
        with ThreadPoolExecutor(self.threads) as pool:
            pending: deque[_Read] = deque()
            faces = 0
            for future in _ahead(pool, self._read, paths, window=_AHEAD * self.threads):
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

    def _read(self, path: Path) -> _Read:
        try:
            picture = read_picture(path)
            if isinstance(picture, Failure):
                return _Read(PictureResult(path, picture.status, picture.message))
            faces = tuple(find_faces(picture, self._mode, self._load_detector, self._search))
            crops = tuple(cut_face(picture, face) for face in faces)
        except MemoryError:
            return _Read(PictureResult(path, "memory", "not enough memory for this picture; make it smaller"))
        result = PictureResult(path, "ok", "", picture.width, picture.height, picture.frames, picture.note)
        return _Read(result, faces, crops)

    def _classify(self, pictures: Iterable[_Read]) -> Iterator[PictureResult]:
        pictures = list(pictures)
        crops = [crop for picture in pictures for crop in picture.crops]
        images = np.stack(crops)[:, None] if crops else np.zeros((0, 1, 48, 48), np.uint8)
        answers = iter(self.session.probabilities(images).tolist())
        for picture in pictures:
            faces = tuple(FaceResult(face.box, face.detection, tuple(next(answers))) for face in picture.faces)
            yield replace(picture.result, faces=faces)


def _ahead(
    pool: ThreadPoolExecutor,
    work: Callable[[Path], _Read],
    items: Iterable[Path],
    *,
    window: int,
) -> Iterator[Future[_Read]]:
    """Yield the futures of `work` on each item, in order, with at most `window` of them under way."""
    futures: deque[Future[_Read]] = deque()
    try:
        for item in items:
            futures.append(pool.submit(work, item))
            if len(futures) >= window:
                yield futures.popleft()
        while futures:
            yield futures.popleft()
    finally:
        for future in futures:
            future.cancel()


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
