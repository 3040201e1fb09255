"""`small`: a student for distillation, with a quarter of the multiply-accumulates of `cnn`."""

from __future__ import annotations

from torch import Tensor, nn

from emotify.networks.layers import ResidualBlock, conv_bn_relu
from emotify.networks.network import Network, classifier_head


class Small(Network):
    """A strided 3x3 stem, then strided stages of 64 and 128 channels; a student for distillation."""

    any_size = True

    def __init__(self, *, equalise: bool = False) -> None:
        super().__init__(input_size=44, equalise=equalise)
        self.features = nn.Sequential(
            conv_bn_relu(1, 28, stride=2),
            conv_bn_relu(28, 64, stride=2),
            ResidualBlock(64),
            conv_bn_relu(64, 128, stride=2),
            ResidualBlock(128),
            ResidualBlock(128),
        )
        self.head = classifier_head(128, dropout=0.2)

    def logits(self, pixels: Tensor) -> Tensor:
        return self.head(self.features(pixels))
