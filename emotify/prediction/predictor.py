"""Pictures in, expressions out: read ahead in threads, find faces, classify them in batches, in the order asked."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Final, NamedTuple, cast, overload

import numpy as np
import numpy.typing as npt

from emotify.choices import Faces, Head, choose
from emotify.detection.detector import DEFAULT_SEARCH, Detector, Search, load_detector
from emotify.emotions import EMOTIONS
from emotify.machine import available_cpus
from emotify.onnx_runtime.classifier import Session, open_session
from emotify.opening import Kind, resolve
from emotify.pictures.finding import path_as_given
from emotify.pictures.memory import Share
from emotify.pictures.pixels import Square
from emotify.pictures.reading import Failure, Source, is_source, read_picture
from emotify.prediction.crops import Face, find_faces, see_square
from emotify.prediction.reading_ahead import in_order
from emotify.prediction.small_faces import face_size, is_too_small

_AHEAD: Final = 4  # tasks handed out ahead, for each thread
TIMEOUT: Final = 60.0  # seconds
UNCERTAIN: Final = "uncertain"
_LYING: Final = {90: "on its right side", -90: "on its left side", 180: "upside down"}
_NOWHERE: Final = Square(0.0, 0.0, 0.0)


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
    uncertain: bool = False  # less probable than was asked for, or too small
    square: Square = _NOWHERE  # what the classifier saw

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
    def roll(self) -> float:
        """By how many degrees the face was tilted clockwise before it was turned upright; 0 for others."""
        return self.square.roll

    @property
    def area(self) -> float:
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0)

    def document(self, top: int = 0) -> dict[str, Any]:
        """Return the face as JSON has it, with its `top` most probable expressions in order if that is not 0."""
        document: dict[str, Any] = {
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


@dataclass(frozen=True, slots=True)
class PictureResult:
    """What became of one picture: its faces, or why there is none."""

    path: Path
    status: str  # ok, or one of the failures that docs/formats.md lists
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
            document["message"] = self.message
            return document
        document["width"], document["height"] = self.width, self.height
        if self.frames > 1:
            document["frames"] = self.frames
        if self.note:
            document["note"] = self.note
        document["faces"] = [face.document(top) for face in self.faces]
        return document


@dataclass(slots=True)
class _Read:
    """A picture that was read: its result so far, and the faces cut out of it."""

    result: PictureResult
    faces: Sequence[Face] = ()
    crops: Sequence[npt.NDArray[np.uint8]] = ()  # (48, 48) each


class Predictor:
    """Reads expressions with one exported model; never imports torch.

    `model` is an .onnx file of `emotify export` or the name of a model inside the package, by default the one that is
    most often right. `faces`: `auto` takes a picture that is a face crop already as it is and looks for faces in
    others, `detect` always looks, `whole` never does. `search` says how small the faces are and at what size they are
    sought. A face whose most probable expression is less probable than `min_confidence`, or that is smaller than 24
    pixels, is labelled `uncertain`. `head`: `crowd` for what most people would say, `labels` for what FER-2013's label
    would be; by default the crowd's where the model has it. `threads`: 0 for as many as this process may use. `device`:
    `cpu`, `cuda`, `cuda:1`, or `auto` for a GPU where onnxruntime has one. `timeout`: seconds that one picture may be
    waited for until its status is `timeout`; 0 for ever. Raises ModelError when a model cannot be
    used, UnavailableError when a device is not there, UsageError for a value that there is not.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        faces: Faces = "auto",
        face_model: str | os.PathLike[str] | None = None,
        search: Search = DEFAULT_SEARCH,
        min_confidence: float = 0.0,
        head: Head | str | None = None,
        threads: int = 0,
        device: str = "auto",
        timeout: float = TIMEOUT,
    ) -> None:
        choose(Faces, faces, option="--faces")
        self.threads = threads or available_cpus()
        wanted = None if head is None else choose(Head, head, option="--head")
        self.session: Session = open_session(
            resolve(model or "default", takes=(Kind.FILE,)).path, threads=self.threads, device=device, head=wanted
        )
        self._mode, self._face_model = faces, Path(face_model) if face_model else None
        self.search, self._min_confidence = search, min_confidence
        self._lock, self.timeout = Lock(), timeout
        if face_model and faces != "whole":
            self._load_detector()  # what is wrong with the file is told before any picture is read

    @overload
    def predict(self, pictures: Source) -> PictureResult: ...  # type: ignore[overload-overlap] # a str is one path
    @overload
    def predict(
        self, pictures: Iterable[Source | Content], *, waiting: Callable[[], object] = ...
    ) -> Iterator[PictureResult]: ...

    def predict(
        self, pictures: Source | Iterable[Source | Content], *, waiting: Callable[[], object] = lambda: None
    ) -> PictureResult | Iterator[PictureResult]:
        """Return the result of one picture; of several, yield the results in order, each as soon as it is there.

        But the last one is kept back while `pictures` lets wait for the next.
        A picture is a path, the bytes of a file, a file opened in binary mode, an image of Pillow's, or a uint8 array,
        grey (H, W) or RGB (H, W, 3). One that cannot be read has a status that says why, and stops no other. Memory
        does not grow with the number of pictures, which may be yielded without end; `waiting` is called before a pause
        in which the next ones are read or classified. `emotify.find_pictures` yields what is in folders.
        """
        if is_source(pictures):
            return next(self._results([pictures], waiting))
        return self._results(cast("Iterable[Source | Content]", pictures), waiting)

    def _results(self, pictures: Iterable[Source | Content], waiting: Callable[[], object]) -> Iterator[PictureResult]:
        read_ahead = in_order(
            self._read,
            pictures,
            threads=self.threads,
            ahead=_AHEAD * self.threads,
            late=self._late,
            timeout=self.timeout,
        )
        with closing(read_ahead):
            for read in read_ahead:
                yield from self._classify(read)
                waiting()

    @cached_property
    def _detector(self) -> Detector:
        # One thread a picture: pictures, not the parts of one, are what is worked on side by side.
        return load_detector(self._face_model, threads=1)

    def _load_detector(self) -> Detector:
        with self._lock:
            return self._detector

    def _late(self, given: Source | Content) -> _Read:
        message = f"not read within {self.timeout:g} s; look at the disk, make the picture smaller, or raise --timeout"
        return _Read(PictureResult(_name_of(given), "timeout", message))

    def _read(self, given: Source | Content) -> _Read:
        path = _name_of(given)
        try:
            source = given.content if isinstance(given, Content) else given
            with Share() as share:
                return self._read_source(path, source, share)
        except MemoryError:
            return _Read(PictureResult(path, "memory", "not enough memory for this picture; make it smaller"))

    def _read_source(self, path: Path, source: Source, share: Share) -> _Read:
        picture = read_picture(source, enough_side=self.search.enough_side, share=share)
        if isinstance(picture, Failure):
            return _Read(PictureResult(path, picture.status, picture.message))
        faces = find_faces(picture, self._mode, self._load_detector, self.search)
        crops = [see_square(picture, face.square) for face in faces]
        notes = [f"only the first of its {picture.frames} frames was read"] if picture.frames > 1 else []
        if turned := next((face.turned for face in faces if face.turned), 0):
            notes.append(f"it lies {_LYING[turned]}, and its faces were turned upright")
        note = "; ".join([*notes, *filter(None, [picture.note])])
        result = PictureResult(path, "ok", "", picture.width, picture.height, picture.frames, note)
        return _Read(result, faces, crops)

    def _classify(self, pictures: Sequence[_Read]) -> Iterator[PictureResult]:
        crops = [crop for picture in pictures for crop in picture.crops]
        images = np.stack(crops)[:, None] if crops else np.zeros((0, 1, 48, 48), np.uint8)
        answers = iter(self.session.probabilities(images).tolist())
        for picture in pictures:
            faces = tuple(self._face(face, tuple(next(answers))) for face in picture.faces)
            yield replace(picture.result, faces=faces) if faces else picture.result

    def _face(self, face: Face, probabilities: tuple[float, ...]) -> FaceResult:
        uncertain = max(probabilities) < self._min_confidence or is_too_small(face_size(face.box))
        return FaceResult(face.box, face.detection, probabilities, uncertain, face.square)


def _name_of(source: Source | Content) -> Path:
    """Return where a picture is, or what it is in angle brackets, as Python calls its own <stdin>."""
    if isinstance(source, Content):
        return source.path
    if isinstance(source, Path):  # asking for PathLike is slow
        return source
    if isinstance(source, str | os.PathLike):
        return path_as_given(source)
    name = getattr(source, "filename", "") or getattr(source, "name", "")  # of Pillow's images, and of open files
    return Path(name) if name and isinstance(name, str) else Path(f"<{type(source).__name__}>")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
