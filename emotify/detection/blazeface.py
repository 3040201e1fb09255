"""MediaPipe's full-range BlazeFace, run on several views of a picture to find more faces."""

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

SMALLEST_FACE: Final = 16  # side in pixels, after shrinking; smaller faces are too small to classify

_INPUT: Final = 192  # side of the network's input, in pixels
_CELLS: Final = 48  # side of the network's output grid
_NUMBERS: Final = 5 + 2 * KEY_POINTS  # values per face in Boxes
# The network gives 16 values per cell: x, y, width, height, and six points (eyes, nose, mouth, ears). Of the points,
# eyes and mouth are kept.
_EYES_AND_MOUTH: Final = (4, 5, 6, 7, 10, 11)
_BATCH: Final = 3  # views per batch; all views in one batch take a third longer, as they exceed the CPU's cache

_BORDER: Final = 0.8  # width of the border, as a fraction of the longer side
_TILE: Final = 400  # pixels; a face of 24 pixels then has about 12 in the network's input, just enough
_TILES_OVERLAP: Final = 0.25
_MAYBE: Final = 0.2  # the lowest score of a candidate for a second look
_FRAME: Final = 4.5  # side of the second look's window, as a multiple of the face's side
_MOST_LOOKS: Final = 16
_SURE: Final = 0.55  # the lowest mean score of both looks
_WEIGHTS: Final = (1, 2)  # of the two looks; a small face may have few pixels in the first, but not in the second
_SAME_FACE: Final = 0.3  # intersection over union
_WITHIN: Final = 0.6  # intersection over the smaller box
# BlazeFace's boxes are slightly too low and too small for the forehead-to-chin boxes that crops.py expects. These
# corrections put eyes and mouth where FER-2013's images have them, measured with the network's key points.
_LOWERED: Final = 0.03  # of the box's height
_GROWN: Final = 1.04


class Window(NamedTuple):
    """A square part of a picture for the network. Where it extends beyond the picture, it is black."""

    x: float
    y: float
    side: float


class BlazeFace:
    """A detector: RGB pixels, uint8 (H, W, 3), to boxes, the highest score first.

    On the whole picture, the network misses faces that fill it and faces that are small in it. So it also looks at the
    picture with a border, for the former, and at tiles, for the latter. Each candidate gets a second look, with the
    face at the size that the network detects best. A face is accepted by the weighted mean of both scores. This finds
    more faces than one look with a lower threshold, with far fewer false detections.
    """

    _LAYOUT: Final = (("input", 3, 192, 192), ("boxes", 2304, 16), ("scores", 2304, 1))

    def __init__(self, session: InferenceSession) -> None:
        self._session = session

    @classmethod
    def knows(cls, session: InferenceSession) -> bool:
        """Return whether a session is this network."""
        values = (*session.get_inputs(), *session.get_outputs())
        return tuple((value.name, *value.shape[1:]) for value in values) == cls._LAYOUT

    def __call__(self, picture: npt.NDArray[np.uint8]) -> list[Box]:
        image = Image.fromarray(picture)
        levels = _halved(image)
        first = self._look(levels, list(first_windows(*image.size)))
        second = self._look(levels, list(second_windows(first, max(image.size))))
        return to_list(_forehead_to_chin(_judge(first, second)))

    def _look(self, levels: Sequence[Image.Image], windows: list[Window]) -> Boxes:
        """Return the candidates in all windows."""
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
    """Yield the windows of the first look: the picture, the picture with a border, and tiles."""
    longer = max(width, height)
    for side in (longer, longer * (1 + 2 * _BORDER)):
        yield Window((width - side) / 2, (height - side) / 2, side)
    # In a picture not much larger than a tile, tiles would not show more than the whole picture.
    if longer > _TILE * 1.05:
        side = min(_TILE, longer)
        for y in _steps(height, side):
            for x in _steps(width, side):
                yield Window(x, y, side)


def _steps(length: int, side: float) -> list[float]:
    """Return the evenly spaced starts of tiles of a given side along a length."""
    if length <= side:
        return [(length - side) / 2]
    count = math.ceil((length - side) / (side * (1 - _TILES_OVERLAP))) + 1
    return [float(start) for start in np.linspace(0, length - side, count)]


def second_windows(candidates: Boxes, longer: float = math.inf) -> Iterator[Window]:
    """Yield windows around the candidates, the highest score first. Neighbours of similar size share a window.

    longer: the picture's longer side, which limits the window of a face that fills the picture.
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
    """Return an image at 1/1, 1/2, 1/4 and so on, so that large windows are resampled from a copy of similar size."""
    levels = [image]
    while max(levels[-1].size) >= 2 * _INPUT:
        levels.append(levels[-1].reduce(2))
    return levels


def _views(levels: Sequence[Image.Image], windows: Sequence[Window]) -> npt.NDArray[np.float32]:
    """Return the network's input for windows of an image: float32 (N, 3, 192, 192), -1 to 1."""
    width, height = levels[0].size
    views = np.zeros((len(windows), 3, _INPUT, _INPUT), np.float32)
    for view, window in zip(views, windows, strict=True):
        pixel = window.side / _INPUT
        # Only pixels of the view that are entirely inside the picture are filled, so that nothing is shifted.
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
    """Return the range of a view's pixels that are inside the picture along one axis, end exclusive."""
    tiny = 1e-6  # a rounding error must not remove a row
    first = max(0, math.ceil(-start / pixel - tiny))
    return first, min(_INPUT, math.floor((length - start) / pixel + tiny))


def _centres() -> npt.NDArray[np.float64]:
    centres = (np.arange(_CELLS) + 0.5) / _CELLS
    return np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)


_CENTRES: Final = _centres()


def _decode(boxes: npt.NDArray[np.float32], logits: npt.NDArray[np.float32], window: Window) -> Boxes:
    """Convert the network's output for one view, (2304, 16) and (2304,), to candidates in pixels of the picture."""
    cells = np.flatnonzero(logits > math.log(_MAYBE / (1 - _MAYBE)))
    if not len(cells):  # the case in most views
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
    """Drop boxes that a border of the window cuts inside the picture; another window has the whole face."""
    near = 0.02 * window.side
    cut = np.zeros(len(boxes), bool)
    for axis, (start, length) in enumerate(zip(window[:2], size, strict=True)):
        if start > 1:
            cut |= boxes[:, axis] < start + near
        if start + window.side < length - 1:
            cut |= boxes[:, axis + 2] > start + window.side - near
    return boxes[~cut]


def _judge(first: Boxes, second: Boxes) -> Boxes:
    """Return the faces whose mean score over both looks is high enough; boxes are averaged over all views."""
    faces = average_overlapping(np.concatenate([first, second]), _SAME_FACE)
    looks = [best_scores(faces, look, _SAME_FACE) for look in (first, second)]
    faces[:, 4] = np.average(looks, axis=0, weights=_WEIGHTS)
    faces = faces[(faces[:, 4] >= _SURE) & (sides(faces) >= SMALLEST_FACE)]
    return drop_inner(faces, _WITHIN)


def _forehead_to_chin(faces: Boxes) -> Boxes:
    sizes = faces[:, 2:4] - faces[:, 0:2]
    centres = (faces[:, 0:2] + faces[:, 2:4]) / 2 - sizes * (0, _LOWERED)
    return np.hstack([centres - sizes * _GROWN / 2, centres + sizes * _GROWN / 2, faces[:, 4:]])
