"""Faces drawn by formulas: a data set to try emotify, and pictures for examples."""

from __future__ import annotations

import numpy as np

from emotify.choices import Split
from emotify.data.synthetic.drawing import draw_faces, draw_scene
from emotify.data.synthetic.expressions import prototype, sample_faces
from emotify.data.synthetic.face import Face
from emotify.data.types import LabelledImages
from emotify.emotions import EMOTIONS

__all__ = ["Face", "draw_faces", "draw_scene", "prototype", "sample_faces", "synthetic_splits"]


def synthetic_splits(*, seed: int = 0, counts: tuple[int, int, int] = (4200, 700, 700)) -> dict[Split, LabelledImages]:
    """Return train, valid and test with about `counts` drawn faces. Classes are balanced; splits share no person."""
    generators = np.random.default_rng(seed).spawn(len(counts))
    return {
        split: _draw_split(count // len(EMOTIONS), generator)
        for split, count, generator in zip(Split, counts, generators, strict=True)
    }


def _draw_split(each: int, generator: np.random.Generator) -> LabelledImages:
    labels = generator.permutation(np.repeat(np.arange(len(EMOTIONS), dtype=np.int64), each))
    faces = sample_faces(labels, generator=generator)
    return LabelledImages(draw_faces(faces, generator=generator), labels)
