"""`cnn`: a residual network with squeeze-and-excitation, small enough for training on a CPU."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from emotify.networks.layers import ResidualBlock, conv_bn_relu
from emotify.networks.network import Network, classifier_head

_WIDTHS = (32, 48, 96, 192)  # channels of the stem and of each stage


class Cnn(Network):
    """A 3x3 stem without stride, then stages of 48, 96 and 192 channels, each with a strided convolution first."""

    any_size = True
    blocks: ClassVar[tuple[int, ...]] = (1, 2, 2)  # residual blocks per stage

    def __init__(self, *, equalise: bool = False) -> None:
        super().__init__(input_size=44, equalise=equalise)
        self.features = nn.Sequential(conv_bn_relu(1, _WIDTHS[0]))
        for (before, after), count in zip(pairwise(_WIDTHS), self.blocks, strict=True):
            self.features.append(conv_bn_relu(before, after, stride=2))
            self.features.extend(ResidualBlock(after) for _ in range(count))
        self.head = classifier_head(_WIDTHS[-1], dropout=0.3)

    def logits(self, pixels: Tensor) -> Tensor:
        return self.head(self.features(pixels))

    def take_weights(self, other: Network) -> None:
        """Take the weights of a network with at most as many blocks in each stage; further blocks start as identity."""
        if not isinstance(other, Cnn):
            msg = "the other network has other layers"
            raise RuntimeError(msg)  # noqa: TRY004 - as other weights that do not fit
        own, theirs = _by_place(self.features), _by_place(other.features)
        if more := len(theirs.keys() - own.keys()):
            msg = f"the other network has {more} blocks too many"
            raise RuntimeError(msg)
        for place, layer in theirs.items():
            own[place].load_state_dict(layer.state_dict())
        self.head.load_state_dict(other.head.state_dict())


def _by_place(features: nn.Sequential) -> dict[tuple[int, int], nn.Module]:
    """Return the layers by stage and by index in the stage, both from 0."""
    layers: dict[tuple[int, int], nn.Module] = {}
    stage, place = -1, 0
    for layer in features:
        stage, place = (stage, place + 1) if isinstance(layer, ResidualBlock) else (stage + 1, 0)
        layers[stage, place] = layer
    return layers
