"""`cnn`: a residual net with squeeze-and-excitation, small enough to be trained on a CPU."""

from __future__ import annotations

from torch import Tensor, nn

from emotify.models.network import Network, classifier_head


class Cnn(Network):
    """A 3x3 stem at 44x44, then stages of 48, 96 and 192 channels, each entered by a strided convolution.

    Residual blocks: He et al. 2016, arXiv:1512.03385; squeeze-and-excitation: Hu et al. 2018, arXiv:1709.01507.
    """

    input_size = 44
    any_size = True

    def __init__(self) -> None:
        super().__init__()
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


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions whose result, weighted by channel, is added to the input; it starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv_bn_relu(channels, channels)
        normalise = nn.BatchNorm2d(channels)
        nn.init.zeros_(normalise.weight)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), normalise)
        self.excitation = SqueezeExcitation(channels)

    def forward(self, features: Tensor) -> Tensor:
        return nn.functional.relu(features + self.excitation(self.second(self.first(features))))


class SqueezeExcitation(nn.Module):
    """Weigh each channel by a number in 0..1 that all channels' averages decide."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction)
        self.excite = nn.Linear(channels // reduction, channels)

    def forward(self, features: Tensor) -> Tensor:
        weights = self.excite(self.squeeze(features.mean((2, 3))).relu()).sigmoid()
        return features * weights[:, :, None, None]


def conv_bn_relu(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    """Return a 3x3 convolution, batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )
