"""The timeline of a clip on the page of predictions: the expressions of each face over time."""

from __future__ import annotations

import base64
import io
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from emotify.emotions import EMOTIONS
from emotify.files import printable
from emotify.palette import colour_of
from emotify.prediction.faces import UNCERTAIN
from emotify.reports.names import clock

if TYPE_CHECKING:
    from emotify.prediction.faces import FaceResult
    from emotify.prediction.results import PictureResult

TRACKS_SHOWN: Final = 40  # faces of a clip to show: those in the most frames
_BINS: Final = 600  # bars across; more would be too narrow to see
_LABELS: Final = (*EMOTIONS, UNCERTAIN)
_SIDE: Final = 72  # pixels of a face's picture
_MARGIN: Final = 0.25  # around the box of a face, as a share of its side


@dataclass
class Track:
    """The expressions of one face over time, in nine bytes per frame."""

    number: int
    times: array[float] = field(default_factory=lambda: array("f"))
    labels: array[int] = field(default_factory=lambda: array("b"))
    shares: array[float] = field(default_factory=lambda: array("f"))
    best: tuple[float, float, tuple[float, float, float, float]] = (-1.0, 0.0, (0.0, 0.0, 0.0, 0.0))  # score, time, box

    def add(self, time: float, face: FaceResult) -> None:
        """Add the face's result of one frame."""
        self.times.append(time)
        self.labels.append(_LABELS.index(face.label))
        self.shares.append(face.probability)
        self.best = max(self.best, ((face.detection or 1.0) * face.probability, time, face.box))


@dataclass
class Timeline:
    """The results of one clip, collected frame by frame."""

    path: Path
    shown_path: str
    frames: int = 0
    width: int = 0
    height: int = 0
    end: float = 0.0
    tracks: dict[int, Track] = field(default_factory=dict)

    def add(self, result: PictureResult) -> None:
        """Add the result of the next frame."""
        self.frames += 1
        self.width, self.height, self.end = result.width, result.height, result.time or 0.0
        for face in result.faces:
            number = face.track or 0
            self.tracks.setdefault(number, Track(number)).add(self.end, face)

    def values(self, *, faces: bool) -> dict[str, Any]:
        """Return the values for the template. faces: add a small picture of each face, which reads the clip again."""
        shown = sorted(self.tracks.values(), key=lambda track: -len(track.times))[:TRACKS_SHOWN]
        shown.sort(key=lambda track: track.number)
        pictures = self._pictures(shown) if faces else {}
        folder, _, name = self.shown_path.rpartition("/")
        step = self.end / (self.frames - 1) if self.frames > 1 else 1.0
        length = self.end + step
        return {
            "name": printable(name),
            "folder": printable(folder),
            "width": self.width,
            "height": self.height,
            "frames": self.frames,
            "length": clock(length),
            "ticks": [clock(length * part / 4) for part in range(5)],
            "more": len(self.tracks) - len(shown),
            "tracks": [self._track_values(track, length, step, pictures.get(track.number, b"")) for track in shown],
        }

    def _track_values(self, track: Track, length: float, step: float, picture: bytes) -> dict[str, Any]:
        counts = Counter(_LABELS[label] for label in track.labels)
        classes = {f"is-{label}" for label in counts}
        classes |= {f"c{limit}" for limit in (90, 70, 50) if max(track.shares) * 100 >= limit}
        classes |= {"low"} if min(track.shares) < 0.5 else set()
        return {
            "number": track.number,
            "picture": base64.b64encode(picture).decode(),
            "classes": " ".join(sorted(classes)),
            "span": f"{clock(track.times[0])} to {clock(track.times[-1] + step)}",
            "counts": [
                {"label": label, "colour": colour_of(label), "percent": f"{count / len(track.times):.0%}"}
                for label, count in counts.most_common(3)
            ],
            "bars": list(_bars(track, length, step)),
        }

    def _pictures(self, tracks: list[Track]) -> dict[int, bytes]:
        """Return track number -> JPEG of the face in its best frame, without the frames that are no longer readable."""
        from PIL import Image

        from emotify.prediction.video import frames_at

        pictures = {}
        for track in tracks:
            _, time, box = track.best
            for frame in frames_at(self.path, [time]):
                image = Image.fromarray(frame.pixels)
                face = image.crop(_square(box, *image.size))
                content = io.BytesIO()
                face.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS).save(content, "JPEG", quality=80)
                pictures[track.number] = content.getvalue()
        return pictures


def _square(box: tuple[float, float, float, float], width: int, height: int) -> tuple[int, int, int, int]:
    """Return a square (x0, y0, x1, y1) around a box, inside the picture."""
    x0, y0, x1, y1 = box
    side = round(min(max(x1 - x0, y1 - y0) * (1 + 2 * _MARGIN), width, height))
    left = round(min(max((x0 + x1 - side) / 2, 0), width - side))
    top = round(min(max((y0 + y1 - side) / 2, 0), height - side))
    return left, top, left + side, top + side


def _bars(track: Track, length: float, step: float) -> Iterator[dict[str, Any]]:
    """Yield bars for a drawing 1000 wide and 100 high. Merge neighbours with the same label and a similar height."""
    bins = min(_BINS, max(round(length / step), 1))
    places = [min(int((time + step * 1e-3) / length * bins), bins - 1) for time in track.times]
    merged: list[tuple[int, str, float]] = []
    for place, group in groupby(range(len(places)), key=places.__getitem__):
        some = list(group)
        commonest, _ = Counter(track.labels[index] for index in some).most_common(1)[0]
        shares = [track.shares[index] for index in some if track.labels[index] == commonest]
        merged.append((place, _LABELS[commonest], sum(shares) / len(shares)))
    start = 0
    for number, (place, label, share) in enumerate(merged):
        following = merged[number + 1] if number + 1 < len(merged) else None
        if following and following[0] == place + 1 and (label, _tenth(share)) == (following[1], _tenth(following[2])):
            continue
        first, last = merged[start][0], place + 1
        start = number + 1
        yield {
            "x": round(1000 * first / bins, 2),
            "width": round(1000 * (last - first) / bins, 2),
            "height": round(100 * share),
            "colour": colour_of(label),
            "title": f"{clock(first * length / bins)} {label} {share:.0%}",
        }


def _tenth(share: float) -> int:
    return round(10 * share)
