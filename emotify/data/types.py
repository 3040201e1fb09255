"""Labelled images in memory. Every reader returns this form, and all other code takes it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotify.arrays import Int64Array, UInt8Array
from emotify.choices import Split
from emotify.emotions import EMOTIONS
from emotify.pictures.pixels import IMAGE_SIZE


@dataclass(frozen=True)
class LabelledImages:
    """Grey faces with their labels, and with FER+'s votes if available."""

    images: UInt8Array  # (N, 1, 48, 48)
    labels: Int64Array  # (N,), 0..6
    votes: UInt8Array | None = None  # (N, 10), FER+'s columns in their order

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.shape[1:] != (1, IMAGE_SIZE, IMAGE_SIZE):
            msg = f"images must be uint8 (N, 1, 48, 48), not {self.images.dtype} {self.images.shape}"
            raise ValueError(msg)
        if self.labels.dtype != np.int64 or self.labels.shape != self.images.shape[:1]:
            msg = f"labels must be int64 ({len(self.images)},), not {self.labels.dtype} {self.labels.shape}"
            raise ValueError(msg)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Int64Array | NDArray[np.bool_]) -> LabelledImages:
        """Return the images that `rows`, indices or a boolean mask, select."""
        votes = None if self.votes is None else self.votes[rows]
        return LabelledImages(self.images[rows], self.labels[rows], votes)

    def counts(self) -> Int64Array:
        """Return how many images each class has, int64 (7,)."""
        return np.bincount(self.labels, minlength=len(EMOTIONS)).astype(np.int64)

    def sha256(self) -> str:
        """Return the SHA-256 of the pixels and labels, without the votes."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()

    def votes_sha256(self) -> str:
        """Return the SHA-256 of the votes, which must not be None."""
        assert self.votes is not None
        return hashlib.sha256(np.ascontiguousarray(self.votes).data).hexdigest()


@dataclass(frozen=True)
class Dataset:
    """The splits of a data source, with the reader's notes and warnings."""

    source: str
    splits: Mapping[Split, LabelledImages]
    notes: tuple[str, ...] = field(default=())  # whole sentences, for the user
    warnings: tuple[str, ...] = field(default=())  # about skipped files and interpretations; always printed

    def document(self) -> dict[str, Any]:
        """Return the source and the warnings for `--json`."""
        return {"source": self.source, "warnings": list(self.warnings)}

    @property
    def has_votes(self) -> bool:
        """Return whether any split has FER+'s votes."""
        return any(images.votes is not None for images in self.splits.values())
