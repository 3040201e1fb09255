"""MediaPipe's full-range BlazeFace, shown a picture in the ways in which it finds the most faces."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from emotify.detection.boxes import (
    KEY_POINTS,
    Box,
    Boxes,
    average_overlapping,
    best_scores,
    drop_inner,
    sides,
    to_list,
)
from emotify.onnx_runtime.session import run_model

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

SMALLEST_FACE: Final = 16  # pixels a side, after shrinking; expressions of smaller faces cannot be told

_INPUT: Final = 192  # pixels a side
_CELLS: Final = 48  # a side of the grid that it answers on
_NUMBERS: Final = 5 + 2 * KEY_POINTS  # of a face
# Of its 16 values x, y, width and height come first, then six points: eyes, nose, mouth, ears. These are kept.
_EYES_AND_MOUTH: Final = (4, 5, 6, 7, 10, 11)
_BATCH: Final = 3  # views at once; all at once are a third slower, as they leave the processor's cache

_BORDER: Final = 0.8  # of the longer side, around the bordered copy
_TILE: Final = 400  # pixels; a face of 24 is one of 12 to the network, which it may just see
_TILES_OVERLAP: Final = 0.25
_MAYBE: Final = 0.2  # score from which a second look is worth its time
_FRAME: Final = 4.5  # side of the second look, in sides of the face
_MOST_LOOKS: Final = 16
_SURE: Final = 0.55  # mean of the two looks' scores
_WEIGHTS: Final = (1, 2)  # of the two looks: to the first a small face may be a few pixels, the second shows all alike
_SAME_FACE: Final = 0.3  # intersection over union
_WITHIN: Final = 0.6  # intersection over the smaller box
# Its boxes sit a little low and are a little small for the forehead-to-chin boxes that crops.py expects. Measured by
# its own key points: with this, crops have eyes and mouth where FER-2013's images have them.
_LOWERED: Final = 0.03  # of the height
_GROWN: Final = 1.04


class Window(NamedTuple):
    """A square part of a picture that the network is shown; where it leaves the picture, it is black."""

    x: float
    y: float
    side: float


class BlazeFace:
    """A detector: RGB pixels (H, W, 3) -> boxes, the surest first.

    Shown the whole picture, the network misses faces that fill it and those that are small in it: a copy with a border
    is for the first, tiles are for the second. What may be a face is then shown to it once more, framed as it likes
    faces best. The weighted mean of both scores decides: this finds more faces than one look with a lower threshold
    would, and takes far fewer other things for faces.
    """

    _LAYOUT: Final = (("input", 3, 192, 192), ("boxes", 2304, 16), ("scores", 2304, 1))

    def __init__(self, session: InferenceSession) -> None:
        self._session = session

    @classmethod
    def knows(cls, session: InferenceSession) -> bool:
        """Tell whether a session is this network."""
        values = (*session.get_inputs(), *session.get_outputs())
        return tuple((value.name, *value.shape[1:]) for value in values) == cls._LAYOUT

    def __call__(self, picture: npt.NDArray[np.uint8]) -> list[Box]:
        image = Image.fromarray(picture)
        levels = _halved(image)
        first = self._look(levels, list(first_windows(*image.size)))
        second = self._look(levels, list(second_windows(first, max(image.size))))
        return to_list(_forehead_to_chin(_judge(first, second)))

    def _look(self, levels: Sequence[Image.Image], windows: list[Window]) -> Boxes:
        """Return what may be faces in any of the windows."""
        found = [np.empty((0, _NUMBERS))]
        for start in range(0, len(windows), _BATCH):
            batch = windows[start : start + _BATCH]
            outputs = run_model(
                self._session, ["boxes", "scores"], {"input": _views(levels, batch)}, name="the face detector"
            )
            for window, boxes, scores in zip(batch, *outputs, strict=True):
                found.append(_drop_cut(_decode(boxes, scores[:, 0], window), window, levels[0].size))
        return np.concatenate(found)


def first_windows(width: int, height: int) -> Iterator[Window]:
    """Yield the windows that a picture of this size is searched through: itself, itself with a border, and tiles."""
    longer = max(width, height)
    for side in (longer, longer * (1 + 2 * _BORDER)):
        yield Window((width - side) / 2, (height - side) / 2, side)
    # In a picture not much larger than a tile the tiles would show nothing that the whole does not.
    if longer > _TILE * 1.05:
        side = min(_TILE, longer)
        for y in _steps(height, side):
            for x in _steps(width, side):
                yield Window(x, y, side)


def _steps(length: int, side: float) -> list[float]:
    """Return where tiles of one side start along a length, evenly spread."""
    if length <= side:
        return [(length - side) / 2]
    count = math.ceil((length - side) / (side * (1 - _TILES_OVERLAP))) + 1
    return [float(start) for start in np.linspace(0, length - side, count)]


def second_windows(candidates: Boxes, longer: float = math.inf) -> Iterator[Window]:
    """Yield windows that frame what may be faces, the likeliest first; neighbours of one size share a window.

    `longer` is the picture's longer side: around a face that fills it there is nothing more to show.
    """
    left = drop_inner(average_overlapping(candidates, _SAME_FACE), _WITHIN)
    left = left[sides(left) >= 0.8 * SMALLEST_FACE]
    for _ in range(_MOST_LOOKS):
        if not len(left):
            return
        face, all_sides = left[0], sides(left)
        side = min(_FRAME * all_sides[0], (1 + 2 * _BORDER) * longer)
        window = Window((face[0] + face[2] - side) / 2, (face[1] + face[3] - side) / 2, side)
        yield window
        margins = all_sides / 2
        framed = (all_sides > 0.6 * all_sides[0]) & (all_sides < 1.6 * all_sides[0])
        framed &= (left[:, 0] > window.x + margins) & (left[:, 2] < window.x + side - margins)
        framed &= (left[:, 1] > window.y + margins) & (left[:, 3] < window.y + side - margins)
        framed[0] = True
        left = left[~framed]


def _halved(image: Image.Image) -> list[Image.Image]:
    """Return an image, its half, quarter and so on: what is shrunk much is taken from one that is near in size."""
    levels = [image]
    while max(levels[-1].size) >= 2 * _INPUT:
        levels.append(levels[-1].reduce(2))
    return levels


def _views(levels: Sequence[Image.Image], windows: Sequence[Window]) -> npt.NDArray[np.float32]:
    """Return what windows of an image show as the network's input (N, 3, 192, 192), -1 to 1."""
    width, height = levels[0].size
    views = np.zeros((len(windows), 3, _INPUT, _INPUT), np.float32)
    for view, window in zip(views, windows, strict=True):
        pixel = window.side / _INPUT
        # Only whole pixels of the view are filled, from exactly their part of the picture: nothing is shifted.
        left, right = _filled(window.x, width, pixel)
        top, bottom = _filled(window.y, height, pixel)
        if left < right and top < bottom:
            part = (
                window.x + left * pixel,
                window.y + top * pixel,
                window.x + right * pixel,
                window.y + bottom * pixel,
            )
            part = (max(part[0], 0), max(part[1], 0), min(part[2], width), min(part[3], height))
            level = min(max(int(math.log2(pixel)), 0), len(levels) - 1)
            box = tuple(edge / 2**level for edge in part)
            shown = levels[level].resize((right - left, bottom - top), Image.Resampling.BILINEAR, box=box)
            view[:, top:bottom, left:right] = np.asarray(shown).transpose(2, 0, 1)
    views *= 1 / 127.5
    views -= 1
    return views


def _filled(start: float, length: int, pixel: float) -> tuple[int, int]:
    """Return the first and the last but one pixel of a view that lie in the picture, along one axis."""
    tiny = 1e-6  # a rounding error must not cost a row
    first = max(0, math.ceil(-start / pixel - tiny))
    return first, min(_INPUT, math.floor((length - start) / pixel + tiny))


def _centres() -> npt.NDArray[np.float64]:
    centres = (np.arange(_CELLS) + 0.5) / _CELLS
    return np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)


_CENTRES: Final = _centres()


def _decode(boxes: npt.NDArray[np.float32], logits: npt.NDArray[np.float32], window: Window) -> Boxes:
    """Turn the network's output for one view, (2304, 16) and (2304,), into what may be faces of the picture."""
    cells = np.flatnonzero(logits > math.log(_MAYBE / (1 - _MAYBE)))
    if not len(cells):  # so it is in most views
        return np.empty((0, _NUMBERS))
    centres = _CENTRES[cells] + boxes[cells, 0:2] / _INPUT
    halves = boxes[cells, 2:4] / _INPUT / 2
    corners = np.hstack([centres - halves, centres + halves]) * window.side + (window.x, window.y) * 2
    points = np.tile(_CENTRES[cells], KEY_POINTS) + boxes[cells][:, _EYES_AND_MOUTH] / _INPUT
    points = points * window.side + (window.x, window.y) * KEY_POINTS
    scores = 1 / (1 + np.exp(-np.clip(logits[cells].astype(np.float64), -80, 80)))
    valid = (halves > 0).all(axis=1)
    return average_overlapping(np.column_stack([corners, scores, points])[valid], _SAME_FACE)


def _drop_cut(boxes: Boxes, window: Window, size: tuple[int, int]) -> Boxes:
    """Drop boxes at a border of the window inside the picture: another window shows the whole face."""
    near = 0.02 * window.side
    cut = np.zeros(len(boxes), bool)
    for axis, (start, length) in enumerate(zip(window[:2], size, strict=True)):
        if start > 1:
            cut |= boxes[:, axis] < start + near
        if start + window.side < length - 1:
            cut |= boxes[:, axis + 2] > start + window.side - near
    return boxes[~cut]


def _judge(first: Boxes, second: Boxes) -> Boxes:
    """Return the faces that both looks together are sure of, each box the mean of all views of it."""
    faces = average_overlapping(np.concatenate([first, second]), _SAME_FACE)
    looks = [best_scores(faces, look, _SAME_FACE) for look in (first, second)]
    faces[:, 4] = np.average(looks, axis=0, weights=_WEIGHTS)
    faces = faces[(faces[:, 4] >= _SURE) & (sides(faces) >= SMALLEST_FACE)]
    return drop_inner(faces, _WITHIN)


def _forehead_to_chin(faces: Boxes) -> Boxes:
    sizes = faces[:, 2:4] - faces[:, 0:2]
    centres = (faces[:, 0:2] + faces[:, 2:4]) / 2 - sizes * (0, _LOWERED)
    return np.hstack([centres - sizes * _GROWN / 2, centres + sizes * _GROWN / 2, faces[:, 4:]])
