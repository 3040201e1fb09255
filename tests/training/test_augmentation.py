"""Augmentation of whole batches."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from emotify.training.augmentation import NO_AUGMENTATION, Augmentation, augment, mix, shrink
from emotify.training.random_draws import Draws

IMAGES = torch.randint(0, 256, (64, 1, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def vary(amounts, seed=0, **sizes):
    sizes = {"field": 48, "size": 48, **sizes}
    return augment(IMAGES, Draws(torch.Generator().manual_seed(seed), len(IMAGES)), amounts, **sizes)


def only(**changes) -> Augmentation:
    return dataclasses.replace(NO_AUGMENTATION, **changes)


def test_no_augmentation_changes_nothing():
    assert torch.allclose(vary(NO_AUGMENTATION), IMAGES.float(), atol=0.1)


def test_a_smaller_field_has_the_pixels_of_the_centre():
    """A smaller field samples the pixels that the network would crop."""
    assert torch.allclose(vary(NO_AUGMENTATION, field=44, size=44), IMAGES[..., 2:-2, 2:-2].float(), atol=0.1)


def test_flip_mirrors_about_half_of_the_images():
    varied = vary(only(flip=0.5))
    same = ((varied - IMAGES).abs() < 0.1).flatten(1).all(1)
    flipped = ((varied - IMAGES.flip(-1)).abs() < 0.1).flatten(1).all(1)
    assert bool((same ^ flipped).all())
    assert 16 < int(flipped.sum()) < 48


def test_shift_is_at_most_the_given_pixels():
    """A single bright column ends at most `shift` pixels away."""
    column = torch.zeros(32, 1, 48, 48, dtype=torch.uint8)
    column[..., 24] = 255
    varied = augment(column, Draws(torch.Generator().manual_seed(0), 32), only(shift=4.0), field=48, size=48)
    places = torch.arange(48.0)
    centres = (varied[:, 0, 24] * places).sum(1) / varied[:, 0, 24].sum(1)
    assert float((centres - 24).abs().max()) <= 4.01
    assert float((centres - 24).abs().max()) > 2


@pytest.mark.parametrize("kind", ["blur", "low_resolution", "jpeg"])
def test_the_given_share_of_images_is_degraded(kind):
    """Each kind is used with its own share, and changes no other images."""
    changed = ((vary(only(**{kind: 0.5})) - IMAGES).abs() > 0.5).flatten(1).any(1)
    assert 16 < int(changed.sum()) < 48
    assert int(((vary(only(**{kind: 1.0})) - IMAGES).abs() > 0.5).flatten(1).any(1).sum()) > 48  # some only slightly


def test_erasing_touches_one_square_of_about_half_of_the_images():
    changed = (vary(only(erase=0.5)) - IMAGES).abs() > 0.5
    touched = changed.flatten(1).any(1)
    assert 16 < int(touched.sum()) < 48
    rows, columns = changed.any(3).sum(2), changed.any(2).sum(2)
    assert int(rows.max()) <= 17
    assert int(columns.max()) <= 17


def test_changed_light_stays_in_the_pixel_range():
    varied = vary(only(brightness=200.0, contrast=0.9, gamma=3.0))
    assert float(varied.min()) >= 0
    assert float(varied.max()) <= 255
    assert not torch.allclose(varied, IMAGES.float(), atol=5)


@pytest.mark.parametrize("size", [32, 44, 48])
def test_all_augmentation_together_repeats_with_its_seed(size):
    """Shape, dtype and range hold; the same seed gives the same images, another seed others."""
    first = vary(Augmentation(), size=size, field=44)
    assert first.shape == (64, 1, size, size)
    assert first.dtype == torch.float32
    assert bool(((first >= 0) & (first <= 255)).all())
    assert torch.equal(first, vary(Augmentation(), size=size, field=44))
    assert not torch.equal(first, vary(Augmentation(), seed=1, size=size, field=44))


def test_processes_that_share_a_batch_augment_it_as_one():
    """Two processes draw for the whole batch, keep their halves, and together get the batch of one process."""
    whole = vary(Augmentation())
    halves = [
        augment(IMAGES[own], Draws(torch.Generator().manual_seed(0), 64, own), Augmentation(), field=48, size=48)
        for own in (slice(0, 32), slice(32, 64))
    ]
    assert torch.equal(torch.cat(halves), whole)


def test_strength_scales_the_amounts():
    assert Augmentation().at(1.0) == Augmentation()
    assert Augmentation().at(0.0) == dataclasses.replace(NO_AUGMENTATION, flip=0.5)
    assert Augmentation().at(0.5).rotation == 7.5
    assert Augmentation().at(3.0).erase == 1.0


def test_mixup_blends_half_of_a_batch_and_its_targets():
    """The share of another image in the pixels equals the share of its class in the target."""
    pixels = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 1, 4, 4)
    targets = torch.eye(8)
    mixed, shares = mix(pixels, targets, Draws(torch.Generator().manual_seed(0), 8), most=0.4)
    assert torch.equal(mixed[4:], pixels[4:])
    assert torch.allclose(shares.sum(1), torch.ones(8))
    assert torch.allclose(mixed[:, 0, 0, 0], shares @ torch.arange(8.0))
    own = shares.diagonal()[:4]
    assert bool(((own >= 0.6) & (own < 1)).all())


def test_shrinking_keeps_even_images_and_the_full_size():
    assert torch.allclose(shrink(torch.full((2, 1, 44, 44), 7.0), 32), torch.full((2, 1, 32, 32), 7.0))
    images = torch.rand(2, 1, 44, 44)
    assert shrink(images, 44) is images
