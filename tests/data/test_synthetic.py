from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from emotify.data import Split
from emotify.data.synthetic import Face, draw_faces, draw_scene, prototype, sample_faces, synthetic_splits
from emotify.emotions import EMOTIONS

COUNTS = (420, 140, 70)


@pytest.fixture(scope="module")
def splits():
    return synthetic_splits(seed=0, counts=COUNTS)


@pytest.fixture
def people():
    """Fourteen people, two of each expression, without grain."""
    return sample_faces(np.arange(14) % 7, generator=np.random.default_rng(0))


def test_splits_are_balanced(splits):
    """Every expression is drawn equally often, in random order."""
    for split, count in zip(Split, COUNTS, strict=True):
        assert splits[split].counts().tolist() == [count // 7] * 7
        assert splits[split].images.shape == (count, 1, 48, 48)
        assert len(set(splits[split].labels[:20].tolist())) > 3


def test_seed_decides_every_pixel():
    """The same seed gives the same bytes; another seed gives other people."""
    first, again, other = (synthetic_splits(seed=seed, counts=(70, 14, 14)) for seed in (0, 0, 1))
    for split in Split:
        assert again[split].sha256() == first[split].sha256()
        assert other[split].sha256() != first[split].sha256()


def test_no_face_is_in_two_splits(splits):
    """All pictures of all splits are different."""
    pictures = {image.tobytes() for split in Split for image in splits[split].images}
    assert len(pictures) == sum(COUNTS)


def test_expressions_can_be_learnt(splits):
    """Ridge regression on coarse pixels has three times the accuracy of chance on `valid`."""

    def pixels(split: Split):
        coarse = splits[split].images.reshape(-1, 16, 3, 16, 3).mean(axis=(2, 4)).reshape(-1, 256)
        coarse -= coarse.mean(axis=1, keepdims=True)
        return coarse / coarse.std(axis=1, keepdims=True)

    train, targets = pixels(Split.TRAIN), np.eye(7)[splits[Split.TRAIN].labels]
    weights = np.linalg.solve(train.T @ train + 30 * np.eye(256), train.T @ targets)
    predictions = (pixels(Split.VALID) @ weights).argmax(axis=1)
    assert np.mean(predictions == splits[Split.VALID].labels) > 3 / 7


def test_pictures_have_contrast(splits):
    """No face is almost completely black or white."""
    images = splits[Split.TRAIN].images.reshape(420, -1)
    assert np.all(images.std(axis=1) > 10)
    assert np.all((images == 255).mean(axis=1) < 0.7)


def test_size_does_not_change_the_picture(people):
    """A face that is drawn five times larger and then shrunk looks the same."""
    small, large = draw_faces(people), draw_faces(people, size=240)
    shrunk = large.reshape(14, 48, 5, 48, 5).mean(axis=(2, 4))
    difference = np.abs(shrunk - small[:, 0])
    assert difference.mean() < 2
    assert np.quantile(difference, 0.99) < 20


def test_a_face_is_drawn_the_same_alone_and_in_a_batch(people):
    """A face is drawn the same alone and in a batch, up to rounding."""
    together = draw_faces(people).astype(int)
    for row in range(len(people)):
        alone = draw_faces(people.take(slice(row, row + 1)))
        assert np.abs(alone[0] - together[row]).max() <= 1


def test_colour_picture_turned_grey_is_the_grey_picture(people):
    """Grey and colour follow the same rules, except where a channel is overexposed."""
    people = replace(people, exposure=0.5)
    colour, grey = draw_faces(people, colour=True), draw_faces(people)
    assert colour.shape == (14, 3, 48, 48)
    for picture, expected in zip(colour, grey, strict=True):
        turned = np.asarray(Image.fromarray(np.moveaxis(picture, 0, -1)).convert("L"), dtype=float)
        assert np.abs(turned - expected[0]).max() <= 2


def test_intensity_zero_is_neutral():
    """Without muscle actions, every expression is the same neutral face."""
    neutral = draw_faces(prototype("neutral"))
    for emotion in EMOTIONS:
        assert np.array_equal(draw_faces(prototype(emotion, intensity=0)), neutral)


@pytest.mark.parametrize(("emotion", "darker"), [("surprise", 38), ("angry", 12)])
def test_muscles_change_the_mouth_and_the_brows(emotion, darker):
    """A dropped jaw darkens the mouth; lowered brows darken the area between the eyes."""
    neutral, acted = (draw_faces(prototype(name))[0, 0].astype(float) for name in ("neutral", emotion))
    place = np.s_[darker : darker + 3, 22:26]
    assert acted[place].mean() < neutral[place].mean() - 30


def test_grain_comes_from_the_generator():
    """There is no noise without a generator."""
    face = Face(grain=0.05)
    plain = draw_faces(face)
    first, second = (draw_faces(face, generator=np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, plain)
    assert np.array_equal(draw_faces(face), plain)


def test_single_faces_and_groups_can_be_stacked():
    """Groups and single faces are joined in order, and can be taken apart."""
    group = Face.stack([Face(turn=5.0), Face(turn=np.array([6.0, 7.0]))])
    assert len(group) == 3
    assert np.array_equal(group.turn, [5.0, 6.0, 7.0])
    assert len(group.take(np.array([2, 0]))) == 2


@pytest.mark.parametrize("count", [1, 3])
def test_scene_is_a_colour_photograph(count):
    """The background is visible in the upper corner and differs from the one to three heads."""
    faces = sample_faces(np.arange(count), generator=np.random.default_rng(1))
    scene = draw_scene(faces, width=320, height=180, generator=np.random.default_rng(1))
    assert scene.shape == (180, 320, 3)
    assert scene.dtype == np.uint8
    for index in range(count):
        head = scene[60:90, int((index + 0.5) / count * 320)]
        assert np.abs(head.astype(float).mean() - scene[:10, :10].mean()) > 2


def test_no_faces_make_no_pictures():
    """An empty batch gives an empty array."""
    nobody = sample_faces(np.array([], dtype=np.int64), generator=np.random.default_rng(0))
    assert draw_faces(nobody).shape == (0, 1, 48, 48)
