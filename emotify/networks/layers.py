"""Layers that several networks share."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and squeeze-and-excitation, added to the input; a new block is the identity.

    He et al. 2016, arXiv:1512.03385. drop_path: share of images that skip the block in training (stochastic depth,
    Huang et al. 2016, arXiv:1603.09382).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv_bn_relu(channels, channels)
        normalise = nn.BatchNorm2d(channels)
        nn.init.zeros_(normalise.weight)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), normalise)
        self.excitation: SqueezeExcitation | nn.Identity = SqueezeExcitation(channels)
        self.drop_path = 0.0

    def forward(self, features: Tensor) -> Tensor:
        change = self.excitation(self.second(self.first(features)))
        if self.training and self.drop_path:
            kept = torch.rand(len(features), 1, 1, 1, device=features.device) >= self.drop_path
            change = change * (kept / (1 - self.drop_path)).to(change.dtype)
        return nn.functional.relu(features + change)

    @torch.no_grad()
    def fold_excitation(self, factors: Tensor) -> None:
        """Multiply the output channels of the second convolution by `factors` (C,), and remove the gate.

        The batch norm must be folded before.
        """
        convolution = self.second[0]
        assert isinstance(convolution, nn.Conv2d)
        assert convolution.bias is not None
        convolution.weight.mul_(factors[:, None, None, None])
        convolution.bias.mul_(factors)
        self.excitation = nn.Identity()


class SqueezeExcitation(nn.Module):
    """A gate in 0..1 for each channel, from the averages of all channels (Hu et al. 2018, arXiv:1709.01507)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // 8)
        self.excite = nn.Linear(channels // 8, channels)

    def forward(self, features: Tensor) -> Tensor:
        # A sum instead of a mean, with the type of the features instead of autocast's on a GPU: otherwise the gradient
        # has another memory layout than all others, which slows the step.
        averages = features.sum((2, 3), dtype=features.dtype) / (features.shape[2] * features.shape[3])
        weights = self.excite(self.squeeze(averages).relu()).sigmoid()
        return features * weights[:, :, None, None]


def conv_bn_relu(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    """Return a 3x3 convolution, batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


def set_drop_path(network: nn.Module, rate: float) -> None:
    """Set the stochastic depth of all residual blocks, linearly from 0 for the first to `rate` for the last."""
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
    for place, block in enumerate(blocks):
        block.drop_path = rate * place / max(len(blocks) - 1, 1)
