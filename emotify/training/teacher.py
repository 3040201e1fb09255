"""A run or an ensemble to learn from, on the device that trains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emotify.ensembling.combining import Pooling
from emotify.ensembling.members import open_ensemble
from emotify.files import file_sha256
from emotify.models import Network
from emotify.models.inference import fused, place, pool_logits
from emotify.runs import CHECKPOINT
from emotify.training.classifier import NetworkClassifier, open_run


class Teacher(nn.Module):
    """Finished networks, pooled as their ensemble pools them, but for its temperature."""

    weights: Tensor

    def __init__(self, members: Sequence[Network], pooling: Pooling, *, sha256: str) -> None:
        super().__init__()
        self.members = nn.ModuleList(place(fused(member)) for member in members)
        self.linear, self.sha256 = pooling.linear, sha256
        self.register_buffer("weights", torch.tensor(pooling.weights).view(-1, 1, 1), persistent=False)
        self.eval().requires_grad_(requires_grad=False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return log-probabilities (N, 7), not normalised, of images (N, 1, S, S) in 0..255."""
        answers = torch.stack([member(images).float() for member in self.members])
        return pool_logits(answers, self.weights, linear=self.linear)


def open_teacher(path: Path, *, device: torch.device) -> Teacher:
    """Open the run or the ensemble at `path`. Raises ModelError when it is neither, or not finished."""
    described = path / "ensemble.json"
    if not described.exists():
        network = open_run(path, device="cpu").network
        return Teacher([network], Pooling((1.0,), 1.0), sha256=file_sha256(path / CHECKPOINT)).to(device)
    ensemble = open_ensemble(path, lambda run: open_run(run, device="cpu"))
    networks = [member.network for member in ensemble.members if isinstance(member, NetworkClassifier)]
    return Teacher(networks, ensemble.pooling, sha256=file_sha256(described)).to(device)


def distillation_loss(logits: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """Return the mean KL divergence of the student from the teacher, both at `temperature`, times its square.

    logits and teacher: (N, 7), the teacher's up to a constant a row. Hinton et al. 2015, arXiv:1503.02531; that both
    see the same view: Beyer et al. 2022, arXiv:2106.05237.
    """
    student, target = (logits / temperature).log_softmax(1), (teacher / temperature).log_softmax(1)
    return F.kl_div(student, target, log_target=True, reduction="batchmean") * temperature**2
