"""Track faces through the frames of a clip by the overlap of their boxes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from emotify.prediction.faces import FaceResult
from emotify.prediction.results import PictureResult

_OVERLAP: Final = 0.2  # the lowest intersection over union of two boxes of the same face
_MISSING: Final = 4  # frames; a face that was missing for longer gets a new number

Area = tuple[float, float, float, float]


@dataclass
class Tracker:
    """Assigns track numbers to the faces of clips. Frames must come in order, one clip after the other.

    Only boxes are compared, so two faces that swap places between two frames swap numbers too.
    """

    _clip: Path | None = None
    _time: float = 0.0
    _tracks: dict[int, tuple[Area, int]] = field(default_factory=dict)  # number -> last box, frames since
    _last: int = 0

    def follow(self, result: PictureResult) -> PictureResult:
        """Return the result of a frame with a track number for each face. Return a picture's result unchanged."""
        if result.time is None:
            self._clip = None
            return result
        if result.path != self._clip or result.time < self._time:
            self._tracks, self._last = {}, 0
        self._clip, self._time = result.path, result.time
        numbers = self._match(result.faces)
        self._tracks = {number: (box, age + 1) for number, (box, age) in self._tracks.items() if age < _MISSING}
        for place, face in enumerate(result.faces):
            if place not in numbers:
                self._last += 1
                numbers[place] = self._last
            self._tracks[numbers[place]] = (face.box, 0)
        faces = tuple(replace(face, track=numbers[place]) for place, face in enumerate(result.faces))
        return replace(result, faces=faces)

    def _match(self, faces: tuple[FaceResult, ...]) -> dict[int, int]:
        """Return a track number per index of a face; the pairs with the largest overlap are matched first."""
        pairs = [
            (overlap, place, number)
            for place, face in enumerate(faces)
            for number, (box, _) in self._tracks.items()
            if (overlap := _overlap(face.box, box)) >= _OVERLAP
        ]
        numbers: dict[int, int] = {}
        for _, place, number in sorted(pairs, key=lambda pair: (-pair[0], pair[1:])):
            if place not in numbers and number not in numbers.values():
                numbers[place] = number
        return numbers


def _overlap(one: Area, other: Area) -> float:
    """Return the intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / max(areas - shared, 1e-9)
