"""What goes into the file: every member, the pooling, the temperature and the mirrored view, as one network."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from emotify.models import Network
from emotify.models.inference import fused


class ExportedClassifier(nn.Module):
    """Images uint8 (N, 1, 48, 48) in, probabilities float32 (N, 7) out."""

    def __init__(self, members: Sequence[Network], *, temperature: float, mirror: bool) -> None:
        super().__init__()
        self.members = nn.ModuleList(fused(_fresh(member)) for member in members)
        self.temperature, self.mirror = temperature, mirror

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.float()
        views = torch.cat([pixels, pixels.flip(-1)]) if self.mirror else pixels
        logarithms = torch.stack([member(views).log_softmax(1) for member in self.members]).mean(0)
        if self.mirror:
            logarithms = logarithms.unflatten(0, (2, -1)).mean(0)
        return (logarithms / self.temperature).softmax(1)


def _fresh(network: Network) -> Network:
    """Return a copy on the CPU in the plain memory layout, so that the graph does not depend on what was run before."""
    return copy.deepcopy(network).to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
