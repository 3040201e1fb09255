"""What goes into the file: every member, the pooling, the temperature and the mirrored view, as one network."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from emotify.ensembling.combining import Pooling
from emotify.models import Network


class ExportedClassifier(nn.Module):
    """Images uint8 (N, 1, 48, 48) in, probabilities float32 (N, 7) out."""

    weights: Tensor

    def __init__(self, members: Sequence[Network], pooling: Pooling, *, mirror: bool) -> None:
        super().__init__()
        self.members = nn.ModuleList(_fused(_fresh(member)) for member in members)
        self.register_buffer("weights", torch.tensor(pooling.weights).reshape(-1, 1, 1))
        self.temperature, self.linear, self.mirror = pooling.temperature, pooling.linear, mirror

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.float()
        views = torch.cat([pixels, pixels.flip(-1)]) if self.mirror else pixels
        logarithms = self._pool(torch.stack([member(views) for member in self.members]))
        if self.mirror:
            logarithms = logarithms.unflatten(0, (2, -1)).mean(0)
        return (logarithms / self.temperature).softmax(1)

    def _pool(self, logits: Tensor) -> Tensor:
        """Return pooled log-probabilities (N, 7) of members' logits (M, N, 7)."""
        if self.linear:
            return (self.weights * logits.softmax(2)).sum(0).clamp_min(1e-12).log()
        return (self.weights * logits.log_softmax(2)).sum(0)


def _fresh(network: Network) -> Network:
    """Return a copy on the CPU in the plain memory layout, so that the graph does not depend on what was run before."""
    return copy.deepcopy(network).to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def _fused(network: nn.Module) -> nn.Module:
    """Return the network in evaluation mode, each batch normalisation folded into the layer before it."""
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            for place in range(len(module) - 1):
                _fuse_pair(module, place)
    return network


def _fuse_pair(layers: nn.Sequential, place: int) -> None:
    before, after = layers[place], layers[place + 1]
    if isinstance(before, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
        layers[place], layers[place + 1] = fuse_conv_bn_eval(before, after), nn.Identity()
    elif isinstance(before, nn.Linear) and isinstance(after, nn.BatchNorm1d):
        layers[place], layers[place + 1] = fuse_linear_bn_eval(before, after), nn.Identity()
