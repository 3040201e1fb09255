"""The parameters of a drawn face: identity, muscles, pose, light and picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from emotify.arrays import Int64Array

Array: TypeAlias = NDArray[np.floating[Any]]
Number: TypeAlias = float | Array


@dataclass(frozen=True, kw_only=True)
class Face:
    """One face when the parameters are numbers, or N faces when they are arrays (N,).

    Muscles are FACS action units, from 0 (at rest) to 1 (fully contracted); values slightly above 1 also work. Lengths
    are centimetres on an adult's face. Angles are degrees.
    """

    # Brows, lids and nose
    inner_brow_raise: Number = 0.0  # AU1
    outer_brow_raise: Number = 0.0  # AU2
    brow_lower: Number = 0.0  # AU4: down and together, with frown lines
    lid_raise: Number = 0.0  # AU5: white above the iris
    cheek_raise: Number = 0.0  # AU6: lower lid up, crow's feet
    lid_tighten: Number = 0.0  # AU7
    lid_droop: Number = 0.0  # AU43
    nose_wrinkle: Number = 0.0  # AU9
    # Mouth
    upper_lip_raise: Number = 0.0  # AU10
    lip_corner_pull: Number = 0.0  # AU12
    lip_corner_depress: Number = 0.0  # AU15
    lower_lip_depress: Number = 0.0  # AU16: lower teeth
    chin_raise: Number = 0.0  # AU17: lower lip pushed up
    lip_pucker: Number = 0.0  # AU18
    lip_stretch: Number = 0.0  # AU20
    lip_press: Number = 0.0  # AU24: thin lips
    lips_part: Number = 0.0  # AU25
    jaw_drop: Number = 0.0  # AU26, AU27 at 1
    asymmetry: Number = 0.0  # -0.5..0.5: how much stronger brows and mouth act on the picture's right
    gaze_x: Number = 0.0  # -1..1, picture's left to right
    gaze_y: Number = 0.0  # -1..1, up to down
    # Pose
    turn: Number = 0.0  # -25..25, nose towards the picture's right when positive
    nod: Number = 0.0  # -15..15, nose down when positive
    tilt: Number = 0.0  # -30..30, clockwise
    # Identity
    face_width: Number = 1.0  # 0.9..1.1
    face_length: Number = 1.0  # 0.92..1.08, below the eyes
    jaw: Number = 0.1  # 0 square .. 0.5 pointed
    eye_spacing: Number = 3.3  # 3..3.6, pupil to midline
    eye_size: Number = 1.0  # 0.85..1.2
    brow_weight: Number = 0.5  # 0..1, thin and fair to thick and dark
    nose_width: Number = 1.0  # 0.8..1.3
    lip_fullness: Number = 0.5  # 0..1
    lip_colour: Number = 0.3  # 0..1, bare to red
    skin: Number = 0.2  # 0 pale .. 1 dark
    hair: Number = 0.7  # 0 white, 0.3 fair, 0.7 brown, 1 black
    hairline: Number = 6.6  # 4 (a fringe) .. 9 (bald in front), above the eyes
    hair_length: Number = 0.0  # 0..18, down from the eyes
    parting: Number = 0.0  # -1..1
    beard: Number = 0.0  # 0..1
    age: Number = 0.2  # 0..1: depth of the facial lines
    texture: Number = 0.0  # 0..1: position of the irregularities in skin, hair and background
    # Light and picture
    light_side: Number = 0.0  # -1..1, from the picture's left or right
    light_height: Number = 0.4  # -0.5..1, from below or above
    contrast: Number = 0.5  # 0..1, flat light to hard light
    exposure: Number = 1.0  # 0.6..1.3
    backdrop: Number = 0.5  # 0 black .. 1 white
    defocus: Number = 0.0  # 0..0.5, cm
    grain: Number = 0.0  # 0..0.06, standard deviation of the noise, as part of white
    zoom: Number = 1.0  # 0.85..1.2
    shift_x: Number = 0.0  # -1.5..1.5, cm, to the picture's right
    shift_y: Number = 0.0  # -1.5..1.5, cm, down

    @classmethod
    def stack(cls, faces: Sequence[Face]) -> Face:
        """Return one Face with all faces of several Face objects, in order."""
        groups = [face.take(slice(None)) for face in faces]
        return cls(**{name: np.concatenate([getattr(group, name) for group in groups]) for name in cls._names()})

    def __len__(self) -> int:
        """Return the number of faces."""
        return int(np.broadcast(*self._columns()).size)

    def take(self, rows: Int64Array | slice) -> Face:
        """Return the faces that `rows`, indices or a slice, select."""
        count = len(self)
        return self._map(lambda column: np.broadcast_to(column, count)[rows])

    def spread(self) -> Face:
        """Return the same faces as float32 columns (N, 1, 1), to broadcast over pixels (H, W)."""
        count = len(self)
        return self._map(lambda column: np.broadcast_to(column, count).astype(np.float32)[:, None, None])

    @classmethod
    def _names(cls) -> list[str]:
        return [parameter.name for parameter in fields(cls)]

    def _columns(self) -> list[Array]:
        return [np.atleast_1d(getattr(self, name)) for name in self._names()]

    def _map(self, function: Callable[[Array], Array]) -> Face:
        return Face(**dict(zip(self._names(), map(function, self._columns()), strict=True)))
