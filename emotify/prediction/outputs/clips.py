"""Write annotated copies of clips: every frame, with boxes interpolated between the frames that were predicted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

import numpy as np
from PIL import Image

from emotify.files import atomic_write, make_folder
from emotify.prediction.annotated import draw_faces, enlargement
from emotify.prediction.faces import FaceResult
from emotify.prediction.results import PictureResult
from emotify.prediction.video import Frame, all_frames, frame_rate, import_av

_TIME_BASE: Final = Fraction(1, 90_000)  # seconds
_CLOSE: Final = 1e-4  # seconds


class ClipCopies:
    """Writes an annotated copy of each clip, as an MP4 file without sound; a context manager.

    A clip that is added twice gets one copy. place: returns the path of the copy for the path of a clip. The clip is
    decoded a second time, with at most two frames in memory.
    """

    def __init__(self, place: Callable[[Path], Path], *, overwrite: bool = False) -> None:
        self._place, self._overwrite = place, overwrite
        self.clips = 0  # copies begun so far
        self._begun: set[Path] = set()
        self._stack = ExitStack()
        self._copy: _Copy | None = None

    def add(self, result: PictureResult) -> None:
        """Add the next result. Results of pictures and failures are ignored."""
        if self._copy is not None and not self._copy.continues_with(result):
            self._end()
        if result.time is None or not result.ok:
            return
        if self._copy is None:
            path = self._place(result.path)
            if path in self._begun:
                return
            self._begun.add(path)
            self.clips += 1
            make_folder(path.parent, exist_ok=True)
            file = self._stack.enter_context(atomic_write(path, overwrite=self._overwrite))
            self._copy = self._stack.enter_context(_Copy(result.path, file))
        self._copy.add(result)

    def _end(self) -> None:
        if self._copy is not None:
            self._copy.finish()
        self._copy = None
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._end()
        self._stack.__exit__(kind, error, trace)


class _Copy:
    """The copy of one clip."""

    def __init__(self, clip: Path, file: IO[bytes]) -> None:
        self._clip, self._file, self._rate = clip, file, frame_rate(clip)
        self._av = import_av()
        self._frames = all_frames(clip)
        self._next: Frame | None = None
        self._before: PictureResult | None = None
        self._container: Any = None
        self._stream: Any = None
        self._factor, self._last = 1, -1

    def continues_with(self, result: PictureResult) -> bool:
        """Return whether a result belongs to a frame of this clip."""
        return result.path == self._clip and result.time is not None

    def add(self, result: PictureResult) -> None:
        """Write the frames up to the frame of this result."""
        for frame in self._until(result.time or 0.0):
            self._write(frame, faces_between(self._before, result, frame.time))
        self._before = result

    def finish(self) -> None:
        """Write the remaining frames and the end of the file."""
        for frame in self._until(None):
            self._write(frame, self._before.faces if self._before is not None else ())
        if self._container is not None:
            self._container.mux(self._stream.encode())

    def _until(self, time: float | None) -> Iterator[Frame]:
        """Yield the next frames up to `time` in seconds; None for all."""
        while True:
            frame = self._next or next(self._frames, None)
            self._next = frame
            if frame is None or (time is not None and frame.time > time - _CLOSE):
                return
            self._next = None
            yield frame

    def _write(self, frame: Frame, faces: tuple[FaceResult, ...]) -> None:
        image = Image.fromarray(frame.pixels)
        if self._container is None:
            self._factor = enlargement(image.size, ())
            self._open(image.width * self._factor, image.height * self._factor)
        pixels = np.asarray(draw_faces(image, faces, factor=self._factor))
        drawn = self._av.VideoFrame.from_ndarray(
            np.ascontiguousarray(pixels[: self._stream.height, : self._stream.width]), format="rgb24"
        )
        self._last = max(round(frame.time / _TIME_BASE), self._last + 1)
        drawn.pts, drawn.time_base = self._last, _TIME_BASE
        self._container.mux(self._stream.encode(drawn))

    def _open(self, width: int, height: int) -> None:
        self._container = self._av.open(self._file, "w", format="mp4")
        try:
            self._stream = self._container.add_stream(
                "libx264", rate=self._rate, options={"crf": "20", "preset": "veryfast"}
            )
        except self._av.FFmpegError:  # this PyAV was built without libx264
            self._stream = self._container.add_stream("mpeg4", rate=self._rate, options={"q": "3"})
        # Players expect yuv420p, which halves the resolution of colours and so needs even sides.
        self._stream.width, self._stream.height, self._stream.pix_fmt = width // 2 * 2, height // 2 * 2, "yuv420p"
        self._stream.codec_context.time_base = _TIME_BASE

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._container is not None:
            self._container.close()


def faces_between(before: PictureResult | None, after: PictureResult, time: float) -> tuple[FaceResult, ...]:
    """Return the faces at a time between two predicted frames: the earlier faces, with boxes interpolated linearly."""
    if before is None or before.time is None or after.time is None:
        return ()
    share = (time - before.time) / (after.time - before.time)
    targets = {face.track: face.box for face in after.faces}
    return tuple(replace(face, box=_moved(face.box, targets.get(face.track, face.box), share)) for face in before.faces)


def _moved(
    start: tuple[float, float, float, float], end: tuple[float, float, float, float], share: float
) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = ((1 - share) * begin + share * finish for begin, finish in zip(start, end, strict=True))
    return x0, y0, x1, y1
