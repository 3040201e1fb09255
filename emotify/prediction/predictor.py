"""Pictures in, expressions out: read ahead in threads, find faces, classify them in batches, in the order asked."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, Final, NamedTuple, Self, cast, overload

import numpy as np
import numpy.typing as npt
from PIL.Image import Image

from emotify.choices import Faces, Head, choose
from emotify.detection.detector import DEFAULT_SEARCH, Detector, Search, load_detector
from emotify.emotions import EMOTIONS
from emotify.machine import available_cpus
from emotify.onnx_runtime.classifier import Session, open_session
from emotify.opening import Kind, packaged_models, resolve
from emotify.pictures.finding import Tally, find_pictures, path_as_given
from emotify.pictures.memory import Share
from emotify.pictures.reading import Failure, Source, is_source, read_picture
from emotify.prediction.crops import Face, find_faces, see_square
from emotify.prediction.reading_ahead import in_order
from emotify.prediction.results import FaceResult, PictureResult
from emotify.prediction.small_faces import face_size, is_too_small
from emotify.prediction.tracking import Tracker

_AHEAD: Final = 4  # tasks handed out ahead, for each thread
TIMEOUT: Final = 60.0  # seconds
_LYING: Final = {90: "on its right side", -90: "on its left side", 180: "upside down"}
_LARGE: Final = 2**18  # bytes of pixels: such arrays are handed out one by one, so that few are held


def _nothing() -> None:
    pass


class Content(NamedTuple):
    """A picture that is no file of its own, and the name that it goes by: bytes, or a frame."""

    path: Path
    content: bytes | npt.NDArray[np.uint8] | Failure  # a failure: where frames were expected there are none
    time: float | None = None  # of a frame, in seconds since the clip began


@dataclass(slots=True)
class _Read:
    """A picture that was read: its result so far, and the faces cut out of it."""

    result: PictureResult
    faces: Sequence[Face] = ()
    crops: Sequence[npt.NDArray[np.uint8]] = ()  # (48, 48) each


class Predictor:
    """Reads expressions from faces with one exported model; never imports torch.

    >>> with Predictor() as predictor:
    ...     for result in predictor.predict("photos/"):      # a file, a folder, bytes, an array, or several of them
    ...         print(result)                                # photos/a.jpg: 2 faces: happy 93%, neutral 51%
    ...         rows = result.rows()                         # flat dicts, one a face: pandas.DataFrame(rows)
    ...         result.draw().save("marked.png")             # the picture with boxes and labels

    model: an .onnx file of `emotify export`, or a model inside the package: "default", which is most often right, or
        "fast".
    faces: "auto" takes a picture that is a face crop already as it is and looks for faces in others; "detect" always
        looks; "whole" never does.
    face_model: another face detector, an .onnx file of YuNet, CenterFace or Ultra-Light.
    min_face: side of the smallest face that is looked for, in pixels of the picture.
    max_side: the longest side, in pixels, at which pictures are looked at; larger ones are shrunk for that.
    min_confidence: a face whose most probable expression is less probable is labelled "uncertain", as are faces of
        fewer than 24 pixels a side.
    head: "crowd" for what most people would say, "labels" for what FER-2013's label would be; None for the crowd's
        where the model has it.
    threads: 0 for as many as this process may use, or as OMP_NUM_THREADS says.
    device: "cpu", "cuda", "cuda:1", or "auto" for a GPU where onnxruntime has one.
    timeout: seconds that one picture may be waited for until its status is "timeout"; 0 for ever.

    Several threads can use one predictor. One that is pickled opens its model again where it is unpickled. Leaving the
    `with` block, or `close()`, frees the model's memory; predicting opens it again. Raises ModelError when a model
    cannot be used, UnavailableError when a device is not there, UsageError for a value that there is not; all are of
    emotify.errors.
    """

    classes: Final = EMOTIONS  # the seven expressions, in the order of FaceResult.probabilities

    def __init__(
        self,
        model: str | os.PathLike[str] = "default",
        *,
        faces: Faces = "auto",
        face_model: str | os.PathLike[str] | None = None,
        min_face: int = DEFAULT_SEARCH.min_face,
        max_side: int = DEFAULT_SEARCH.max_side,
        min_confidence: float = 0.0,
        head: Head | str | None = None,
        threads: int = 0,
        device: str = "auto",
        timeout: float = TIMEOUT,
    ) -> None:
        choose(Faces, faces, option="--faces")
        self.threads = threads or available_cpus()
        self.search = Search(min_face=min_face, max_side=max_side)
        self._model = resolve(model, takes=(Kind.FILE,))
        self._head = None if head is None else choose(Head, head, option="--head")
        self._device, self._faces, self._min_confidence = device, faces, min_confidence
        self._face_model = Path(face_model).absolute() if face_model else None
        self._lock, self.timeout = Lock(), timeout
        self._session: Session | None = None
        self._detector: Detector | None = None
        _ = self.session  # what is wrong with a file is told before any picture is read
        if face_model and faces != "whole":
            self._load_detector()

    @property
    def session(self) -> Session:
        """The model; it is opened again where it is not open."""
        with self._lock:
            if self._session is None:
                self._session = open_session(
                    self._model.path, threads=self.threads, device=self._device, head=self._head
                )
            return self._session

    def close(self) -> None:
        """Free the memory of the models; predicting opens them again."""
        self._session = self._detector = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name not in {"_lock", "_session", "_detector"}}
        if self._model.given not in packaged_models():
            state["_model"] = replace(self._model, path=self._model.path.absolute())
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=Lock(), _session=None, _detector=None)

    # A str is iterable, and what a path leads to is known when it is looked at: Any stands for several results.
    @overload
    def predict(self, pictures: str | os.PathLike[str]) -> PictureResult | Any: ...  # type: ignore[overload-overlap]  # noqa: ANN401
    @overload
    def predict(self, pictures: bytes | BinaryIO | npt.NDArray[np.uint8] | Image) -> PictureResult: ...  # type: ignore[overload-overlap]
    @overload
    def predict(
        self, pictures: Iterable[Source | Content], *, waiting: Callable[[], object] = ...
    ) -> Iterator[PictureResult]: ...

    def predict(
        self, pictures: Source | Iterable[Source | Content], *, waiting: Callable[[], object] = _nothing
    ) -> PictureResult | Iterator[PictureResult]:
        """Return the result of one picture; of a folder, or of several pictures, yield their results in order.

        A picture is a path, the bytes of a file, a file opened in binary mode, an image of Pillow's, or a uint8 array,
        grey (H, W) or RGB (H, W, 3). A folder stands for the pictures in it, at any depth, sorted by name; links in it
        are not followed. One that cannot be read has a status that says why, and stops no other.

        Each result is yielded as soon as it is there, but the last one is kept back while `pictures` lets wait for the
        next. Memory does not grow with the number of pictures, which may be yielded without end; `waiting` is called
        before a pause in which the next ones are read or classified.
        """
        if is_source(pictures) and not _is_folder(pictures):
            return next(self._results([pictures], waiting))
        several = [pictures] if is_source(pictures) else cast("Iterable[Source | Content]", pictures)
        return self._results(_without_folders(several), waiting)

    def predict_frames(
        self, frames: Iterable[npt.NDArray[np.uint8]], *, seconds: float = 1.0, waiting: Callable[[], object] = _nothing
    ) -> Iterator[PictureResult]:
        """Yield the results of the frames of one clip, in order; each has its `time`, and its faces have a `track`.

        frames: uint8 arrays, grey (H, W) or RGB (H, W, 3), one by one or as an array of one more dimension; OpenCV's
        are BGR: `frame[..., ::-1]`. seconds: from one frame to the next. A face keeps its track number as long as
        its boxes in two frames overlap; one that moves further, or is out of sight for long, gets a new number.
        """
        named = (Content(Path("<frame>"), frame, number * seconds) for number, frame in enumerate(frames))
        return self._results(named, waiting)

    def predict_video(self, path: str | os.PathLike[str], *, every: float = 0.5) -> Iterator[PictureResult]:
        """Yield the results of a clip's frames, one at every `every` seconds, with 0 all of them; see predict_frames.

        What is wrong with a clip is the status of its last result. Raises UnavailableError where PyAV is not installed.
        """
        from emotify.prediction.video import clip_frames, import_av

        import_av()
        return self._results(clip_frames(Path(path), every=every), _nothing)

    def _results(self, pictures: Iterable[Source | Content], waiting: Callable[[], object]) -> Iterator[PictureResult]:
        tracker = Tracker()
        for large, some in itertools.groupby(pictures, _is_large):
            read_ahead = in_order(
                self._read,
                some,
                threads=self.threads,
                ahead=self._ahead(large=large),
                alone=large,
                late=self._late,
                timeout=self.timeout,
            )
            with closing(read_ahead):
                for read in read_ahead:
                    yield from map(tracker.follow, self._classify(read))
                    waiting()

    def _ahead(self, *, large: bool) -> int:
        return self.threads + 2 if large else _AHEAD * self.threads

    def _load_detector(self) -> Detector:
        with self._lock:
            if self._detector is None:
                # One thread a picture: pictures, not the parts of one, are what is worked on side by side.
                self._detector = load_detector(self._face_model, threads=1)
            return self._detector

    def _late(self, given: Source | Content) -> _Read:
        message = f"not read within {self.timeout:g} s; look at the disk, make the picture smaller, or raise --timeout"
        time = given.time if isinstance(given, Content) else None
        return _Read(PictureResult(_name_of(given), "timeout", message, time=time))

    def _read(self, given: Source | Content) -> _Read:
        path, time = _name_of(given), given.time if isinstance(given, Content) else None
        try:
            source = given.content if isinstance(given, Content) else given
            if isinstance(source, Failure):
                return _Read(PictureResult(path, source.status, source.message, time=time))
            with Share() as share:
                return self._read_source(path, source, share, time)
        except MemoryError:
            return _Read(PictureResult(path, "memory", "not enough memory for this picture; make it smaller"))

    def _read_source(self, path: Path, source: Source, share: Share, time: float | None) -> _Read:
        picture = read_picture(source, enough_side=self.search.enough_side, share=share)
        if isinstance(picture, Failure):
            return _Read(PictureResult(path, picture.status, picture.message, time=time))
        faces = find_faces(picture, self._faces, self._load_detector, self.search)
        crops = [see_square(picture, face.square) for face in faces]
        notes = [f"only the first of its {picture.frames} frames was read"] if picture.frames > 1 else []
        if turned := next((face.turned for face in faces if face.turned), 0):
            notes.append(f"it lies {_LYING[turned]}, and its faces were turned upright")
        note = "; ".join([*notes, *filter(None, [picture.note])])
        result = PictureResult(path, "ok", "", picture.width, picture.height, picture.frames, note, time=time)
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


def _is_folder(source: Source | Content) -> bool:
    return isinstance(source, str | os.PathLike) and os.path.isdir(source)  # noqa: PTH112 - Path.is_dir() may raise


def _without_folders(sources: Iterable[Source | Content]) -> Iterator[Source | Content]:
    """Yield the pictures, those of a folder in its place."""
    tally = Tally()
    for source in sources:
        if _is_folder(source):
            yield from find_pictures(cast("str | os.PathLike[str]", source), tally)
        else:
            yield source


def _is_large(source: Source | Content) -> bool:
    pixels = source.content if isinstance(source, Content) else source
    return isinstance(pixels, np.ndarray) and pixels.nbytes > _LARGE


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
