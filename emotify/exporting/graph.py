"""The exported network: all members, pooling, temperature and views in one module."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emotify.ensembling.pooling import CrowdPooling, Pooling
from emotify.evaluation.classifier import VIEWS, View
from emotify.networks import Network
from emotify.networks.heads import CROWD_EXPRESSIONS, LABELS
from emotify.networks.inference import fused


class ExportedClassifier(nn.Module):
    """A classifier from images uint8 (N, 1, 48, 48) to probabilities float32 (N, 7).

    With `crowd` it returns two tensors, first the crowd's. No tensor has an axis of members before the axis of images,
    because some clients take the first axis for the batch.
    """

    shift: Tensor  # (7,), added to the crowd's log-probabilities

    def __init__(
        self, members: Sequence[Network], pooling: Pooling, *, crowd: CrowdPooling | None = None, views: str = "one"
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(fused(_fresh(member)) for member in members)
        self.pooling, self.crowd, self.views = pooling, crowd, VIEWS[views]
        self.register_buffer("shift", torch.tensor(() if crowd is None else crowd.shift))

    def has_gelu(self) -> bool:
        return any(isinstance(module, nn.GELU) for module in self.modules())

    def write_out_gelu(self) -> None:
        """Replace GELU by its formula, in the order that onnxruntime fuses. As one operator GELU needs opset 20."""
        for module in self.modules():
            for name, child in module.named_children():
                if isinstance(child, nn.GELU):
                    setattr(module, name, _Gelu())

    @property
    def outputs(self) -> list[str]:
        """The names of the outputs."""
        return ["probabilities"] if self.crowd is None else ["probabilities", "labels"]

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        pixels = images.float()
        views = torch.cat([_show(pixels, view) for view in self.views]) if len(self.views) > 1 else pixels
        logits = [member(views) for member in self.members]
        labels = self._logarithms(logits, LABELS, self.pooling).softmax(1)
        if self.crowd is None:
            return labels
        crowd = self._logarithms(logits, CROWD_EXPRESSIONS, self.crowd.pooling)
        return (crowd + self.shift if self.crowd.prior_power else crowd).softmax(1), labels

    def _logarithms(self, logits: Sequence[Tensor], head: slice, pooling: Pooling) -> Tensor:
        """Return pooled log-probabilities (N, 7) of one head, each row up to a constant.

        logits: of each member, (N * views, 7 or 17).
        """
        logarithms = _pool(logits, head, pooling)
        if len(self.views) > 1:
            logarithms = logarithms.unflatten(0, (len(self.views), -1)).mean(0)
        return logarithms / pooling.temperature


def _pool(logits: Sequence[Tensor], head: slice, pooling: Pooling) -> Tensor:
    """Return pooled log-probabilities (N, 7), each row up to a constant, of the members with a weight above 0."""
    used = [(each[:, head], weight) for each, weight in zip(logits, pooling.weights, strict=True) if weight]
    weights = [weight for _, weight in used]
    if not pooling.linear:
        return _weighted_sum([each for each, _ in used], weights)
    mean = _weighted_sum([each.softmax(1) for each, _ in used], weights)
    return mean.clamp_min(torch.finfo(torch.float32).tiny).log()


class _Gelu(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return (values * 0.5) * (torch.erf(values / math.sqrt(2)) + 1)


def _weighted_sum(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return the weighted sum of the tensors."""
    if len(tensors) == 1:
        return tensors[0]
    total = tensors[0] * weights[0]
    for tensor, weight in zip(tensors[1:], weights[1:], strict=True):
        total = total + tensor * weight
    return total


def _show(pixels: Tensor, view: View) -> Tensor:
    """Return a view of pixels (N, 1, 48, 48), shifted with repeated edges and mirrored."""
    if view.down or view.right:
        height, width = pixels.shape[2:]
        padded = F.pad(pixels, (1, 1, 1, 1), mode="replicate")
        pixels = padded[:, :, 1 + view.down : 1 + view.down + height, 1 + view.right : 1 + view.right + width]
    return pixels.flip(-1) if view.mirrored else pixels


def _fresh(network: Network) -> Network:
    """Return a copy on the CPU in the contiguous layout, so that the graph does not depend on earlier computations."""
    return copy.deepcopy(network).to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
