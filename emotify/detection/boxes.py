"""Bounding boxes of faces, their overlap, and merging of overlapping boxes."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

# (N, 5): x0, y0, x1, y1, score; or (N, 11) with x and y of the key points: right eye, left eye, mouth.
Boxes = npt.NDArray[np.float64]
KEY_POINTS: Final = 3


class Box(NamedTuple):
    """The bounding box of a face from forehead to chin, in pixels of its picture; `score` is in 0..1.

    `points` are x and y of the person's right eye, left eye and mouth; empty if the detector gives no key points.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    score: float
    points: tuple[float, ...] = ()


def to_list(boxes: Boxes) -> list[Box]:
    """Convert boxes (N, 5) or (N, 11) to a list of Box."""
    return [Box(x0, y0, x1, y1, score, tuple(points)) for x0, y0, x1, y1, score, *points in boxes.tolist()]


def transformed(
    boxes: Boxes, *, scale: tuple[float, float] = (1.0, 1.0), shift: tuple[float, float] = (0.0, 0.0)
) -> Boxes:
    """Return boxes and key points scaled about the origin, then shifted."""
    pairs = boxes.shape[1] // 2
    factors, terms = np.tile(scale, pairs), np.tile(shift, pairs)
    return np.asarray(boxes * np.insert(factors, 4, 1) + np.insert(terms, 4, 0))  # the score does not change


def sides(boxes: Boxes) -> npt.NDArray[np.float64]:
    """Return the sides (N,) of squares with the same areas as the boxes."""
    return np.asarray(np.sqrt((boxes[:, 2:4] - boxes[:, 0:2]).prod(axis=1)))


def overlaps(box: npt.NDArray[np.float64], boxes: Boxes, *, of_smaller: bool = False) -> npt.NDArray[np.float64]:
    """Return the intersection over union (N,) of one box with each of `boxes`.

    of_smaller: divide by the area of the smaller box instead of the union.
    """
    corner = np.minimum(box[2:4], boxes[:, 2:4])
    shared = np.clip(corner - np.maximum(box[:2], boxes[:, :2]), 0, None).prod(axis=1)
    area, areas = sides(box[None])[0] ** 2, sides(boxes) ** 2
    whole = np.minimum(area, areas) if of_smaller else area + areas - shared
    return np.asarray(shared / np.maximum(whole, 1e-9))


def average_overlapping(boxes: Boxes, threshold: float) -> Boxes:
    """Merge boxes that overlap: take the box with the highest score and its overlapping boxes, and so on.

    A merged box is the mean weighted by score, and has the highest score. Key points are averaged as points, so that
    angles near 180 and -180 degrees do not cancel each other.
    """
    boxes = boxes[np.argsort(-boxes[:, 4], kind="stable")]
    averaged = []
    while len(boxes):
        same = overlaps(boxes[0], boxes) > threshold
        same[0] = True  # a box with no area does not overlap even itself
        weights = boxes[same, 4:5]
        mean = (boxes[same] * weights).sum(axis=0) / weights.sum()
        mean[4] = boxes[0, 4]
        averaged.append(mean)
        boxes = boxes[~same]
    return np.array(averaged).reshape(-1, boxes.shape[1])


def drop_inner(boxes: Boxes, threshold: float) -> Boxes:
    """Drop each box that overlaps a box with a higher score by more than `threshold` of the smaller area.

    The result is sorted by score, the highest first.
    """
    boxes = boxes[np.argsort(-boxes[:, 4], kind="stable")]
    kept = []
    while len(boxes):
        kept.append(boxes[0])
        boxes = boxes[1:][overlaps(boxes[0], boxes[1:], of_smaller=True) <= threshold]
    return np.array(kept).reshape(-1, boxes.shape[1])


def best_scores(boxes: Boxes, others: Boxes, threshold: float) -> npt.NDArray[np.float64]:
    """Return for each box (N, 5) the highest score of `others` that overlap it, or 0."""
    scores = [np.max(others[overlaps(box, others) > threshold, 4], initial=0.0) for box in boxes]
    return np.array(scores, dtype=np.float64)
