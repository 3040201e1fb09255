"""Warnings, notes and mistakes of the data readers, in short sentences for the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from emotify.choices import Split
from emotify.data.types import LabelledImages
from emotify.emotions import EMOTIONS
from emotify.errors import SHOWN
from emotify.pictures.pixels import IMAGE_SIZE
from emotify.words import amount


@dataclass
class Findings:
    """The messages that a reader collects."""

    warnings: list[str] = field(default_factory=list)  # skipped files and interpretations; always printed
    notes: list[str] = field(default_factory=list)  # other peculiarities; printed with --verbose
    mistakes: list[str] = field(default_factory=list)  # errors; the data cannot be used with any of them


def first_few(names: Sequence[str]) -> str:
    """Join names with commas. Of more than five names, show the first five "and more"."""
    return f"{', '.join(names[:SHOWN])}{' and more' if len(names) > SHOWN else ''}"


def describe_blanks(splits: Mapping[Split, LabelledImages]) -> list[str]:
    """Return a sentence for each split with blank images: all pixels of such an image are equal."""
    notes = []
    for split, images in splits.items():
        pixels = images.images.reshape(len(images), IMAGE_SIZE * IMAGE_SIZE)
        if blank := np.count_nonzero(pixels.min(axis=1) == pixels.max(axis=1)):
            notes.append(f"{split} has {amount(blank, 'blank image')}.")
    return notes


def describe_absent_classes(splits: Mapping[Split, LabelledImages]) -> dict[Split, str]:
    """Return a sentence for each split that lacks some classes."""
    absent = {
        split: [emotion for emotion, count in zip(EMOTIONS, images.counts(), strict=True) if count == 0]
        for split, images in splits.items()
    }
    return {split: f"{split} has no image of {', '.join(names)}." for split, names in absent.items() if names}
