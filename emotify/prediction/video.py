"""Read frames of video clips with PyAV, which is an optional dependency."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from emotify.errors import UnavailableError
from emotify.pictures.decoding import MAX_PIXELS, check_size
from emotify.pictures.formats import describe_foreign, identify, is_video
from emotify.pictures.reading import Failure, explain_read_error, open_file
from emotify.prediction.content import Content

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame

EVERY: Final = 0.5  # seconds between two frames that are predicted
_HEAD: Final = 4096  # bytes from which the type of a file is identified
# The containers that are allowed. Playlists are not, since they name other files and addresses.
_CONTAINERS: Final = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,asf,flv,ogg"
_SLACK: Final = 2.0  # seconds by which an undamaged clip may be shorter than its header says
_CLOSE: Final = 1e-4  # seconds; tolerance when times are compared


class Frame(NamedTuple):
    """A frame of a clip."""

    time: float  # seconds since the first one
    pixels: npt.NDArray[np.uint8]  # upright RGB (H, W, 3)


def import_av() -> Any:  # noqa: ANN401 - a module
    """Return the module of PyAV. Raises UnavailableError if PyAV is not installed."""
    try:
        import av
    except ImportError:
        msg = "video clips need PyAV: pip install av"
        raise UnavailableError(msg) from None
    return av


def clip_frames(path: Path, *, every: float = EVERY) -> Iterator[Content]:
    """Yield one frame of a clip per `every` seconds, or every frame if it is 0, each with the clip's path.

    If the clip is damaged or cannot be read, the last item is a Failure with the time of the last decoded frame. So
    the status of the last item is the status of the clip. Only one frame is in memory at a time. Raises
    UnavailableError if PyAV is not installed.
    """
    reader = _Reader(path)
    due = 0.0
    with closing(reader.frames()) as frames:
        for time, frame in frames:
            if time < due - _CLOSE:
                continue
            due = (math.floor((time + _CLOSE) / every) + 1) * every if every else 0.0
            yield Content(path, reader.upright(frame), time)
    if reader.failure is not None:
        yield Content(path, reader.failure, reader.time if reader.count else None)


def all_frames(path: Path) -> Iterator[Frame]:
    """Yield every frame of a clip that can be decoded, and skip damaged ones."""
    reader = _Reader(path)
    with closing(reader.frames()) as frames:
        for time, frame in frames:
            yield Frame(time, reader.upright(frame))


def frames_at(path: Path, times: Sequence[float]) -> Iterator[Frame]:
    """Yield the frames of a clip at the given times, in seconds, without decoding everything between them."""
    reader = _Reader(path)
    with reader.opened() as clip:
        if clip is not None:
            for time in times:
                yield from reader.frame_at(clip, time)


def frame_rate(path: Path) -> Fraction:
    """Return the frames per second of a clip; 25 if the file does not give it."""
    with _Reader(path).opened() as clip:
        return Fraction((clip and clip.streams.video[0].average_rate) or 25)


def frame_count(path: Path, *, every: float) -> int | None:
    """Return the approximate number of frames of `clip_frames`; None if the file does not give its duration."""
    with _Reader(path).opened() as clip:
        if clip is None or not clip.duration:
            return None
        rate = float(clip.streams.video[0].average_rate or 25)
        return max(round(clip.duration / 1_000_000 * min(rate, 1 / every if every else rate)), 1)


class _Reader:
    """Decodes one clip. Afterwards `failure` is the fault that was found, if any."""

    def __init__(self, path: Path) -> None:
        self.failure: Failure | None = None
        self.count = 0  # decoded frames
        self.time = 0.0  # of the last decoded frame, in seconds
        self._av = import_av()
        self._path, self._start, self._damaged, self._aspect = path, 0.0, 0, Fraction(1)

    @contextmanager
    def opened(self) -> Iterator[InputContainer | None]:
        """Open the clip. Yield None and set `failure` if the clip cannot be opened."""
        file = open_file(self._path)
        if isinstance(file, Failure):
            self.failure = file
            yield None
            return
        with file:
            clip = self._open(file)
            if clip is None:
                yield None
                return
            with clip:
                yield clip if self._prepare(clip) else None

    def _open(self, file: IO[bytes]) -> InputContainer | None:
        try:
            head = file.read(_HEAD)
            file.seek(0)
            return self._open_read(file, head)
        except OSError as error:
            self.failure = explain_read_error(str(self._path), error)
            return None

    def _open_read(self, file: IO[bytes], head: bytes) -> InputContainer | None:
        if not head:
            self.failure = Failure("empty", "the file is empty; get the clip again")
        elif kind := identify(head):
            self.failure = Failure("not_an_image", f"a {kind} picture that is named like a clip; rename it")
        else:
            try:
                clip: InputContainer = self._av.open(file, options={"format_whitelist": _CONTAINERS})
            except (self._av.FFmpegError, ValueError):
                self.failure = _not_opened(head)
            else:
                return clip
        return None

    def _prepare(self, clip: InputContainer) -> bool:
        if not clip.streams.video:
            self.failure = Failure("not_an_image", "the file has only sound; give a clip with pictures")
            return False
        stream = clip.streams.video[0]
        if stream.codec_context is None:  # PyAV's types say that it never is
            self.failure = Failure("unsupported", "its codec is unknown to FFmpeg; convert the clip to H.264 in .mp4")
            return False
        stream.thread_type = "AUTO"
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        self._aspect = stream.sample_aspect_ratio or Fraction(1)  # of the container, else of the codec
        if stream.start_time is not None and stream.time_base is not None:
            self._start = float(stream.start_time * stream.time_base)
        return True

    def frames(self) -> Generator[tuple[float, VideoFrame]]:
        """Yield all frames with their times, in seconds since the first frame."""
        with self.opened() as clip:
            if clip is None:
                return
            step = float(1 / (clip.streams.video[0].average_rate or 25))
            for frame in self._decode(clip):
                if not self.count and frame.time is not None:
                    self._start = frame.time
                time = self.count * step if frame.time is None else frame.time - self._start
                self.count += 1
                self.time = max(time, self.time)
                yield self.time, frame
            self.failure = self.failure or self._judge(clip)

    def frame_at(self, clip: InputContainer, time: float) -> Iterator[Frame]:
        """Yield the first frame at or after a time, or nothing if there is none."""
        try:
            clip.seek(round((time + self._start) * 1_000_000))
        except self._av.FFmpegError:  # the index of a damaged clip is missing or wrong
            return
        for frame in self._decode(clip):
            if frame.time is not None and frame.time - self._start >= time - _CLOSE:
                yield Frame(frame.time - self._start, self.upright(frame))
                return

    def _decode(self, clip: InputContainer) -> Iterator[VideoFrame]:
        try:
            for packet in clip.demux(clip.streams.video[0]):
                try:
                    for frame in packet.decode():
                        if failure := check_size(self._width(frame), frame.height):
                            self.failure = failure
                            return
                        yield frame
                except self._av.FFmpegError:
                    self._damaged += 1
        except IndexError:  # PyAV fails after the last frame if another stream appeared after the clip was opened
            pass
        except self._av.FFmpegError:  # an error of the container, not of a packet
            self._damaged += 1
        except OSError as error:  # the rest of the file cannot be read
            self.failure = explain_read_error(str(self._path), error)

    def _judge(self, clip: InputContainer) -> Failure | None:
        """Return the fault of a clip after decoding it to its end, or None."""
        if not self.count:
            return Failure("corrupt", "no frame can be decoded; get the clip again, or convert it to .mp4")
        whole = _seconds(clip)
        if whole - self.time > max(_SLACK, 0.1 * whole):
            return Failure("truncated", f"the clip ends after {self.time:.1f} of {whole:.1f} s; get the clip again")
        if self._damaged:
            places = "1 place, which was" if self._damaged == 1 else f"{self._damaged} places, which were"
            return Failure("corrupt", f"damaged in {places} skipped; get the clip again")
        return None

    def upright(self, frame: VideoFrame) -> npt.NDArray[np.uint8]:
        """Return a frame as RGB, uint8 (H, W, 3), with square pixels, rotated as the file says."""
        pixels = frame.to_ndarray(format="rgb24", width=self._width(frame), height=frame.height)
        return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))

    def _width(self, frame: VideoFrame) -> int:
        """Return the width, in pixels, of a frame whose pixels are made square."""
        return round(frame.width * self._aspect)


def _seconds(clip: InputContainer) -> float:
    """Return the duration of the video stream in seconds, from the header; 0 if the header does not give it.

    The file's duration is used only if there is no other stream, since sound may be longer.
    """
    stream = clip.streams.video[0]
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return clip.duration / 1_000_000 if clip.duration and len(clip.streams) == 1 else 0.0


def _not_opened(head: bytes) -> Failure:
    if is_video(head):
        return Failure("truncated", "the clip ends too early or is damaged; get the clip again")
    return Failure("not_an_image", describe_foreign(head))
