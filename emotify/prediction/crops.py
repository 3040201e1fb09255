"""Choose the faces of a picture to classify, and cut out the 48x48 pixels of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from emotify.choices import Faces
from emotify.detection.boxes import Box
from emotify.detection.detector import DEFAULT_SEARCH, Detector, Search
from emotify.pictures.decoding import Picture
from emotify.pictures.pixels import Square, cut_square, whole_square
from emotify.prediction.small_faces import face_size

UInt8Array = npt.NDArray[np.uint8]

# The framing of FER-2013, measured on its images: eyes at y = 18.7 of 48, mouth at y = 36.0.
_MARGIN: Final = 1.10
_RAISE: Final = 0.01
# Right eye, left eye and mouth in this framing: x and y from the centre, as fractions of the square's side. The
# distance between the eyes is the one that the detector finds on frontal faces.
_POINTS: Final = np.array([[-0.167, -0.110], [0.167, -0.110], [0.0, 0.250]]) @ (1, 1j)
# Degrees. A face with a larger tilt is rotated upright. Key points have an error of about 2 degrees. A limit of 10 was
# better than 15 on photographs rotated by 10 and 15 degrees, and no worse on photographs as they are.
_UPRIGHT: Final = 10.0
# The square of a face covers this much of most enlarged FER-2013 images, but not of photographs. A square may extend
# beyond the picture, so coverage alone does not show that a square is much too large. The overlap does.
_TIGHT_COVER: Final = 0.70  # of the picture
_TIGHT_OVERLAP: Final = 0.50  # intersection over union
_SMALL_PICTURE: Final = 64
# The operation that makes a picture upright, by the clockwise rotation of the picture in degrees.
_TURNS: Final = {90: Image.Transpose.ROTATE_90, -90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180}
_TURNED_SIDE: Final = 416  # pixels; BlazeFace needs no tiles for pictures up to this side
# Lowest score of a face in a rotated picture. Measured with tests/benchmarks/turned_faces.py: 1 of 310 pictures without
# a face had a higher score when rotated; 10 % of 120 rotated faces had a lower one.
_SURE_TURNED: Final = 0.65
_LYING: Final = 40.0  # degrees of tilt; faces tilted more get a better score when the picture is rotated
_CLEARLY: Final = 0.05  # the least gain in score for which a rotated picture is used


@dataclass(frozen=True, slots=True)
class Face:
    """A face to classify."""

    box: tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels of the upright picture
    detection: float | None  # the detector's score; None where the whole picture is the face
    square: Square  # the classifier's input, in pixels of the upright picture; may extend beyond the picture
    turned: int = 0  # clockwise rotation of the picture content, in degrees: 0, -90, 90 or 180


def find_faces(
    picture: Picture, mode: Faces, detector: Callable[[], Detector], search: Search = DEFAULT_SEARCH
) -> list[Face]:
    """Return the faces of a picture, the highest detection score first; the list may be empty.

    `detector` is called only when a detector is needed. Mode `whole` needs none, nor do small pictures in mode `auto`.
    If no face is found, or none is clearly upright, the picture rotated by 90, -90 and 180 degrees is searched too.
    """
    if mode == "whole" or (mode == "auto" and max(picture.width, picture.height) <= _SMALL_PICTURE):
        return [_whole(picture)]
    boxes = _detect(picture, detector(), search)
    if all(_may_lie(box) for box in boxes):
        above = max((box.score + _CLEARLY for box in boxes), default=_SURE_TURNED)
        if turned := _find_turned(picture, mode, detector(), search, above=above):
            return turned
    return _faces(picture, mode, boxes)


def _faces(picture: Picture, mode: Faces, boxes: Sequence[Box]) -> list[Face]:
    if mode == "auto" and is_tight_crop(picture.width, picture.height, boxes):
        return [_whole(picture)]
    return [_face(picture, box) for box in boxes]


def _find_turned(picture: Picture, mode: Faces, detector: Detector, search: Search, *, above: float) -> list[Face]:
    """Return the faces of a picture that is on its side or upside down; none if no score is at least `above`.

    The rotation is chosen on a small copy, so that the search costs the same for pictures of all sizes.
    """
    small = picture.image.convert("RGB")
    small.thumbnail((_TURNED_SIDE, _TURNED_SIDE), Image.Resampling.BOX)
    turned, score = max(((turned, _best_score(small, turned, detector)) for turned in _TURNS), key=lambda pair: pair[1])
    if score < max(above, _SURE_TURNED):
        return []
    size = (picture.width, picture.height) if turned == 180 else (picture.height, picture.width)
    upright = Picture(picture.image.transpose(_TURNS[turned]), *size)
    faces = _faces(upright, mode, _detect(upright, detector, search))
    return [_turn_back(face, turned, picture) for face in faces]


def _may_lie(box: Box) -> bool:
    """Return whether a detected face may belong to a rotated picture: a low score or a large tilt."""
    return box.score < _SURE_TURNED or (bool(box.points) and abs(_fit_square(box.points).roll) > _LYING)


def _best_score(image: Image.Image, turned: int, detector: Detector) -> float:
    boxes = detector(np.asarray(image.transpose(_TURNS[turned])))
    return max((box.score for box in boxes), default=0.0)


def _turn_back(face: Face, turned: int, picture: Picture) -> Face:
    """Convert a face found in a rotated picture to pixels of the original picture."""

    def back(x: float, y: float) -> tuple[float, float]:
        if turned == 180:
            return picture.width - x, picture.height - y
        return (picture.width - y, x) if turned == 90 else (y, picture.height - x)

    (x0, y0), (x1, y1) = back(*face.box[:2]), back(*face.box[2:])
    square = face.square
    half = square.side / 2
    x, y = back(square.x0 + half, square.y0 + half)
    roll = 180 - (180 - square.roll - turned) % 360
    return Face(
        (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)),
        face.detection,
        Square(x - half, y - half, square.side, roll),
        turned,
    )


def is_tight_crop(width: int, height: int, boxes: Sequence[Box]) -> bool:
    """Return whether a picture is already a tight crop of one face, as the classifier expects.

    A picture is one if its longer side is at most 64 pixels, or if the square of its only face covers most of it.
    """
    if max(width, height) <= _SMALL_PICTURE:
        return True
    if len(boxes) != 1:
        return False
    x0, y0, side, _ = _upright_square(boxes[0])
    shared = max(0.0, min(x0 + side, width) - max(x0, 0)) * max(0.0, min(y0 + side, height) - max(y0, 0))
    area = width * height
    return shared >= _TIGHT_COVER * area and shared >= _TIGHT_OVERLAP * (area + side * side - shared)


def classifier_input(picture: Picture, square: Square) -> UInt8Array:
    """Return the classifier's input for a face's square: grey, uint8 (48, 48).

    Where the square extends beyond the picture, the pixels of the picture's edge are repeated.
    """
    return cut_square(picture.image, _in_image_pixels(picture, square))


def colour_crop(picture: Picture, square: Square, *, side: int) -> UInt8Array:
    """Return a face's square in colour: RGB, uint8 (side, side, 3). The edge is repeated as in `classifier_input`."""
    return cut_square(picture.image, _in_image_pixels(picture, square), mode="RGB", pixels=side)


def _whole(picture: Picture) -> Face:
    width, height = float(picture.width), float(picture.height)
    return Face((0.0, 0.0, width, height), None, whole_square(width, height))


def _face(picture: Picture, box: Box) -> Face:
    width, height = float(picture.width), float(picture.height)
    clipped = (max(box.x0, 0.0), max(box.y0, 0.0), min(box.x1, width), min(box.y1, height))
    return Face(clipped, box.score, _square(box))


def _detect(picture: Picture, detector: Detector, search: Search) -> list[Box]:
    image = picture.image
    shrink = search.shrink(picture.width, picture.height)
    size = (max(1, round(picture.width * shrink)), max(1, round(picture.height * shrink)))
    if size[0] < image.width:
        image = image.resize(size, Image.Resampling.BOX)
    x, y = picture.width / image.width, picture.height / image.height
    pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    boxes = [_scaled(box, x, y) for box in detector(pixels)]
    return [box for box in boxes if face_size(box[:4]) >= search.min_face]


def _scaled(box: Box, x: float, y: float) -> Box:
    points = tuple(place * (y if index % 2 else x) for index, place in enumerate(box.points))
    return Box(box.x0 * x, box.y0 * y, box.x1 * x, box.y1 * y, box.score, points)


def _square(box: Box) -> Square:
    """Return the square of a face: upright, or tilted as the face if the face is tilted enough."""
    upright = _upright_square(box)
    if not box.points:
        return upright
    tilted = _fit_square(box.points)
    # A detector that never learned key points, or learned another order, gives points that do not fit its boxes.
    fits = 0.5 < tilted.side / upright.side < 2
    return tilted if fits and abs(tilted.roll) > _UPRIGHT else upright


def _upright_square(box: Box) -> Square:
    side = _MARGIN * face_size(box[:4])
    raised = _RAISE * (box.y1 - box.y0)
    return Square((box.x0 + box.x1 - side) / 2, (box.y0 + box.y1 - side) / 2 - raised, side)


def _fit_square(points: Sequence[float]) -> Square:
    """Return the square that puts eyes and mouth where FER-2013's images have them, fitted by least squares.

    Key points are used because a box shrinks with tilt, by 13 % at 30 degrees, but distances of key points do not.
    """
    seen = np.array(points[::2]) + 1j * np.array(points[1::2])
    middle, expected = seen.mean(), _POINTS - _POINTS.mean()
    turn = np.vdot(expected, seen - middle) / np.vdot(expected, expected)  # scale and rotation, as a complex number
    centre, side = complex(middle - turn * _POINTS.mean()), float(abs(turn))
    return Square(centre.real - side / 2, centre.imag - side / 2, side, math.degrees(np.angle(turn)))


def _in_image_pixels(picture: Picture, square: Square) -> Square:
    """Convert a square from pixels of the picture to pixels of the decoded image, which may be smaller."""
    return square.scaled(picture.image.width / picture.width)
