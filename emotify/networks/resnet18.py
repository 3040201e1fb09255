"""`resnet18`: a residual network of 18 layers with squeeze-and-excitation, at full resolution; for a GPU."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from emotify.networks.layers import ResidualBlock, conv_bn_relu
from emotify.networks.network import Network, classifier_head


class ResNet18(Network):
    """A stem without stride, then stages of 64, 128, 256 and 512 channels, strided, with squeeze-and-excitation.

    He et al. 2016, arXiv:1512.03385, in the form for small images. The last three stages begin with a strided
    convolution.
    """

    any_size = True

    def __init__(self, *, input_size: int = 48, equalise: bool = False) -> None:
        super().__init__(input_size=input_size, equalise=equalise)
        widths = (64, 128, 256, 512)
        self.features = nn.Sequential(conv_bn_relu(1, widths[0]), ResidualBlock(widths[0]), ResidualBlock(widths[0]))
        for before, after in pairwise(widths):
            self.features.extend([conv_bn_relu(before, after, stride=2), ResidualBlock(after)])
        self.features.append(ResidualBlock(widths[-1]))
        self.head = classifier_head(widths[-1], dropout=0.3)

    def logits(self, pixels: Tensor) -> Tensor:
        return self.head(self.features(pixels))
