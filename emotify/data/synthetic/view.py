"""Compute the place of each pixel on the head and on the face, for any pose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emotify.data.synthetic.brush import bump
from emotify.data.synthetic.face import Array, Face

HEAD_DEPTH = 8.0  # cm from the turning axis of the head to the face


@dataclass(frozen=True)
class View:
    """The coordinates of a picture's pixels (N, H, W), in centimetres; the origin is between the eyes."""

    x: Array  # to the right, in the plane of the picture, for an upright head
    y: Array  # down
    u: Array  # to the right on the face; 0 on its midline
    v: Array  # down on the face
    fold: Array  # |u|, rounded at the midline, to draw both halves of the face at once
    side: Array  # -1 on the left half of the picture, 1 on the right
    pixel: Array  # width of an edge, (N, 1, 1)

    def rows(self, rows: slice) -> View:
        """Return this view of some rows of the picture."""
        x, y, u, v, fold, side = (places[:, rows] for places in (self.x, self.y, self.u, self.v, self.fold, self.side))
        return View(x, y, u, v, fold, side, self.pixel)

    def between(self, top: float, bottom: float) -> slice:
        """Return the rows of the picture in which any face has a place with top < v < bottom."""
        rows = np.flatnonzero(((self.v > top) & (self.v < bottom)).any(axis=(0, 2)))
        return slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0)


def look(face: Face, x: Array, y: Array, pixel: float) -> View:
    """Undo zoom, shift and tilt to find the head in the picture, then undo turn and nod to find the face on it."""
    tilt, turn, nod = (np.deg2rad(angle) for angle in (face.tilt, face.turn, face.nod))
    x, y = (x - face.shift_x) / face.zoom, (y - face.shift_y) / face.zoom - 3  # heads tilt about the nose
    x, y = x * np.cos(tilt) + y * np.sin(tilt), y * np.cos(tilt) - x * np.sin(tilt) + 3
    x = x + 0.55 * HEAD_DEPTH * np.sin(turn)  # keeps the features of a turned face in the frame

    depth = HEAD_DEPTH * np.sqrt(np.maximum(1 - (x / 8.2) ** 2 - ((y - 1) / 15) ** 2, 0.02))
    u = x * np.cos(turn) - depth * np.sin(turn)
    v = (y - 1) * np.cos(nod) - (depth - 0.7 * HEAD_DEPTH) * np.sin(nod) + 1
    nose = 1.6 * bump(u, v - 3.6, 1.5, 2.2)  # cm that the nose stands out of the face
    u, v = u - nose * np.sin(turn), v - nose * np.sin(nod)
    fold = np.sqrt(u * u + 0.01)
    return View(x=x, y=y, u=u, v=v, fold=fold, side=u / fold, pixel=np.hypot(pixel / face.zoom, face.defocus))
