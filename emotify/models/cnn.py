"""`cnn`: a residual net with squeeze-and-excitation, small enough to be trained on a CPU."""

from __future__ import annotations

from torch import Tensor, nn

from emotify.models.layers import ResidualBlock, conv_bn_relu
from emotify.models.network import Network, classifier_head


class Cnn(Network):
    """A 3x3 stem without stride, then stages of 48, 96 and 192 channels, each entered by a strided convolution."""

    any_size = True

    def __init__(self, *, equalise: bool = False) -> None:
        super().__init__(input_size=44, equalise=equalise)
        self.features = nn.Sequential(
            conv_bn_relu(1, 32),
            conv_bn_relu(32, 48, stride=2),
            ResidualBlock(48),
            conv_bn_relu(48, 96, stride=2),
            ResidualBlock(96),
            ResidualBlock(96),
            conv_bn_relu(96, 192, stride=2),
            ResidualBlock(192),
            ResidualBlock(192),
        )
        self.head = classifier_head(192, dropout=0.3)

    def logits(self, pixels: Tensor) -> Tensor:
        return self.head(self.features(pixels))
