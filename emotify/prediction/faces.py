"""The result of one face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from emotify.emotions import EMOTIONS
from emotify.pictures.pixels import Square

UNCERTAIN: Final = "uncertain"
EDGES: Final = ("x0", "y0", "x1", "y1")
_NOWHERE: Final = Square(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class FaceResult:
    """The expression of one face. `str(face)` is `happy 93%`."""

    box: tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels of the upright picture
    detection: float | None  # the detector's score, 0..1; None if the whole picture is the face
    probabilities: tuple[float, ...]  # (7,), 0..1, in the order of Predictor.classes; they sum to 1
    uncertain: bool = False  # the probability is below min_confidence, or the face is too small
    square: Square = _NOWHERE  # the classifier's input, in pixels of the upright picture
    track: int | None = None  # in frames of a clip: the number of the face, from 1

    @property
    def label(self) -> str:
        """The most probable expression, or `uncertain`."""
        return UNCERTAIN if self.uncertain else EMOTIONS[self.probabilities.index(self.probability)]

    @property
    def probability(self) -> float:
        """The probability of the most probable expression, also if the label is `uncertain`."""
        return max(self.probabilities)

    def ranked(self, top: int = len(EMOTIONS)) -> list[tuple[str, float]]:
        """Return the `top` most probable expressions with their probabilities, the most probable first."""
        order = sorted(range(len(EMOTIONS)), key=self.probabilities.__getitem__, reverse=True)
        return [(EMOTIONS[index], self.probabilities[index]) for index in order[:top]]

    @property
    def roll(self) -> float:
        """The clockwise tilt, in degrees, of a face that was rotated upright; 0 for other faces."""
        return self.square.roll

    @property
    def area(self) -> float:
        """The area of the box, in square pixels of the upright picture."""
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0)

    def to_dict(self, top: int = 0) -> dict[str, Any]:
        """Return the face as a dict for JSON. If `top` is not 0, add its `top` most probable expressions in order."""
        document: dict[str, Any] = {} if self.track is None else {"track": self.track}
        document |= {
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

    def row(self, top: int = 0) -> dict[str, Any]:
        """Return the face's cells of a row; numbers are not rounded."""
        row: dict[str, Any] = dict(zip(EDGES, self.box, strict=True))
        row |= {"detection": self.detection, "label": self.label, "probability": self.probability}
        row |= dict(zip(EMOTIONS, self.probabilities, strict=True))
        for rank, (name, value) in enumerate(self.ranked(top)[1:], 2):
            row |= {f"label_{rank}": name, f"probability_{rank}": value}
        return row

    def __str__(self) -> str:
        return f"{self.label} {self.probability:.0%}"
