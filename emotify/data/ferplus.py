"""Read FER+'s votes: those of ten annotators for each image of FER-2013, in `fer2013new.csv`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from emotify.arrays import Float32Array, UInt8Array
from emotify.choices import Split
from emotify.data.archives import open_csv
from emotify.data.fer2013 import parse_usage
from emotify.data.lines import parse_rows, quote
from emotify.data.notes import Findings
from emotify.data.types import LabelledImages
from emotify.emotions import EMOTIONS, emotion_index
from emotify.errors import InputError
from emotify.files import printable
from emotify.words import amount

VOTES: Final = (
    *("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"),
    *("unknown", "NF"),  # not an expression; NF: not a face
)
EXPRESSION_COLUMNS: Final = tuple(  # places of the seven classes in VOTES, in the order of EMOTIONS
    next(column for column, name in enumerate(VOTES) if emotion_index(name) == index) for index in range(len(EMOTIONS))
)
_COLUMNS: Final = ("Usage", *VOTES)


def add_votes(splits: Mapping[Split, LabelledImages], path: Path, findings: Findings) -> dict[Split, LabelledImages]:
    """Return the splits with the votes in `path`. Within each Usage, the rows have the order of the images.

    Raises InputError when a split has another number of images than of rows. Adds notes to `findings`.
    """
    votes = _read_votes(path)
    mistakes = [
        f"{len(votes[split]):,} rows for {split}, but the data has {len(images):,} images"
        for split, images in splits.items()
        if len(votes[split]) != len(images)
    ]
    if mistakes:
        raise InputError(f"{printable(path)} has {'; '.join(mistakes)}; use the FER+ file of this data")
    voted = {}
    for split, images in splits.items():
        voted[split] = dataclasses.replace(images, votes=votes[split])
        if voteless := np.count_nonzero(votes[split].sum(axis=1) == 0):
            findings.notes.append(f"{split} keeps {amount(voteless, 'image')} without a vote in FER+.")
        if faceless := np.count_nonzero(votes[split].argmax(axis=1) >= VOTES.index("unknown")):
            kept = amount(faceless, "image")
            findings.notes.append(f"{split} keeps {kept} whose most frequent FER+ vote is unknown or no face.")
    return voted


def vote_shares(votes: UInt8Array) -> Float32Array:
    """Return votes (N, 10) as shares (N, 10), float32. The first seven columns have the order of EMOTIONS.

    Contempt, unknown and NF follow. A row without any vote is all 0.
    """
    others = [column for column in range(len(VOTES)) if column not in EXPRESSION_COLUMNS]
    return np.asarray(votes[:, [*EXPRESSION_COLUMNS, *others]] / np.maximum(votes.sum(1, keepdims=True), 1), np.float32)


def _read_votes(path: Path) -> dict[Split, UInt8Array]:
    rows: dict[Split, list[list[int]]] = {split: [] for split in Split}
    with open_csv(path, _COLUMNS) as stream:
        for split, votes in parse_rows(stream, printable(path), _COLUMNS, _parse):
            rows[split].append(votes)
    return {split: np.array(votes, np.uint8).reshape(-1, len(VOTES)) for split, votes in rows.items()}


def _parse(fields: list[bytes]) -> tuple[Split, list[int]]:
    usage, *votes = fields
    for column, vote in zip(VOTES, votes, strict=True):
        if not vote.isdigit() or len(vote) > 3 or int(vote) > 255:
            raise ValueError(f"{column} is {quote(vote)}, expected a number of votes")
    return parse_usage(usage), [int(vote) for vote in votes]
