"""Draw the bounding boxes and expressions of faces on copies of pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from emotify.palette import colour_of, ink_on

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    from emotify.prediction.faces import FaceResult

    Font = FreeTypeFont | ImageFont
    Area = tuple[float, float, float, float]  # x0, y0, x1, y1

_SMALL: Final = 200  # pixels; smaller pictures are enlarged, since no label would fit on them
_SMALL_FACE: Final = 24  # pixels; pictures with smaller faces are enlarged too, up to _LARGE
_LARGE: Final = 1200  # pixels


def draw_faces(image: Image, faces: Sequence[FaceResult], *, factor: int | None = None) -> Image:
    """Return an RGB copy of an upright picture with a box and a label for each face.

    The first faces are drawn on top. Lines and letters scale with the picture, so labels are readable at 100 and at
    6000 pixels. A small picture, or one with small faces, is first enlarged by a whole factor. `factor` sets it.
    """
    from PIL import ImageDraw
    from PIL.Image import Resampling

    factor = factor or enlargement(image.size, faces)
    drawn = image.convert("RGB").resize((image.width * factor, image.height * factor), Resampling.NEAREST)
    draw = ImageDraw.Draw(drawn)
    labels: list[_Label] = []
    for face in faces:
        box, taken = _scaled(face.box, factor), [label.area for label in labels]
        labels.append(_label(face, box, drawn.size, taken))
    for face in reversed(faces):
        _draw_box(draw, _scaled(face.box, factor), colour_of(face.label), drawn.size, dashed=face.uncertain)
    for label in reversed(labels):
        label.write(draw)
    return drawn


def enlargement(size: tuple[int, int], faces: Sequence[FaceResult]) -> int:
    """Return the whole factor by which to enlarge a picture of `size` (width, height) so that labels are readable."""
    longest = max(size)
    smallest = min((math.sqrt(face.area) for face in faces), default=math.inf)
    wanted = max(_SMALL / longest, min(_SMALL_FACE / max(smallest, 1), _LARGE // longest))
    return max(1, math.ceil(wanted))


def _scaled(box: Area, factor: int) -> Area:
    x0, y0, x1, y1 = (edge * factor for edge in box)
    return x0, y0, x1 - 1, y1 - 1


def _line_width(size: tuple[int, int]) -> int:
    return max(2, round(max(size) / 320))


def _draw_box(draw: ImageDraw, box: Area, colour: str, size: tuple[int, int], *, dashed: bool) -> None:
    width = _line_width(size)
    # The black outline makes the box visible on a background of its own colour.
    draw.rectangle(_grown(box, 1), outline="#000000", width=width + 2)
    draw.rectangle(box, outline=colour, width=width)
    if dashed:
        for dash in _dashes(box, width):
            draw.rectangle(dash, fill="#000000")


def _dashes(box: Area, width: int) -> Iterator[Area]:
    """Yield every second segment of a box's lines, as rectangles."""
    x0, y0, x1, y1 = (round(edge) for edge in box)
    for x in range(x0 + 3 * width, x1, 6 * width):
        end = min(x + 3 * width, x1)
        yield from ((x, y0, end, y0 + width - 1), (x, y1 - width + 1, end, y1))
    for y in range(y0 + 3 * width, y1, 6 * width):
        end = min(y + 3 * width, y1)
        yield from ((x0, y, x0 + width - 1, end), (x1 - width + 1, y, x1, end))


def _grown(box: Area, by: float) -> Area:
    return box[0] - by, box[1] - by, box[2] + by, box[3] + by


@dataclass(frozen=True)
class _Label:
    text: str
    colour: str
    font: Font
    area: Area

    def write(self, draw: ImageDraw) -> None:
        draw.rectangle(self.area, fill=self.colour)
        middle = ((self.area[0] + self.area[2]) / 2, (self.area[1] + self.area[3]) / 2)
        draw.text(middle, self.text, font=self.font, fill=ink_on(self.colour), anchor="mm")


def _label(face: FaceResult, box: Area, size: tuple[int, int], others: Sequence[Area]) -> _Label:
    """Return a face's label, placed where it covers the least area of the other labels."""
    text = str(face) if face.track is None else f"{face.track} {face}"
    font = _font(text, box, size)
    height = font.getbbox("angry%", anchor="ls")[3] - font.getbbox("angry%", anchor="ls")[1]
    pad = max(1, round(height / 5))
    area = _place(box, (font.getlength(text) + 2 * pad, height + 2 * pad), size, others)
    return _Label(text, colour_of(face.label), font, area)


def _font(text: str, box: Area, size: tuple[int, int]) -> Font:
    from PIL import ImageFont

    # The label is as wide as the face if its letters are then neither too small nor too large. It fits the picture.
    letters = len(text) * 0.52  # width of the text, in units of the letters' height
    least, most = max(11.0, max(size) / 64), max(12.0, max(size) / 28)
    wanted = min(max((box[2] - box[0]) / letters, least), most, size[0] / letters)
    return ImageFont.load_default(max(8, round(wanted)))


def _place(box: Area, label: tuple[float, float], size: tuple[int, int], others: Sequence[Area]) -> Area:
    """Return the area for a label (width, height): above, below or inside its box, with the least overlap."""
    width, height = label
    line = _line_width(size)
    x0 = min(max(box[0] - line / 2, 0), max(size[0] - width, 0))
    candidates = [box[1] - height - line / 2, box[3] + line / 2, box[1] + line, box[3] - height - line]
    inside = [y for y in candidates if 0 <= y <= size[1] - height] or [max(0.0, min(box[1], size[1] - height))]
    areas = [(x0, y, x0 + width, y + height) for y in inside]
    return min(areas, key=lambda area: sum(_shared(area, other) for other in others))


def _shared(one: Area, other: Area) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)
