"""Find duplicate images. FER-2013 has many, also across its splits, which makes scores too high."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from emotify.arrays import Float32Array, UInt8Array
from emotify.choices import Split
from emotify.data.types import LabelledImages
from emotify.emotions import EMOTIONS
from emotify.pictures.pixels import IMAGE_SIZE
from emotify.words import amount

UInt64Array: TypeAlias = NDArray[np.uint64]
BoolArray: TypeAlias = NDArray[np.bool_]

# Correlation of two images with the same picture in another crop, size or watermark. In FER-2013, nearly all pairs
# above this value show the same picture (checked by eye); below it, fewer and fewer do.
NEAR: Final = 0.9
_COARSE: Final = 6  # side of a block in pixels; enough to find the nearest image, with 36 times fewer values
_TABLE: Final = 1 << 22  # correlations per matrix product; many small products would wait for BLAS's threads


def pixel_keys(images: UInt8Array) -> UInt64Array:
    """Return a hash of each image's pixels, uint64 (N,)."""
    digests = (hashlib.blake2b(image, digest_size=8).digest() for image in np.ascontiguousarray(images))
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def duplicates_in(images: UInt8Array, others: UInt8Array) -> BoolArray:
    """Return a mask (N,) of the images that are also in `others`, pixel for pixel."""
    found: BoolArray = np.isin(pixel_keys(images), pixel_keys(others))
    return found


def near_duplicates_in(images: UInt8Array, others: UInt8Array) -> BoolArray:
    """Return a mask (N,) of the images that look nearly the same as one of `others`, such as another crop of it."""
    coarse, coarse_others = _standardize(images, _COARSE), _standardize(others, _COARSE)
    near = np.zeros(len(images), np.bool_)
    rows = max(1, _TABLE // len(others))
    for start in range(0, len(images), rows):
        correlations = coarse[start : start + rows] @ coarse_others.T
        likely = np.flatnonzero(correlations.max(axis=1) > NEAR)
        nearest = correlations[likely].argmax(axis=1)
        fine = _standardize(images[start + likely], 1) * _standardize(others[nearest], 1)
        near[start + likely] = fine.sum(axis=1) > NEAR
    return near


def _standardize(images: UInt8Array, block: int) -> Float32Array:
    """Return sums of pixel blocks (N, F), each row with mean 0 and norm 1. Products of rows are correlations."""
    rows = images.reshape(-1, block, IMAGE_SIZE).sum(axis=1, dtype=np.uint16)
    blocks = rows.reshape(-1, block).sum(axis=1, dtype=np.uint16)
    features: Float32Array = blocks.reshape(len(images), (IMAGE_SIZE // block) ** 2).astype(np.float32)
    features -= features.mean(axis=1, keepdims=True)
    features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-6)
    return features


def describe_duplicates(splits: Mapping[Split, LabelledImages]) -> list[str]:
    """Return sentences about images that train repeats, also with different labels, or shares with another split."""
    if Split.TRAIN not in splits:
        return []
    train = splits[Split.TRAIN]
    _, group, sizes = np.unique(pixel_keys(train.images), return_inverse=True, return_counts=True)
    notes = []
    repeated = sizes[sizes > 1]
    if len(repeated):
        notes.append(f"train has {amount(len(repeated), 'repeated picture')}, in {repeated.sum():,} images.")
    labels_of_groups = np.unique(group * len(EMOTIONS) + train.labels) // len(EMOTIONS)
    if conflicting := np.count_nonzero(np.bincount(labels_of_groups) > 1):
        notes.append(f"train has {amount(conflicting, 'repeated picture')} with different labels.")
    for split in (Split.VALID, Split.TEST):
        if split not in splits:
            continue
        images = splits[split].images
        exact = duplicates_in(images, train.images)
        if exact.any():
            found = amount(exact.sum(), "image")
            notes.append(f"{split} shares {found} ({exact.mean():.1%}) with train, pixel for pixel.")
        near = near_duplicates_in(images, train.images) & ~exact
        if near.any():
            found = amount(near.sum(), "other image")
            notes.append(f"{split} has {found} ({near.mean():.1%}) nearly the same as an image of train.")
    return notes


def drop_duplicates(splits: Mapping[Split, LabelledImages]) -> tuple[dict[Split, LabelledImages], list[str]]:
    """Remove from train images that are exactly or nearly in another split, and all repeats after the first image."""
    if Split.TRAIN not in splits:
        return dict(splits), []
    train = splits[Split.TRAIN]
    leaked = np.zeros(len(train), np.bool_)
    for split, others in splits.items():
        if split != Split.TRAIN:
            leaked |= duplicates_in(train.images, others.images) | near_duplicates_in(train.images, others.images)
    repeated = ~leaked
    repeated[np.unique(pixel_keys(train.images), return_index=True)[1]] = False
    dropped = amount(np.count_nonzero(leaked | repeated), "image")
    note = f"removed {dropped} from train: {leaked.sum():,} (nearly) in another split, {repeated.sum():,} repeated."
    return {**splits, Split.TRAIN: train.take(~leaked & ~repeated)}, [note]
