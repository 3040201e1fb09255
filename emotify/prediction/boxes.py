"""Boxes around faces, and what overlapping ones have to do with each other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.float64]  # (N, 5): x0, y0, x1, y1, score


class Box(NamedTuple):
    """A face from forehead to chin, in pixels of the picture it was found in; `score` is in 0..1."""

    x0: float
    y0: float
    x1: float
    y1: float
    score: float


def sides(boxes: Boxes) -> npt.NDArray[np.float64]:
    """Return the sides (N,) of the squares that have the boxes' areas."""
    return np.asarray(np.sqrt((boxes[:, 2:4] - boxes[:, 0:2]).prod(axis=1)))


def overlaps(box: npt.NDArray[np.float64], boxes: Boxes, *, of_smaller: bool = False) -> npt.NDArray[np.float64]:
    """Return the shared area of one box (5,) with each of `boxes`, as a part of their union or of the smaller one."""
    corner = np.minimum(box[2:4], boxes[:, 2:4])
    shared = np.clip(corner - np.maximum(box[:2], boxes[:, :2]), 0, None).prod(axis=1)
    area, areas = sides(box[None])[0] ** 2, sides(boxes) ** 2
    whole = np.minimum(area, areas) if of_smaller else area + areas - shared
    return np.asarray(shared / np.maximum(whole, 1e-9))


def average_overlapping(boxes: Boxes, threshold: float) -> Boxes:
    """Replace boxes that overlap the surest one by their mean weighted by score, and so on with what is left."""
    boxes = boxes[np.argsort(-boxes[:, 4], kind="stable")]
    averaged = []
    while len(boxes):
        same = overlaps(boxes[0], boxes) > threshold
        same[0] = True  # also a box without an area
        weights = boxes[same, 4:]
        averaged.append(np.append((boxes[same, :4] * weights).sum(axis=0) / weights.sum(), boxes[0, 4]))
        boxes = boxes[~same]
    return np.array(averaged).reshape(-1, 5)


def drop_inner(boxes: Boxes, threshold: float) -> Boxes:
    """Keep the surest of boxes that lie, by a part of more than `threshold`, in each other; the surest first."""
    boxes = boxes[np.argsort(-boxes[:, 4], kind="stable")]
    kept = []
    while len(boxes):
        kept.append(boxes[0])
        boxes = boxes[1:][overlaps(boxes[0], boxes[1:], of_smaller=True) <= threshold]
    return np.array(kept).reshape(-1, 5)


def best_scores(boxes: Boxes, others: Boxes, threshold: float) -> npt.NDArray[np.float64]:
    """Return for each box (N, 5) the best score among the others that overlap it, or 0."""
    scores = [np.max(others[overlaps(box, others) > threshold, 4], initial=0.0) for box in boxes]
    return np.array(scores, dtype=np.float64)
