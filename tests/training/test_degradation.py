"""Low resolution, blur and JPEG in augmentation do to a face what files do to pictures."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from emotify.data import Split
from emotify.training import degradation
from emotify.training.degradation import blur, compress, lower_resolution
from emotify.training.random_draws import Draws

KINDS = (lower_resolution, blur, compress)


def draws(count: int, seed: int = 0) -> Draws:
    return Draws(torch.Generator().manual_seed(seed), count)


@pytest.fixture(scope="module")
def pixels(faces) -> torch.Tensor:
    return torch.from_numpy(faces[Split.TRAIN].images[:64]).float()


@pytest.mark.parametrize("degrade", KINDS)
@pytest.mark.parametrize("size", [32, 44, 48])
def test_the_given_share_of_images_is_degraded(pixels, degrade, size):
    """A share of 0 changes no image, 0.5 about half; values stay pixels, and a seed repeats its result."""
    images = pixels[..., :size, :size].contiguous()
    assert torch.allclose(degrade(images, draws(64), share=0.0), images, atol=0.01)
    changed = degrade(images, draws(64), share=0.5)
    touched = ((changed - images).abs() > 0.5).flatten(1).any(1)
    assert 16 < int(touched.sum()) < 48
    assert changed.shape == images.shape
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 255
    assert torch.equal(changed, degrade(images, draws(64), share=0.5))


@pytest.mark.parametrize("degrade", KINDS)
def test_an_even_grey_image_stays_unchanged(degrade):
    grey = torch.full((8, 1, 48, 48), 90.0)
    assert torch.allclose(degrade(grey, draws(8), share=1.0), grey, atol=2.5)  # JPEG rounds the mean, too


@pytest.mark.parametrize("quality", [20, 50, 85])
def test_compression_equals_jpeg_files(pixels, quality, monkeypatch):
    """The pixels equal those of a JPEG file that Pillow writes and reads, up to rounding."""
    monkeypatch.setattr(degradation, "QUALITIES", (float(quality), float(quality)))
    ours = compress(pixels, draws(64), share=1.0).round()
    for face, mine in zip(pixels[:16], ours, strict=False):
        file = io.BytesIO()
        Image.fromarray(face[0].numpy().astype(np.uint8)).save(file, "JPEG", quality=quality)
        theirs = np.asarray(Image.open(file), np.float32)
        change = np.abs(theirs - face[0].numpy()).mean()
        assert change > 2  # grey levels; else nothing was compressed
        assert np.abs(mine[0].numpy() - theirs).mean() < 0.25 * change


def test_low_resolution_removes_fine_stripes_and_keeps_coarse_ones():
    """Stripes of one pixel become grey; an image with a dark and a bright half keeps them."""
    fine = torch.zeros(32, 1, 48, 48)
    fine[..., ::2] = 255
    coarse = torch.zeros(32, 1, 48, 48)
    coarse[..., 24:] = 255
    assert float(lower_resolution(fine, draws(32), share=1.0).std((1, 2, 3)).mean()) < 60
    assert float(lower_resolution(coarse, draws(32), share=1.0).std((1, 2, 3)).mean()) > 115


def test_processes_that_share_a_batch_degrade_it_as_one(pixels):
    for degrade in KINDS:
        whole = degrade(pixels, draws(64), share=0.5)
        own = slice(16, 48)
        part = degrade(pixels[own], Draws(torch.Generator().manual_seed(0), 64, own), share=0.5)
        assert torch.allclose(part, whole[own], atol=1e-3)
