"""What goes into the file: every member, the pooling, the temperature and the views, as one network."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emotify.ensembling.combining import Pooling
from emotify.evaluation.classifier import VIEWS, View
from emotify.models import Network
from emotify.models.inference import fused, pool_logits


class ExportedClassifier(nn.Module):
    """Images uint8 (N, 1, 48, 48) in, probabilities float32 (N, 7) out."""

    weights: Tensor

    def __init__(self, members: Sequence[Network], pooling: Pooling, *, views: str = "one") -> None:
        super().__init__()
        self.members = nn.ModuleList(fused(_fresh(member)) for member in members)
        self.register_buffer("weights", torch.tensor(pooling.weights).reshape(-1, 1, 1))
        self.temperature, self.linear, self.views = pooling.temperature, pooling.linear, VIEWS[views]

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.float()
        views = torch.cat([_show(pixels, view) for view in self.views]) if len(self.views) > 1 else pixels
        logits = torch.stack([member(views) for member in self.members])
        logarithms = pool_logits(logits, self.weights, linear=self.linear)
        if len(self.views) > 1:
            logarithms = logarithms.unflatten(0, (len(self.views), -1)).mean(0)
        return (logarithms / self.temperature).softmax(1)


def _show(pixels: Tensor, view: View) -> Tensor:
    """Return the view of pixels (N, 1, 48, 48), their edges repeated outside."""
    if view.down or view.right:
        height, width = pixels.shape[2:]
        padded = F.pad(pixels, (1, 1, 1, 1), mode="replicate")
        pixels = padded[:, :, 1 + view.down : 1 + view.down + height, 1 + view.right : 1 + view.right + width]
    return pixels.flip(-1) if view.mirrored else pixels


def _fresh(network: Network) -> Network:
    """Return a copy on the CPU in the plain memory layout, so that the graph does not depend on what was run before."""
    return copy.deepcopy(network).to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
