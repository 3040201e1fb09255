"""What every network shares: pixels in, logits out, and the first steps that know what pixels are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from emotify.data.ferplus import VOTES
from emotify.emotions import EMOTIONS


class Network(nn.Module, ABC):
    """A classifier of faces. Subclasses implement `logits`.

    input_size: pixels; larger images are cropped to their centre. equalise: spread the grey levels of what is left.
    Two members that differ in these make other mistakes, which is what an ensemble lives on.
    """

    any_size: ClassVar[bool] = False  # whether smaller images do as well
    name: str = ""  # in the table of networks
    # Of a network with a crowd head: the mean shares (7,) of the expressions' votes for the images it was trained on.
    crowd_prior: tuple[float, ...] | None = None

    def __init__(self, *, input_size: int = 48, equalise: bool = False) -> None:
        super().__init__()
        self.input_size, self.equalise = input_size, equalise

    @property
    def last_layer(self) -> nn.Linear:
        """The layer that gives the logits."""
        return [layer for layer in self.modules() if isinstance(layer, nn.Linear)][-1]

    @property
    def crowd(self) -> bool:
        """Whether there is a second head, for the votes of FER+."""
        return self.last_layer.out_features > len(EMOTIONS)

    @torch.no_grad()
    def set_crowd(self, *, crowd: bool) -> None:
        """Add a freshly initialised crowd head, or remove it; the head of the labels keeps its weights."""
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
        """Answer as `other` does from now on. Raises RuntimeError when its weights do not fit."""
        self.load_state_dict(other.state_dict())

    @torch.no_grad()
    def learn_statistics(self, images: Tensor) -> None:
        """Set what is computed from train images, uint8 (N, 1, 48, 48), once and before any step. Most need nothing."""


def centre_crop(images: Tensor, size: int) -> Tensor:
    """Cut the middle `size` x `size` out of images (N, 1, S, S); smaller images stay whole."""
    margin = max(images.shape[-1] - size, 0) // 2
    return images[..., margin : margin + size, margin : margin + size]


def equalise(images: Tensor) -> Tensor:
    """Replace every pixel of 0..255 by 255 times the share of its image's pixels that are no brighter.

    images: (N, 1, S, S), uint8 or float, which is rounded. Returns float32. Light and contrast of a picture are gone
    after it, whatever they were: histogram equalisation, Gonzalez & Woods, Digital Image Processing, 3.3.
    """
    levels = images.round().clamp(0, 255).long().flatten(1) if images.is_floating_point() else images.long().flatten(1)
    nothing = levels.float() * 0  # and not torch.zeros: a file that makes tensors of any size is not run
    counts = nothing[:, :256].scatter_add(1, levels, nothing + 1)
    curve = counts.cumsum(1) * (255 / levels.shape[1])
    return curve.gather(1, levels).view(images.shape)


def normalise(images: Tensor) -> Tensor:
    """Scale pixels of 0..255 to about -2..2; FER-2013's mean is 129 and its standard deviation 65."""
    return (images.float() - 128) / 64


def classifier_head(features: int, dropout: float) -> nn.Sequential:
    """Average features (N, C, H, W) over the picture and map them to logits (N, 7)."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(features, len(EMOTIONS)))


def count_parameters(network: nn.Module) -> int:
    """Return the number of weights, fixed ones too."""
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
    device = next(network.parameters()).device
    with torch.no_grad():
        network.eval()(torch.zeros(1, 1, 48, 48, device=device))
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    return total
