"""Duplicate images are counted, and removed with `dedupe`."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from emotify.data import Split, duplicates_in, near_duplicates_in, read_dataset


@pytest.fixture
def read(tmp_path, to_csv):
    def read(rows, **options):
        path = tmp_path / "fer2013.csv"
        path.write_bytes(to_csv(rows))
        return read_dataset(path, **options)

    return read


def copy(row, **changes):
    return dataclasses.replace(row, **changes)


def test_images_of_other_splits_in_train_are_counted(rows, read):
    rows += [copy(rows[0], usage="PrivateTest"), copy(rows[1], usage="PrivateTest"), copy(rows[2], usage="PublicTest")]
    assert read(rows).notes == (
        "valid shares 1 image (6.7%) with train, pixel for pixel.",
        "test shares 2 images (12.5%) with train, pixel for pixel.",
    )


def test_nearly_the_same_images_are_counted_and_dropped(rows, read):
    """A picture with a tighter crop and darker pixels is found; other smooth pictures are not."""
    generator = np.random.default_rng(1)
    pictures = [
        Image.fromarray(generator.integers(0, 256, (6, 6), dtype=np.uint8)).resize((48, 48), Image.Resampling.BICUBIC)
        for _ in rows
    ]
    rows = [copy(row, pixels=text(np.asarray(picture))) for row, picture in zip(rows, pictures, strict=True)]
    tighter = pictures[0].resize((48, 48), box=(1, 1, 47, 47))
    rows.append(copy(rows[0], usage="PrivateTest", pixels=text(np.asarray(tighter) // 2 + 20)))
    assert read(rows).notes == ("test has 1 other image (6.7%) nearly the same as an image of train.",)
    assert len(read(rows, dedupe=True).splits[Split.TRAIN]) == 13


def test_dedupe_removes_repeated_and_shared_images_from_train(rows, read):
    """The other splits do not change, and the first of several equal images stays."""
    changed = [
        *rows,
        copy(rows[0], usage="PrivateTest"),
        *[copy(rows[place]) for place in (0, 1)],
        copy(rows[1], emotion="5"),
    ]
    dataset = read(changed, dedupe=True)
    train = dataset.splits[Split.TRAIN]
    np.testing.assert_array_equal(train.images, [row.image for row in rows[1:14]])
    assert train.labels.tolist() == [int(row.emotion) for row in rows[1:14]]
    assert len(dataset.splits[Split.TEST]) == 15
    assert dataset.notes[-1] == "removed 4 images from train: 2 (nearly) in another split, 2 repeated."


def test_dedupe_changes_nothing_without_duplicates(rows, read):
    assert read(rows, dedupe=True).splits[Split.TRAIN].sha256() == read(rows).splits[Split.TRAIN].sha256()


def test_dedupe_changes_nothing_without_train(rows, read):
    dataset = read(rows[14:], dedupe=True)
    assert {split: len(images) for split, images in dataset.splits.items()} == {Split.VALID: 14, Split.TEST: 14}


def test_identical_images_with_different_labels_are_counted(rows, read):
    rows += [copy(rows[0]), copy(rows[1], emotion="5"), copy(rows[1], emotion="6"), copy(rows[2])]
    assert read(rows).notes == (
        "train has 3 repeated pictures, in 7 images.",
        "train has 1 repeated picture with different labels.",
    )


def test_equal_and_nearly_equal_images_are_found():
    """Near duplicates may differ in brightness and contrast; noise is not similar to anything."""
    images = np.random.default_rng(0).integers(0, 100, (3, 1, 48, 48), dtype=np.uint8)
    others = np.stack([images[1], images[2] * 2 + 7])
    assert duplicates_in(images, others).tolist() == [False, True, False]
    assert near_duplicates_in(images, others).tolist() == [False, True, True]


@pytest.mark.parametrize(("correlation", "near"), [(0.5, False), (0.85, False), (0.95, True)])
def test_images_look_nearly_the_same_from_a_correlation_of_nine_tenths(correlation, near):
    """The pixels are correlated. Means of blocks, which are compared first, are nearly the same in all these images."""
    generator = np.random.default_rng(0)
    smooth = np.asarray(Image.fromarray(generator.normal(size=(6, 6))).resize((48, 48), Image.Resampling.BICUBIC))
    noise = np.tile([[1.0, -1.0], [-1.0, 1.0]], (24, 24))  # of which blocks see nothing
    images = [
        np.rint(128 + 30 * (share * smooth / smooth.std() + np.sqrt(1 - share**2) * noise))
        .clip(0, 255)
        .astype(np.uint8)
        for share in (1.0, correlation)
    ]
    assert near_duplicates_in(images[1][None, None], images[0][None, None]).tolist() == [near]


@pytest.mark.slow
def test_the_known_duplicates_of_fer2013_are_found(shared, tmp_path):
    """The counts agree with the published ones."""
    path = tmp_path / "fer2013.csv"
    subprocess.run([sys.executable, shared / "fer2013" / "unpack.py", "--csv", path], check=True, capture_output=True)
    dataset = read_dataset(path)
    assert dataset.splits[Split.TRAIN].counts().tolist() == [3995, 436, 4096, 7215, 4831, 3171, 4965]
    assert dataset.splits[Split.VALID].counts().tolist() == [467, 56, 496, 895, 653, 415, 607]
    assert dataset.notes[:3] == (
        "train has 1,033 repeated pictures, in 2,265 images.",
        "train has 38 repeated pictures with different labels.",
        "valid shares 281 images (7.8%) with train, pixel for pixel.",
    )


def text(image):
    return " ".join(map(str, image.ravel().tolist()))
