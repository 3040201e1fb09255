"""Hold out a share of each class. The same seed always selects the same images."""

from __future__ import annotations

import hashlib

import numpy as np

from emotify.data.duplicates import BoolArray, pixel_keys
from emotify.data.types import LabelledImages

SHARE = 0.1


def hold_out(images: LabelledImages, *, seed: int, share: float = SHARE) -> tuple[LabelledImages, LabelledImages]:
    """Return (kept, held out); `share` is in 0..1. Images with equal pixels go to the same part.

    Each class keeps at least one group of equal images.
    """
    held_out = _choose(images, seed=seed, share=share)
    return images.take(~held_out), images.take(held_out)


def _choose(images: LabelledImages, *, seed: int, share: float) -> BoolArray:
    keys, first, group, sizes = np.unique(
        pixel_keys(images.images), return_index=True, return_inverse=True, return_counts=True
    )
    # The order depends only on pixels and seed, not on the order of the files or on NumPy's version.
    salt = f"{seed}:".encode()
    turns = np.argsort([hashlib.blake2b(salt + key.tobytes()).digest() for key in keys.astype("<u8")])
    group_labels = images.labels[first]
    held_out = np.zeros(len(keys), np.bool_)
    for label in np.unique(group_labels):
        groups = turns[group_labels[turns] == label]
        wanted = max(1, round(share * sizes[groups].sum()))
        enough = np.cumsum(sizes[groups]) - sizes[groups] >= wanted
        enough[-1] = True
        held_out[groups[~enough]] = True
    return held_out[group]
