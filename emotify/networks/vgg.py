"""`vgg`: convolutions without shortcuts, which make other mistakes than residual networks; for a GPU."""

from __future__ import annotations

from torch import Tensor, nn

from emotify.emotions import EMOTIONS
from emotify.networks.layers import conv_bn_relu
from emotify.networks.network import Network


class Vgg(Network):
    """Four stages of 64, 128, 256 and 512 channels, each with two or three 3x3 convolutions, max pooling and dropout.

    Simonyan & Zisserman 2015, arXiv:1409.1556, with batch normalisation and two linear layers on the last 3x3 features.
    """

    def __init__(self, *, equalise: bool = False) -> None:
        super().__init__(equalise=equalise)
        self.features = nn.Sequential()
        before = 1
        for width, convolutions in ((64, 2), (128, 2), (256, 3), (512, 3)):
            for _ in range(convolutions):
                self.features.append(conv_bn_relu(before, width))
                before = width
            self.features.extend([nn.MaxPool2d(2), nn.Dropout(0.1)])
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(before * 3 * 3, 512, bias=False),
            nn.BatchNorm1d(512),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(512, len(EMOTIONS)),
        )

    def logits(self, pixels: Tensor) -> Tensor:
        return self.head(self.features(pixels))
