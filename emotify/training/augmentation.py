"""Random variants of whole batches, made on the device that trains."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far each image may be changed; every amount is drawn uniformly for each image."""

    flip: float = 0.5  # share mirrored
    rotation: float = 15.0  # degrees, either way
    scale: float = 1.18  # at most this factor larger, or smaller
    shift: float = 4.0  # pixels of 48, either way and axis
    brightness: float = 25.0  # grey levels of 255, either way
    contrast: float = 0.25  # at most this share more, or less
    gamma: float = 1.3  # exponent at most this, or its inverse
    erase: float = 0.5  # share with one square replaced by noise
    erase_size: tuple[int, int] = (8, 16)  # pixels of 48, side of that square


NO_AUGMENTATION = Augmentation(
    flip=0.0, rotation=0.0, scale=1.0, shift=0.0, brightness=0.0, contrast=0.0, gamma=1.0, erase=0.0
)


def augment(images: Tensor, generator: torch.Generator, amounts: Augmentation, *, field: int, size: int) -> Tensor:
    """Return a random variant of each image: flipped, turned, scaled, shifted, relit, partly erased.

    images: uint8 (N, 1, 48, 48), on the generator's device. The middle `field` pixels are sampled at `size` x `size`
    in one bilinear step, repeating mirrored edges. Returns float32 (N, 1, size, size) in 0..255.
    """
    pixels = _move(images.float(), generator, amounts, field=field, size=size)
    pixels = _relight(pixels, generator, amounts)
    return _erase(pixels, generator, amounts, scale=size / images.shape[-1])


def _move(images: Tensor, generator: torch.Generator, amounts: Augmentation, *, field: int, size: int) -> Tensor:
    count, side = len(images), images.shape[-1]
    mirror = 1 - 2 * (_uniform(count, 0, 1, generator) < amounts.flip).float()
    angle = torch.deg2rad(_uniform(count, -amounts.rotation, amounts.rotation, generator))
    zoom = amounts.scale ** _uniform(count, -1, 1, generator) * (field / side)
    shift = _uniform(2 * count, -amounts.shift, amounts.shift, generator).view(count, 2) * (2 / side)
    cosine, sine = zoom * angle.cos(), zoom * angle.sin()
    rows = torch.stack([mirror * cosine, -sine, shift[:, 0], mirror * sine, cosine, shift[:, 1]], dim=1)
    grid = F.affine_grid(rows.view(count, 2, 3), [count, 1, size, size], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _relight(pixels: Tensor, generator: torch.Generator, amounts: Augmentation) -> Tensor:
    count = len(pixels)
    gamma = (amounts.gamma ** _uniform(count, -1, 1, generator)).view(-1, 1, 1, 1)
    contrast = 1 + _uniform(count, -amounts.contrast, amounts.contrast, generator).view(-1, 1, 1, 1)
    brightness = _uniform(count, -amounts.brightness, amounts.brightness, generator).view(-1, 1, 1, 1)
    curved = 255 * (pixels / 255).clamp(1e-4, 1) ** gamma
    mean = curved.mean((1, 2, 3), keepdim=True)
    return ((curved - mean) * contrast + mean + brightness).clamp(0, 255)


def _erase(pixels: Tensor, generator: torch.Generator, amounts: Augmentation, *, scale: float) -> Tensor:
    # Random erasing, Zhong et al. 2020, arXiv:1708.04896, with one square of noise.
    count, size = len(pixels), pixels.shape[-1]
    low, high = amounts.erase_size
    side = _uniform(count, low, high, generator) * scale * (_uniform(count, 0, 1, generator) < amounts.erase)
    corner = _uniform(2 * count, 0, 1, generator).view(2, count) * (size - side)
    place = torch.arange(size, device=pixels.device) + 0.5
    inside = (place >= corner[..., None]) & (place < (corner + side)[..., None])  # (2, N, size)
    square = inside[0, :, None, :, None] & inside[1, :, None, None, :]
    noise = torch.randn(pixels.shape, generator=generator, device=pixels.device).mul_(64).add_(128).clamp_(0, 255)
    return torch.where(square, noise, pixels)


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator, device=generator.device) * (high - low) + low
