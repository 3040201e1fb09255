"""Random blur, low resolution and JPEG compression of whole batches, on the device of the training."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from emotify.training.random_draws import Draws

SMALLEST = 12 / 48  # the lowest resolution, as a share of the image's side
WIDEST_BLUR = 1.5 / 48  # the largest standard deviation, as a share of the image's side
QUALITIES = (20.0, 90.0)  # lowest and highest JPEG quality, on libjpeg's scale

# ITU-T T.81 (JPEG), table K.1: the quantisation steps of luminance at quality 50, by frequency.
_STEPS = (
    *(16, 11, 10, 16, 24, 40, 51, 61),
    *(12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77),
    *(24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101),
    *(72, 92, 95, 98, 112, 100, 103, 99),
)
_BLOCK = 8


def lower_resolution(pixels: Tensor, draws: Draws, *, share: float) -> Tensor:
    """Shrink a share of the images (N, 1, S, S) to a side between 12/48 * S and S, then enlarge them again.

    Sides are drawn uniformly on a logarithmic scale. Shrinking averages pixels; enlarging is bicubic.
    """
    size = pixels.shape[-1]
    sides = (size * SMALLEST ** draws.uniform(0, 1)).round().long().clamp(1, size)
    sides = torch.where(draws.uniform(0, 1) < share, sides, size)
    return _resample(pixels, _resolutions(size, pixels.device)[sides])


def blur(pixels: Tensor, draws: Draws, *, share: float) -> Tensor:
    """Blur a share of the images (N, 1, S, S) with a Gaussian of standard deviation up to 1.5/48 * S."""
    size = pixels.shape[-1]
    deviations = draws.uniform(0, WIDEST_BLUR * size) * (draws.uniform(0, 1) < share)
    place = torch.arange(size, dtype=torch.float32, device=pixels.device)
    squares = (place[:, None] - place).square()
    weights = torch.exp(-squares / (2 * deviations.square().clamp_min(1e-4)[:, None, None]))
    return _resample(pixels, weights / weights.sum(2, keepdim=True))


def compress(pixels: Tensor, draws: Draws, *, share: float) -> Tensor:
    """Quantise a share of the images (N, 1, S, S), in 0..255, as JPEG files of quality 20 to 90 do."""
    size = pixels.shape[-1]
    quality = draws.uniform(*QUALITIES)
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)  # as libjpeg scales its table
    steps = (_table(pixels.device) * percent.view(-1, 1, 1) / 100).round().clamp(1, 255)[:, None, None, None]
    padding = -size % _BLOCK
    padded = F.pad(pixels, (0, padding, 0, padding), mode="replicate") - 128
    blocks = padded.unfold(2, _BLOCK, _BLOCK).unfold(3, _BLOCK, _BLOCK)
    cosines = _cosines(pixels.device)
    rounded = (cosines @ blocks @ cosines.T / steps).round() * steps
    decoded = (cosines.T @ rounded @ cosines).transpose(3, 4).reshape(padded.shape) + 128
    compressed = decoded[..., :size, :size].clamp(0, 255)
    return torch.where((draws.uniform(0, 1) < share).view(-1, 1, 1, 1), compressed, pixels)


def _resample(pixels: Tensor, matrices: Tensor) -> Tensor:
    """Apply each image's matrix (N, S, S) to its rows and columns, and clamp the result to 0..255."""
    matrices = matrices[:, None]
    return (matrices @ pixels @ matrices.mT).clamp(0, 255)


@cache
def _resolutions(size: int, device: torch.device) -> Tensor:
    """Return matrices (S + 1, S, S); matrix n shrinks a column of S pixels to n pixels and enlarges it again."""
    columns = torch.eye(size)[None, None]
    matrices = torch.zeros(size + 1, size, size)
    for side in range(1, size + 1):
        small = F.interpolate(columns, (side, size), mode="bilinear", antialias=True, align_corners=False)
        matrices[side] = F.interpolate(small, (size, size), mode="bicubic", align_corners=False)[0, 0]
    return matrices.to(device)


@cache
def _table(device: torch.device) -> Tensor:
    """Return the quantisation steps (8, 8) of quality 50. They are copied to a GPU once, as a copy makes it wait."""
    return torch.tensor(_STEPS, dtype=torch.float32, device=device).view(_BLOCK, _BLOCK)


@cache
def _cosines(device: torch.device) -> Tensor:
    """Return the orthonormal matrix (8, 8) of the discrete cosine transform, with one row per frequency."""
    frequency, place = torch.meshgrid(torch.arange(_BLOCK), torch.arange(_BLOCK), indexing="ij")
    matrix = torch.cos(math.pi * (2 * place + 1) * frequency / (2 * _BLOCK)) * math.sqrt(2 / _BLOCK)
    matrix[0] /= math.sqrt(2)
    return matrix.to(device)
