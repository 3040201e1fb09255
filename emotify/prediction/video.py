"""Frames of a video clip, read by PyAV, which is an extra: one every so often, upright, or what is wrong with it."""

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
from emotify.pictures.decoding import MAX_PIXELS, from_array
from emotify.pictures.formats import describe_foreign, identify, is_video
from emotify.pictures.reading import Failure, open_file
from emotify.prediction.predictor import Content

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame

EVERY: Final = 0.5  # seconds from one frame that is looked at to the next
_HEAD: Final = 4096  # bytes that tell what a file is
# What a file may be. Not playlists, which name other files and addresses.
_CONTAINERS: Final = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,asf,flv,ogg"
_SLACK: Final = 2.0  # seconds by which a whole clip may end before its header says so
_CLOSE: Final = 1e-4  # seconds


class Frame(NamedTuple):
    """A frame of a clip."""

    time: float  # seconds since the first one
    pixels: npt.NDArray[np.uint8]  # upright RGB (H, W, 3)


def import_av() -> Any:  # noqa: ANN401 - a module
    """Return PyAV. Raises UnavailableError where it is not installed."""
    try:
        import av
    except ImportError:
        msg = "video clips need PyAV: pip install av"
        raise UnavailableError(msg) from None
    return av


def clip_frames(path: Path, *, every: float = EVERY) -> Iterator[Content]:
    """Yield the frame of a clip at every `every` seconds, with 0 every frame, each under the clip's name.

    Where something is wrong, a Failure comes last, with the time that could be reached: the status of a clip is that
    of its last item. One frame is held at a time. Raises UnavailableError without PyAV.
    """
    reader = _Reader(path)
    due = 0.0
    with closing(reader.frames()) as frames:
        for time, frame in frames:
            if time < due - _CLOSE:
                continue
            due = (math.floor((time + _CLOSE) / every) + 1) * every if every else 0.0
            pixels = reader.upright(frame)
            checked = from_array(pixels)
            if isinstance(checked, Failure):  # too small, or far too long: every frame is
                yield Content(path, checked)
                return
            yield Content(path, pixels, time)
    if reader.failure is not None:
        yield Content(path, reader.failure, reader.time if reader.count else None)


def all_frames(path: Path) -> Iterator[Frame]:
    """Yield every frame of a clip that can be decoded."""
    reader = _Reader(path)
    with closing(reader.frames()) as frames:
        for time, frame in frames:
            yield Frame(time, reader.upright(frame))


def frames_at(path: Path, times: Sequence[float]) -> Iterator[Frame]:
    """Yield the frames of a clip at some times, without decoding all that lies between them."""
    reader = _Reader(path)
    with reader.opened() as clip:
        if clip is not None:
            for time in times:
                yield from reader.frame_at(clip, time)


def frame_rate(path: Path) -> Fraction:
    """Return the frames a second of a clip; 25 where it does not say."""
    with _Reader(path).opened() as clip:
        return Fraction((clip and clip.streams.video[0].average_rate) or 25)


def frame_count(path: Path, *, every: float) -> int | None:
    """Return how many frames `clip_frames` will about give, None where the clip does not say how long it is."""
    with _Reader(path).opened() as clip:
        if clip is None or not clip.duration:
            return None
        rate = float(clip.streams.video[0].average_rate or 25)
        return max(round(clip.duration / 1_000_000 * min(rate, 1 / every if every else rate)), 1)


class _Reader:
    """Decodes one clip; afterwards `failure` says what was wrong with it."""

    def __init__(self, path: Path) -> None:
        self.failure: Failure | None = None
        self.count = 0  # of frames so far
        self.time = 0.0  # of the last one
        self._av = import_av()
        self._path, self._start, self._damaged, self._aspect = path, 0.0, 0, Fraction(1)

    @contextmanager
    def opened(self) -> Iterator[InputContainer | None]:
        """Open the clip; None where that fails, with `failure` saying why."""
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
        head = file.read(_HEAD)
        file.seek(0)
        if not head:
            self.failure = Failure("empty", "the file holds nothing; get the clip again")
        elif kind := identify(head):
            self.failure = Failure("not_an_image", f"a {kind} picture that is named as a clip; rename it")
        else:
            try:
                clip: InputContainer = self._av.open(file, options={"format_whitelist": _CONTAINERS})
            except (self._av.FFmpegError, OSError, ValueError):
                self.failure = _not_opened(head)
            else:
                return clip
        return None

    def _prepare(self, clip: InputContainer) -> bool:
        if not clip.streams.video:
            self.failure = Failure("not_an_image", "sound alone; name a clip with pictures")
            return False
        stream = clip.streams.video[0]
        stream.thread_type = "AUTO"
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        self._aspect = stream.codec_context.sample_aspect_ratio or Fraction(1)
        if stream.start_time is not None and stream.time_base is not None:
            self._start = float(stream.start_time * stream.time_base)
        return True

    def frames(self) -> Generator[tuple[float, VideoFrame]]:
        """Yield all frames with their times, in seconds since the first one."""
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
            self.failure = self._judge(clip)

    def frame_at(self, clip: InputContainer, time: float) -> Iterator[Frame]:
        """Yield the first frame at or after a time, if there is one."""
        clip.seek(round((time + self._start) * 1_000_000))
        for frame in self._decode(clip):
            if frame.time is not None and frame.time - self._start >= time - _CLOSE:
                yield Frame(frame.time - self._start, self.upright(frame))
                return

    def _decode(self, clip: InputContainer) -> Iterator[VideoFrame]:
        try:
            for packet in clip.demux(clip.streams.video[0]):
                try:
                    yield from packet.decode()
                except self._av.FFmpegError:
                    self._damaged += 1
        except (self._av.FFmpegError, OSError):  # of the file around the packets
            self._damaged += 1

    def _judge(self, clip: InputContainer) -> Failure | None:
        """Say what was wrong with a clip that was decoded to its end."""
        if not self.count:
            return Failure("corrupt", "no frame of it can be decoded; get the clip again, or convert it to .mp4")
        whole = _seconds(clip)
        if whole - self.time > max(_SLACK, 0.1 * whole):
            return Failure("truncated", f"it ends after {self.time:.1f} of {whole:.1f} s; get the clip again")
        if self._damaged:
            places = "1 place, which was" if self._damaged == 1 else f"{self._damaged} places, which were"
            return Failure("corrupt", f"damaged in {places} passed over; get the clip again")
        return None

    def upright(self, frame: VideoFrame) -> npt.NDArray[np.uint8]:
        """Return a frame as RGB (H, W, 3), with square pixels and turned as it is to be shown."""
        pixels = frame.to_ndarray(format="rgb24", width=round(frame.width * self._aspect), height=frame.height)
        return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


def _seconds(clip: InputContainer) -> float:
    """Return how long a clip's pictures are, as its header says; 0 where it does not: sound may be longer."""
    stream = clip.streams.video[0]
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return clip.duration / 1_000_000 if clip.duration and len(clip.streams) == 1 else 0.0


def _not_opened(head: bytes) -> Failure:
    if is_video(head):
        return Failure("truncated", "the clip ends too early, or is damaged; get it again")
    return Failure("not_an_image", describe_foreign(head))
