"""The base class of all networks, from pixels to logits, and the preprocessing of pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from emotify.data.ferplus import VOTES
from emotify.emotions import EMOTIONS


class Network(nn.Module, ABC):
    """A classifier of faces. Subclasses implement `logits`.

    input_size: in pixels; larger images are cropped to their centre. equalise: equalise the histogram of the crop.
    Members that differ in these two make different mistakes, which helps an ensemble.
    """

    any_size: ClassVar[bool] = False  # whether the network also takes smaller images
    name: str = ""  # the key in `NETWORKS`
    # With a crowd head: the mean shares (7,) of the votes for each expression in the train images.
    crowd_prior: tuple[float, ...] | None = None

    def __init__(self, *, input_size: int = 48, equalise: bool = False) -> None:
        super().__init__()
        self.input_size, self.equalise = input_size, equalise

    @property
    def last_layer(self) -> nn.Linear:
        """The layer that computes the logits."""
        return [layer for layer in self.modules() if isinstance(layer, nn.Linear)][-1]

    @property
    def crowd(self) -> bool:
        """Whether the network has a crowd head, for the votes of FER+."""
        return self.last_layer.out_features > len(EMOTIONS)

    @torch.no_grad()
    def set_crowd(self, *, crowd: bool) -> None:
        """Add a newly initialised crowd head, or remove it. The labels head keeps its weights."""
        if crowd == self.crowd:
            return
        layer, labels = self.last_layer, len(EMOTIONS)
        fresh = nn.Linear(layer.in_features, labels + len(VOTES) * crowd)
        fresh.weight[:labels], fresh.bias[:labels] = layer.weight[:labels], layer.bias[:labels]
        layer.out_features, layer.weight, layer.bias = fresh.out_features, fresh.weight, fresh.bias

    def forward(self, images: Tensor) -> Tensor:
        """Turn images (N, 1, S, S), uint8 or float in 0..255, into logits (N, 7), with a crowd head (N, 17)."""
        pixels = centre_crop(images, self.input_size)
        return self.logits(normalise(equalise(pixels) if self.equalise else pixels))

    @abstractmethod
    def logits(self, pixels: Tensor) -> Tensor:
        """Turn normalised pixels (N, 1, S, S) with S <= input_size into logits (N, 7), with a crowd head (N, 17)."""

    def take_weights(self, other: Network) -> None:
        """Copy the weights of `other`. Raises RuntimeError if they do not fit."""
        self.load_state_dict(other.state_dict())

    @torch.no_grad()
    def learn_statistics(self, images: Tensor) -> None:
        """Compute fixed weights or statistics from train images, uint8 (N, 1, 48, 48), once before training.

        Most networks need nothing.
        """


def centre_crop(images: Tensor, size: int) -> Tensor:
    """Return the middle `size` x `size` pixels of images (N, 1, S, S). Smaller images stay unchanged."""
    margin = max(images.shape[-1] - size, 0) // 2
    return images[..., margin : margin + size, margin : margin + size]


def equalise(images: Tensor) -> Tensor:
    """Equalise the histogram of each image (Gonzalez & Woods, Digital Image Processing, 3.3).

    images: (N, 1, S, S) in 0..255, uint8 or float, which is rounded. Each pixel becomes 255 times the share of the
    image's pixels that are no brighter. This removes differences of light and contrast. Returns float32.
    """
    levels = images.round().clamp(0, 255).long().flatten(1) if images.is_floating_point() else images.long().flatten(1)
    nothing = levels.float() * 0  # not torch.zeros, as emotify refuses a file that makes tensors of any size
    counts = nothing[:, :256].scatter_add(1, levels, nothing + 1)
    curve = counts.cumsum(1) * (255 / levels.shape[1])
    return curve.gather(1, levels).view(images.shape)


def normalise(images: Tensor) -> Tensor:
    """Scale pixels of 0..255 to about -2..2; FER-2013's mean is 129 and its standard deviation 65."""
    return (images.float() - 128) / 64


def classifier_head(features: int, dropout: float) -> nn.Sequential:
    """Return layers that average features (N, C, H, W) over H and W, and map them to logits (N, 7)."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(features, len(EMOTIONS)))


def count_parameters(network: nn.Module) -> int:
    """Return the number of weights, including fixed ones."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_macs(network: Network) -> int:
    """Return the multiply-accumulates of all convolutions and linear layers for one 48x48 image."""
    total = 0

    def add(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        total += output[0].numel() * layer.weight[0].numel()

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    was_training = network.training
    device = next(network.parameters()).device
    with torch.no_grad():
        network.eval()(torch.zeros(1, 1, 48, 48, device=device))
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    return total
