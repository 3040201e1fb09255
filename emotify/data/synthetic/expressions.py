"""The seven expressions as FACS action units, and random people who show them."""

from __future__ import annotations

from typing import Final

import numpy as np

from emotify.arrays import Int64Array
from emotify.data.synthetic.face import Array, Face
from emotify.emotions import EMOTIONS

ACTION_UNITS: Final = {
    1: "inner_brow_raise",
    2: "outer_brow_raise",
    4: "brow_lower",
    5: "lid_raise",
    6: "cheek_raise",
    7: "lid_tighten",
    9: "nose_wrinkle",
    10: "upper_lip_raise",
    12: "lip_corner_pull",
    15: "lip_corner_depress",
    16: "lower_lip_depress",
    17: "chin_raise",
    18: "lip_pucker",
    20: "lip_stretch",
    24: "lip_press",
    25: "lips_part",
    26: "jaw_drop",
    43: "lid_droop",
    64: "gaze_y",
}
# Variants of each expression, the typical one first, in FACS notation: intensity A is a trace, E the maximum.
EXPRESSIONS: Final = {
    "angry": (
        "4E 5C 7C 15C 17C 24E",
        "4E 5C 7C 9A 10C 15A 16E 20B 25E 26B",
        "4E 5C 7C 10C 16E 20A 25E 26E",
    ),
    "disgust": (
        "4D 6B 7D 9E 10E 15D 17A 25B",
        "4D 6B 7D 9E 10E 15D 16B 25D 26A",
    ),
    "fear": (
        "1E 2B 4B 5E 15A 16C 20E 25E 26A",
        "1E 2B 4B 5E 15A 16C 20D 25E 26B",
    ),
    "happy": (
        "6D 10B 12E 25E",
        "6C 12E",
        "6E 10B 12E 25E 26B",
    ),
    "sad": (
        "1E 4B 15E 17D 43D 64B",
        "1E 4C 6B 15E 17C 20A 25C 43C",
    ),
    "surprise": (
        "1E 2E 5E 18B 25C 26E",
        "1E 2E 5E 18E 25C 26C",
    ),
    "neutral": ("",),
}


def actions(code: str) -> dict[str, float]:
    """Return the intensity of each muscle action in a FACS code such as "6D 12E": 0.2 for A to 1 for E."""
    return {ACTION_UNITS[int(unit[:-1])]: (1 + "ABCDE".index(unit[-1])) / 5 for unit in code.split()}


def prototype(emotion: str, *, way: int = 0, intensity: float = 1.0) -> Face:
    """Return a default face that shows an expression; `way` is the index of its variant."""
    return Face(**{name: intensity * action for name, action in actions(EXPRESSIONS[emotion][way]).items()})


def sample_faces(labels: Int64Array, *, generator: np.random.Generator) -> Face:
    """Return random people (N,) who show the expressions `labels` (N,), in a random variant, intensity, pose, light."""
    return Face(**_sample_actions(labels, generator), **_sample_people(len(labels), generator))


def _sample_actions(labels: Int64Array, generator: np.random.Generator) -> dict[str, Array]:
    count = len(labels)
    ways = [[actions(code) for code in EXPRESSIONS[emotion]] for emotion in EMOTIONS]
    chosen = [ways[label][generator.integers(len(ways[label]))] for label in labels]
    intensity = generator.uniform(0.6, 1.1, count)
    sampled: dict[str, Array] = {}
    for name in ACTION_UNITS.values():
        strength = intensity * generator.normal(1, 0.12, count)
        stray = 0.06 * np.abs(generator.standard_normal(count))
        sampled[name] = np.array([action.get(name, 0.0) for action in chosen]) * strength + stray
    sampled["asymmetry"] = generator.normal(0, 0.12, count)
    sampled["gaze_x"] = generator.normal(0, 0.35, count)
    return sampled


def _sample_people(count: int, generator: np.random.Generator) -> dict[str, Array]:
    def between(low: float, high: float) -> Array:
        return generator.uniform(low, high, count)

    def about(mean: float, deviation: float, limit: float) -> Array:
        return np.clip(generator.normal(mean, deviation, count), mean - limit, mean + limit)

    woman = generator.random(count) < 0.5
    bearded = ~woman & (generator.random(count) < 0.35)
    skin = between(0, 1)
    return {
        "turn": about(0, 8, 18),
        "nod": about(0, 4, 9),
        "tilt": about(0, 6, 15),
        "face_width": about(1, 0.04, 0.1),
        "face_length": about(1, 0.03, 0.07),
        "jaw": between(0, 0.25) + 0.1 * woman,
        "eye_spacing": about(3.3, 0.1, 0.25),
        "eye_size": about(1, 0.07, 0.15) + 0.05 * woman,
        "brow_weight": between(0.1, 0.7) + 0.3 * ~woman,
        "nose_width": about(1, 0.1, 0.25),
        "lip_fullness": between(0.1, 0.8) + 0.2 * woman,
        "lip_colour": between(0, 0.3) + woman * between(0, 0.6),
        "skin": skin,
        "hair": np.clip(between(0.2, 1) + 0.5 * skin, 0, 1),
        "hairline": about(6.6, 0.9, 2.2) + 0.8 * ~woman,
        "hair_length": woman * between(0, 18),
        "parting": about(0, 0.5, 1),
        "beard": bearded * between(0.2, 1),
        "age": between(0, 1) ** 2,
        "texture": between(0, 1),
        "light_side": about(0, 0.45, 1),
        "light_height": about(0.35, 0.3, 0.7),
        "contrast": between(0.2, 0.9),
        "exposure": about(0.95, 0.12, 0.3) + 0.35 * skin,
        "backdrop": between(0, 1),
        "defocus": between(0, 0.3),
        "grain": between(0, 0.02),
        "zoom": about(1, 0.05, 0.12),
        "shift_x": about(0, 0.4, 1),
        "shift_y": about(0, 0.4, 1),
    }
