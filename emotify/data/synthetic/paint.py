"""The colours of a picture, or their greys. A picture is linear in its colours, so grey paints give a grey picture."""

from __future__ import annotations

from typing import Final

import numpy as np

from emotify.data.synthetic.brush import mix
from emotify.data.synthetic.face import Array, Face, Number

LUMA: Final = np.array([[0.299, 0.587, 0.114]], dtype=np.float32)

_SKIN: Final = ((0.96, 0.80, 0.71), (0.85, 0.64, 0.51), (0.63, 0.43, 0.32), (0.38, 0.25, 0.19))
_HAIR: Final = ((0.80, 0.79, 0.77), (0.66, 0.50, 0.29), (0.28, 0.18, 0.11), (0.09, 0.08, 0.08))
_IRIS: Final = ((0.38, 0.48, 0.52), (0.36, 0.26, 0.15), (0.16, 0.10, 0.07))
_CLOTHES: Final = ((0.20, 0.24, 0.33), (0.55, 0.22, 0.20), (0.75, 0.74, 0.70), (0.25, 0.36, 0.30), (0.30, 0.42, 0.58))
_BACKDROP: Final = ((0.05, 0.06, 0.07), (0.50, 0.55, 0.58), (0.97, 0.97, 0.96))


class Paint:
    """Colours (C, N, 1, 1) for faces whose parameters are columns (N, 1, 1)."""

    def __init__(self, face: Face, *, grey: bool) -> None:
        def mixed(colour: Array) -> Array:
            return np.tensordot(LUMA, colour, axes=1) if grey else colour

        skin = _ramp(_SKIN, face.skin)
        bare_lips = skin * _colour(0.86, 0.62, 0.62)
        self.skin = mixed(skin)
        self.blush = mixed(skin * _colour(1.0, 0.84, 0.82))
        self.lips = mixed(mix(bare_lips, _colour(0.62, 0.16, 0.20), 0.7 * face.lip_colour))
        self.hair = mixed(_ramp(_HAIR, face.hair))
        self.iris = mixed(_ramp(_IRIS, face.hair))
        self.clothes = mixed(_ramp(_CLOTHES, face.texture))
        self.backdrop = mixed(_ramp(_BACKDROP, face.backdrop))
        self.white = mixed(_colour(0.93, 0.92, 0.90))
        self.teeth = mixed(_colour(0.95, 0.93, 0.87))
        self.black = mixed(_colour(0.05, 0.035, 0.03))
        self.throat = mixed(_colour(0.17, 0.05, 0.05))
        self.tongue = mixed(_colour(0.66, 0.32, 0.32))


def _colour(red: float, green: float, blue: float) -> Array:
    """Return one colour for all faces, (3, 1, 1, 1)."""
    return np.array([red, green, blue], dtype=np.float32)[:, None, None, None]


def _ramp(stops: tuple[tuple[float, float, float], ...], level: Number) -> Array:
    """Return each face's colour (3, N, 1, 1) at `level`, 0 at the first stop to 1 at the last."""
    places = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(level, places, channel) for channel in zip(*stops, strict=True)]).astype(np.float32)
