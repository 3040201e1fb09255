"""FER+: ten people's votes for each image of FER-2013, in `fer2013new.csv`."""

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
EXPRESSION_COLUMNS: Final = tuple(  # of the seven classes among VOTES, in the order of EMOTIONS
    next(column for column, name in enumerate(VOTES) if emotion_index(name) == index) for index in range(len(EMOTIONS))
)
_COLUMNS: Final = ("Usage", *VOTES)


def add_votes(splits: Mapping[Split, LabelledImages], path: Path, findings: Findings) -> dict[Split, LabelledImages]:
    """Return the splits with the votes in `path`, which go by the order of the images within each Usage.

    Raises InputError where their numbers differ.
    """
    votes = _read_votes(path)
    mistakes = [
        f"{len(votes[split]):,} rows for {split}, but the data has {len(images):,} images"
        for split, images in splits.items()
        if len(votes[split]) != len(images)
    ]
    if mistakes:
        raise InputError(f"{printable(path)} has {'; '.join(mistakes)}: they do not belong together")
    voted = {}
    for split, images in splits.items():
        voted[split] = dataclasses.replace(images, votes=votes[split])
        if voteless := np.count_nonzero(votes[split].sum(axis=1) == 0):
            findings.notes.append(f"{split} has {amount(voteless, 'image')} without a vote in FER+, kept all the same.")
        if faceless := np.count_nonzero(votes[split].argmax(axis=1) >= VOTES.index("unknown")):
            findings.notes.append(f"{split} has {amount(faceless, 'image')} of no expression or no face to FER+, kept.")
    return voted


def vote_shares(votes: UInt8Array) -> Float32Array:
    """Return the shares of an image's votes (N, 10), float32: the seven expressions' first, in the order of EMOTIONS.

    Contempt, unknown and NF follow. All are 0 for an image without a vote.
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
