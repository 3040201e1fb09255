"""What a reader noticed, in short sentences for the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from emotify.choices import Split
from emotify.data.types import LabelledImages
from emotify.emotions import EMOTIONS
from emotify.errors import SHOWN
from emotify.words import amount


@dataclass
class Findings:
    """What a reader noticed, as whole sentences."""

    warnings: list[str] = field(default_factory=list)  # what was left out, or taken for what: told to everyone
    notes: list[str] = field(default_factory=list)  # what else is odd
    mistakes: list[str] = field(default_factory=list)  # what the data cannot be read with


def first_few(names: Sequence[str]) -> str:
    """Return names with commas between; of many, the first ones."""
    return f"{', '.join(names[:SHOWN])}{' and more' if len(names) > SHOWN else ''}"


def describe_blanks(splits: Mapping[Split, LabelledImages]) -> list[str]:
    """Return a sentence for each split that has images of one grey all over."""
    notes = []
    for split, images in splits.items():
        pixels = images.images.reshape(len(images), -1)
        if blank := np.count_nonzero(pixels.min(axis=1) == pixels.max(axis=1)):
            notes.append(f"{split} has {amount(blank, 'blank image')}.")
    return notes


def describe_absent_classes(splits: Mapping[Split, LabelledImages]) -> dict[Split, str]:
    """Return a sentence for each split that has no image of some classes."""
    absent = {
        split: [emotion for emotion, count in zip(EMOTIONS, images.counts(), strict=True) if count == 0]
        for split, images in splits.items()
    }
    return {split: f"{split} has no image of {', '.join(names)}." for split, names in absent.items() if names}
