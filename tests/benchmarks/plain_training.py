"""An ordinary PyTorch training without emotify, as the baseline of `train.py`.

    python tests/benchmarks/plain_training.py --data train.npz [--workers 2] [--device cuda]

It has a Dataset that augments each image on access, a DataLoader, the network of emotify's `cnn`, fp32, and SGD with
Nesterov momentum. The augmentation is that of `emotify/training/augmentation.py` with the same amounts, at full size.
Unlike emotify, it keeps no average of the weights.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

SIDE, SIZE = 48, 44  # pixels of an image, and of its middle that the network gets


class Faces(Dataset[tuple[Tensor, int]]):
    """uint8 images (N, 1, 48, 48) and labels (N,); each access augments the image anew."""

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = move(torch.from_numpy(self.images[index]).float())
        image = erase(relight(image))
        return (image - 128) / 64, int(self.labels[index])


def move(image: Tensor) -> Tensor:
    """Flip, rotate, scale and shift an image (1, 48, 48) in one bilinear step, and return its middle (1, 44, 44)."""
    mirror = -1 if random.random() < 0.5 else 1
    angle = math.radians(random.uniform(-15, 15))
    zoom = 1.18 ** random.uniform(-1, 1) * SIZE / SIDE
    cosine, sine = zoom * math.cos(angle), zoom * math.sin(angle)
    right, down = (random.uniform(-4, 4) * 2 / SIDE for _ in range(2))
    rows = torch.tensor([[[mirror * cosine, -sine, right], [mirror * sine, cosine, down]]])
    grid = F.affine_grid(rows, [1, 1, SIZE, SIZE], align_corners=False)
    middle: Tensor = F.grid_sample(image[None], grid, padding_mode="reflection", align_corners=False)
    return middle[0]


def relight(image: Tensor) -> Tensor:
    """Change gamma, contrast and brightness."""
    curved = 255 * (image / 255).clamp(1e-4, 1) ** (1.3 ** random.uniform(-1, 1))
    contrast, brightness = 1 + random.uniform(-0.25, 0.25), random.uniform(-25, 25)
    return torch.lerp(curved.mean(), curved, contrast).add_(brightness).clamp_(0, 255)


def erase(image: Tensor) -> Tensor:
    """Replace one square by noise in half of the images."""
    if random.random() < 0.5:
        side = round(random.uniform(8, 16) * SIZE / SIDE)
        top, left = (random.randint(0, SIZE - side) for _ in range(2))
        noise = torch.randn(side, side) * 64 + 128
        image[0, top : top + side, left : left + side] = noise.clamp(0, 255)
    return image


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *conv(channels, channels), nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )
        self.squeeze = nn.Sequential(
            nn.Linear(channels, channels // 8), nn.ReLU(), nn.Linear(channels // 8, channels), nn.Sigmoid()
        )

    def forward(self, features: Tensor) -> Tensor:
        change: Tensor = self.body(features)
        weights: Tensor = self.squeeze(change.mean((2, 3)))
        return (features + change * weights[:, :, None, None]).relu()


def conv(channels_in: int, channels_out: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True)]


def make_network() -> nn.Module:
    """Return the network, from normalised pixels (N, 1, 44, 44) to logits (N, 7)."""
    stages = [*conv(1, 32), *conv(32, 48, 2), Residual(48), *conv(48, 96, 2), Residual(96), Residual(96)]
    stages += [*conv(96, 192, 2), Residual(192), Residual(192)]
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(192, 7))


def train(loader: DataLoader[Any], device: torch.device) -> Iterator[Tensor]:
    """Make a step with each batch without end, and yield its loss."""
    network = make_network().to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    while True:
        for images, labels in loader:
            images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            loss = criterion(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield loss.detach()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="an .npz of images (N, 1, 48, 48) and labels (N,)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--untimed", type=int, default=5, help="steps before those that are timed")
    parser.add_argument("--steps", type=int, default=30, help="steps that are timed")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = np.load(options.data)
    loader = DataLoader(
        Faces(data["images"], data["labels"]),
        batch_size=options.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=options.workers,
        pin_memory=options.device != "cpu",
        persistent_workers=options.workers > 0,
    )
    losses = train(loader, torch.device(options.device))
    list(itertools.islice(losses, options.untimed))[-1].item()  # which waits for a GPU
    begun, cpu_begun = time.perf_counter(), time.process_time()
    loss = list(itertools.islice(losses, options.steps))[-1].item()
    seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - cpu_begun
    images = options.steps * options.batch_size
    print(
        f"{images / seconds:.1f} images/s, {images / cpu_seconds:.1f} a CPU second (without workers'), loss {loss:.3f}"
    )


if __name__ == "__main__":
    main()
