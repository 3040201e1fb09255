"""Predict expressions: read pictures ahead in threads, detect faces, classify them in batches, keep the order."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, Final, Self, cast, overload

import numpy as np
import numpy.typing as npt
from PIL.Image import Image

from emotify.choices import Faces, Head, choose
from emotify.detection.detector import DEFAULT_SEARCH, Detector, Search, load_detector
from emotify.emotions import EMOTIONS
from emotify.machine import available_cpus
from emotify.onnx_runtime.classifier import Session, open_session
from emotify.opening import Kind, resolve
from emotify.pictures.finding import Tally, find_pictures, path_as_given
from emotify.pictures.memory import Share
from emotify.pictures.reading import Failure, Source, is_source, read_picture
from emotify.prediction.content import Content
from emotify.prediction.crops import Face, classifier_input, find_faces
from emotify.prediction.faces import FaceResult
from emotify.prediction.reading_ahead import map_in_order
from emotify.prediction.results import PictureResult
from emotify.prediction.small_faces import face_size, is_too_small
from emotify.prediction.tracking import Tracker

_AHEAD: Final = 4  # tasks submitted ahead, per thread
TIMEOUT: Final = 60.0  # seconds
_LYING: Final = {90: "on its right side", -90: "on its left side", 180: "upside down"}
_LARGE: Final = 2**18  # bytes; larger arrays are one task each, so that few of them are in memory


def _nothing() -> None:
    pass


@dataclass(slots=True)
class _Read:
    """A picture after reading: its result without expressions, its faces and their crops."""

    result: PictureResult
    faces: Sequence[Face] = ()
    crops: Sequence[npt.NDArray[np.uint8]] = ()  # (48, 48) each


class Predictor:
    """Reads expressions from faces with one exported model; never imports torch.

    >>> with Predictor() as predictor:
    ...     for result in predictor.predict("photos/"):      # a file, a folder, bytes, an array, or several of them
    ...         print(result)                                # photos/a.jpg: 2 faces: happy 93%, neutral 51%
    ...         rows = result.rows()                         # flat dicts, one per face: pandas.DataFrame(rows)
    ...         result.draw().save("marked.png")             # the picture with boxes and labels

    model: an .onnx file from `emotify export`, or a model inside the package: "default" (the most accurate) or "fast".
    faces: "auto" detects faces, except in pictures that are already tight face crops; "detect" always detects faces;
        "whole" takes each picture as one face.
    face_model: an .onnx file of another face detector: YuNet, CenterFace or Ultra-Light.
    min_face: side of the smallest face to detect, in pixels of the picture.
    max_side: pictures with a longer side, in pixels, are shrunk to it before faces are detected.
    min_confidence: a face is labelled "uncertain" if its highest probability is lower. Faces smaller than 24 pixels
        are always "uncertain".
    head: "crowd" predicts the answer of most people, "labels" predicts FER-2013's label. None uses the crowd head if
        the model has one.
    threads: number of threads; 0 for all CPUs that this process may use, or OMP_NUM_THREADS if it is set.
    device: "cpu", "cuda", "cuda:1", or "auto" for a GPU if onnxruntime can use one.
    timeout: seconds to wait for one picture before its status is "timeout"; 0 to wait without a limit.

    Several threads can share one predictor. A predictor can be pickled and reopens its model when it is next used.
    `close()`, also called at the end of a `with` block, frees the models' memory. Predicting opens them again.

    Raises ModelError if a model cannot be used, UnavailableError if the device is missing, and UsageError for an
    unknown value. All are in emotify.errors.
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
        _ = self.session  # report errors of the model before any picture is read
        if face_model and faces != "whole":
            self._load_detector()

    @property
    def session(self) -> Session:
        """The model's session, which is opened if it is closed."""
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
        state["_model"] = replace(self._model, path=self._model.path.absolute())
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=Lock(), _session=None, _detector=None)

    # The type checker cannot know whether a path is a file or a folder. Any stands for the results of a folder.
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
        """Return the result of one picture, or yield the results of a folder or of several pictures in order.

        A picture is a path, the bytes of a file, a file opened in binary mode, a Pillow image, or a uint8 array:
        grey (H, W) or RGB (H, W, 3). A folder means all pictures below it, sorted by name; links in it are not
        followed. A picture that cannot be read gets a status with the reason, and the others are still predicted.

        Each result is yielded as soon as it is ready, but the latest waits until `pictures` yields the next item or
        ends. Memory does not grow with the number of pictures, so `pictures` may be endless. `waiting` is called
        before each pause, in which the next pictures are read or classified.
        """
        if is_source(pictures) and not _is_folder(pictures):
            return next(self._results([pictures], waiting))
        several = [pictures] if is_source(pictures) else cast("Iterable[Source | Content]", pictures)
        return self._results(_without_folders(several), waiting)

    def predict_frames(
        self, frames: Iterable[npt.NDArray[np.uint8]], *, seconds: float = 1.0, waiting: Callable[[], object] = _nothing
    ) -> Iterator[PictureResult]:
        """Yield the results of the frames of one clip, in order. Results have a `time`, and their faces a `track`.

        frames: uint8 arrays, grey (H, W) or RGB (H, W, 3): an iterable, or one array with another dimension in front.
            OpenCV's frames are BGR: convert them with `frame[..., ::-1]`.
        seconds: time between two frames.

        A face keeps its track number while its boxes in successive frames overlap. A face that moves further, or is
        missing for more than a few frames, gets a new number.
        """
        named = (Content(Path("<frame>"), frame, number * seconds) for number, frame in enumerate(frames))
        return self._results(named, waiting)

    def predict_video(self, path: str | os.PathLike[str], *, every: float = 0.5) -> Iterator[PictureResult]:
        """Yield the results of a clip's frames, one per `every` seconds, or all frames if it is 0; see predict_frames.

        If the clip is damaged, the last result has the status. Raises UnavailableError if PyAV is not installed.
        """
        from emotify.prediction.video import clip_frames, import_av

        import_av()
        return self._results(clip_frames(Path(path), every=every), _nothing)

    def _results(self, pictures: Iterable[Source | Content], waiting: Callable[[], object]) -> Iterator[PictureResult]:
        tracker = Tracker()
        for large, some in itertools.groupby(pictures, _is_large):
            read_ahead = map_in_order(
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
                # One thread per picture, since several pictures are processed in parallel.
                self._detector = load_detector(self._face_model, threads=1)
            return self._detector

    def _late(self, given: Source | Content) -> _Read:
        message = f"not read within {self.timeout:g} s; check the disk, make the picture smaller, or raise --timeout"
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
        crops = [classifier_input(picture, face.square) for face in faces]
        notes = [f"only the first of its {picture.frames} frames was read"] if picture.frames > 1 else []
        if turned := next((face.turned for face in faces if face.turned), 0):
            notes.append(f"the picture lies {_LYING[turned]}; its faces were turned upright")
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
    """Yield the pictures, with each folder replaced by the pictures in it."""
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
    """Return the path of a picture, or its type in angle brackets, like Python's own <stdin>."""
    if isinstance(source, Content):
        return source.path
    if isinstance(source, Path):  # first, since the check for PathLike is slow
        return source
    if isinstance(source, str | os.PathLike):
        return path_as_given(source)
    name = getattr(source, "filename", "") or getattr(source, "name", "")  # of Pillow images and of open files
    return Path(name) if name and isinstance(name, str) else Path(f"<{type(source).__name__}>")
