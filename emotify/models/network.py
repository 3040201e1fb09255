"""What every network shares: pixels in, logits out, and the first step that knows what pixels are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from emotify.emotions import EMOTIONS


class Network(nn.Module, ABC):
    """A classifier of faces. Subclasses set `input_size` and implement `logits`."""

    input_size: ClassVar[int] = 48  # pixels; larger images are cropped to their centre
    any_size: ClassVar[bool] = False  # whether smaller images do as well

    def forward(self, images: Tensor) -> Tensor:
        """Turn images (N, 1, S, S), uint8 or float in 0..255, into logits (N, 7)."""
        return self.logits(normalise(centre_crop(images, self.input_size)))

    @abstractmethod
    def logits(self, pixels: Tensor) -> Tensor:
        """Turn normalised pixels (N, 1, S, S) with S <= input_size into logits (N, 7)."""


def centre_crop(images: Tensor, size: int) -> Tensor:
    """Cut the middle `size` x `size` out of images (N, 1, S, S); smaller images stay whole."""
    margin = max(images.shape[-1] - size, 0) // 2
    return images[..., margin : margin + size, margin : margin + size]


def normalise(images: Tensor) -> Tensor:
    """Scale pixels of 0..255 to about -2..2; FER-2013's mean is 129 and its standard deviation 65."""
    return (images.float() - 128) / 64


def classifier_head(features: int, dropout: float) -> nn.Sequential:
    """Average features (N, C, H, W) over the picture and map them to logits (N, 7)."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(features, len(EMOTIONS)))


def count_parameters(network: nn.Module) -> int:
    """Return the number of trainable numbers."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_macs(network: Network) -> int:
    """Return the multiply-accumulates of one 48x48 image in convolutions and linear layers."""
    total = 0

    def add(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        total += output[0].numel() * layer.weight[0].numel()

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    was_training = network.training
    with torch.no_grad():
        network.eval()(torch.zeros(1, 1, 48, 48))
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    return total
