"""Random augmentation of whole batches, on the device of the training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from emotify.training.degradation import blur, compress, lower_resolution
from emotify.training.random_draws import Draws


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The limits of the augmentation. Each amount is drawn uniformly for each image."""

    flip: float = 0.5  # share mirrored
    rotation: float = 15.0  # degrees, in either direction
    scale: float = 1.18  # largest factor of enlarging or shrinking
    shift: float = 4.0  # pixels of 48, in either direction on both axes
    brightness: float = 25.0  # grey levels of 255, up or down
    contrast: float = 0.25  # largest share of more or less contrast
    gamma: float = 1.3  # largest exponent; the smallest is its inverse
    low_resolution: float = 0.0  # share shown at a lower resolution
    blur: float = 0.0  # share blurred
    jpeg: float = 0.0  # share with JPEG compression
    erase: float = 0.5  # share with one square replaced by noise
    erase_size: tuple[int, int] = (8, 16)  # smallest and largest side of this square, in pixels of 48

    def at(self, strength: float) -> Augmentation:
        """Return the amounts times `strength`. Flips, blur, low resolution and JPEG keep their shares."""
        return dataclasses.replace(
            self,
            rotation=self.rotation * strength,
            scale=self.scale**strength,
            shift=self.shift * strength,
            brightness=self.brightness * strength,
            contrast=min(self.contrast * strength, 1.0),
            gamma=self.gamma**strength,
            erase=min(self.erase * strength, 1.0),
        )


NO_AUGMENTATION = Augmentation(
    flip=0.0, rotation=0.0, scale=1.0, shift=0.0, brightness=0.0, contrast=0.0, gamma=1.0, erase=0.0
)


def augment(images: Tensor, draws: Draws, amounts: Augmentation, *, field: int, size: int) -> Tensor:
    """Flip, rotate, scale, shift, relight, degrade and partly erase each image at random.

    images: uint8 (N, 1, 48, 48), on the device of `draws`. One bilinear step samples the middle `field` pixels at
    `size` x `size`; edges are continued by reflection. Returns float32 (N, 1, size, size) in 0..255.
    """
    pixels = _move(images.float(), draws, amounts, field=field, size=size)
    pixels = _relight(pixels, draws, amounts)
    # In the order of a camera and a file. A share of 0 draws no numbers.
    for degrade, share in ((blur, amounts.blur), (lower_resolution, amounts.low_resolution), (compress, amounts.jpeg)):
        if share:
            pixels = degrade(pixels, draws, share=share)
    return _erase(pixels, draws, amounts, scale=size / images.shape[-1])


def mix(pixels: Tensor, targets: Tensor, draws: Draws, *, most: float) -> tuple[Tensor, Tensor]:
    """Blend each image in the first half of a batch with another image of that half, and the targets likewise.

    pixels: (N, 1, S, S); targets: (N, K). `most` is the largest share of the other image; shares are drawn uniformly.
    This is mixup, Zhang et al. 2018, arXiv:1710.09412.
    """
    half = len(pixels) // 2
    share = draws.uniform(0, most)[:half]
    mixed_pixels = torch.lerp(pixels[:half], pixels[:half].flip(0), share.view(-1, 1, 1, 1))
    mixed_targets = torch.lerp(targets[:half], targets[:half].flip(0), share.view(-1, 1))
    return torch.cat([mixed_pixels, pixels[half:]]), torch.cat([mixed_targets, targets[half:]])


def shrink(pixels: Tensor, size: int) -> Tensor:
    """Resize images (N, 1, S, S) to `size` x `size` with antialiasing. Return them unchanged if `size` is S."""
    if pixels.shape[-1] == size:
        return pixels
    return F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)


def _move(images: Tensor, draws: Draws, amounts: Augmentation, *, field: int, size: int) -> Tensor:
    count, side = len(images), images.shape[-1]
    mirror = 1 - 2 * (draws.uniform(0, 1) < amounts.flip).float()
    angle = torch.deg2rad(draws.uniform(-amounts.rotation, amounts.rotation))
    zoom = amounts.scale ** draws.uniform(-1, 1) * (field / side)
    shift = draws.uniform(-amounts.shift, amounts.shift, each=2) * (2 / side)
    cosine, sine = zoom * angle.cos(), zoom * angle.sin()
    rows = torch.stack([mirror * cosine, -sine, shift[:, 0], mirror * sine, cosine, shift[:, 1]], dim=1)
    grid = F.affine_grid(rows.view(count, 2, 3), [count, 1, size, size], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _relight(pixels: Tensor, draws: Draws, amounts: Augmentation) -> Tensor:
    gamma = (amounts.gamma ** draws.uniform(-1, 1)).view(-1, 1, 1, 1)
    contrast = 1 + draws.uniform(-amounts.contrast, amounts.contrast).view(-1, 1, 1, 1)
    brightness = draws.uniform(-amounts.brightness, amounts.brightness).view(-1, 1, 1, 1)
    curved = 255 * (pixels / 255).clamp(1e-4, 1) ** gamma
    mean = curved.mean((1, 2, 3), keepdim=True)
    return ((curved - mean) * contrast + mean + brightness).clamp(0, 255)


def _erase(pixels: Tensor, draws: Draws, amounts: Augmentation, *, scale: float) -> Tensor:
    # Random erasing, Zhong et al. 2020, arXiv:1708.04896, with one square of noise.
    size = pixels.shape[-1]
    low, high = amounts.erase_size
    side = draws.uniform(low, high) * scale * (draws.uniform(0, 1) < amounts.erase)
    corner = draws.uniform(0, 1, each=2).T * (size - side)
    place = torch.arange(size, device=pixels.device) + 0.5
    inside = (place >= corner[..., None]) & (place < (corner + side)[..., None])  # (2, N, size)
    square = inside[0, :, None, :, None] & inside[1, :, None, None, :]
    noise = draws.normal(size * size).view(pixels.shape).mul_(64).add_(128).clamp_(0, 255)
    return torch.where(square, noise, pixels)
