"""Teachers for distillation: a run, an ensemble or an exported file."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emotify.ensembling.ensemble import open_ensemble
from emotify.ensembling.pooling import Pooling
from emotify.files import file_sha256
from emotify.networks import Network
from emotify.networks.heads import CROWD, LABELS
from emotify.networks.inference import fused, pool_logits, set_memory_layout
from emotify.onnx_runtime.classifier import open_session
from emotify.onnx_runtime.importing import import_onnxruntime
from emotify.opening import Kind, resolve
from emotify.runs import CHECKPOINT, ENSEMBLE
from emotify.training.classifier import NetworkClassifier, open_run


class NetworkTeacher(nn.Module):
    """Finished networks on the device of the training, pooled as their ensemble pools them, without its temperature."""

    weights: Tensor  # (M, 1, 1)
    crowd_weights: Tensor  # (C, 1, 1), of the C members with a crowd head

    def __init__(
        self, members: Sequence[Network], pooling: Pooling, crowd: Pooling | None = None, *, sha256: str
    ) -> None:
        """`crowd` pools the crowd heads; without it, they are used if all members have one, with the same weights."""
        super().__init__()
        self.members = nn.ModuleList(set_memory_layout(fused(member)) for member in members)
        self.linear, self.sha256 = pooling.linear, sha256
        heads = [member.crowd for member in members]
        crowd = crowd or (pooling if all(heads) else None)
        self.crowd = crowd is not None
        crowd_weights = [] if crowd is None else list(itertools.compress(crowd.weights, heads))
        self.register_buffer("weights", torch.tensor(pooling.weights).view(-1, 1, 1), persistent=False)
        self.register_buffer("crowd_weights", torch.tensor(crowd_weights).view(-1, 1, 1), persistent=False)
        self.eval().requires_grad_(requires_grad=False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return unnormalised log-probabilities (N, 7), with both heads (N, 17), of images (N, 1, S, S) in 0..255."""
        answers = [member(images).float() for member in self.members]
        labels = torch.stack([answer[:, LABELS] for answer in answers])
        pooled = pool_logits(labels, self.weights, linear=self.linear)
        if not self.crowd:
            return pooled
        crowds = torch.stack([answer[:, CROWD] for answer in answers if answer.shape[1] > LABELS.stop])
        return torch.cat([pooled, pool_logits(crowds, self.crowd_weights, linear=self.linear)], dim=1)


class FileTeacher:
    """The labels head of an exported .onnx file, without its temperature. onnxruntime always runs it on the CPU.

    threads: CPU threads; 0 uses all that this process may use.
    """

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        self._session = open_session(path, threads=threads)
        self._temperature = self._session.temperature
        self.sha256 = file_sha256(path)

    def __call__(self, images: Tensor) -> Tensor:
        """Return unnormalised log-probabilities (N, 7) of images (N, 1, 48, 48) in 0..255, which are rounded."""
        pixels = images.round().clamp(0, 255).to("cpu", torch.uint8).contiguous()
        answers = torch.from_numpy(self._session.answers(pixels.numpy()).labels)
        return answers.to(images.device).clamp_min(1e-12).log() * self._temperature


Teacher: TypeAlias = NetworkTeacher | FileTeacher


def runtime_version() -> str:
    """Return the version of onnxruntime."""
    return str(import_onnxruntime().__version__)


def open_teacher(given: str | Path, *, device: torch.device, threads: int = 0) -> Teacher:
    """Open a run, an ensemble, an .onnx file or a built-in model as a teacher.

    Raises ModelError if it is none of these, or an unfinished run.
    """
    model = resolve(given)
    path = model.path
    if model.kind is Kind.FILE:
        return FileTeacher(path, threads=threads)
    if model.kind is Kind.RUN:
        network = open_run(path, device="cpu").network
        return NetworkTeacher([network], Pooling((1.0,), 1.0), sha256=file_sha256(path / CHECKPOINT)).to(device)
    ensemble = open_ensemble(path, lambda run: open_run(run, device="cpu"))
    networks = [member.network for member in ensemble.members if isinstance(member, NetworkClassifier)]
    digest = file_sha256(path / ENSEMBLE)
    return NetworkTeacher(networks, ensemble.pooling, ensemble.crowd_pooling, sha256=digest).to(device)


def distillation_loss(logits: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """Return the mean KL divergence from teacher to student, both at `temperature`, times temperature squared.

    logits and teacher: (N, 7); a constant added to a row of the teacher changes nothing. Hinton et al. 2015,
    arXiv:1503.02531. Teacher and student see the same augmented images: Beyer et al. 2022, arXiv:2106.05237.
    """
    student, target = (logits / temperature).log_softmax(1), (teacher / temperature).log_softmax(1)
    return F.kl_div(student, target, log_target=True, reduction="batchmean") * temperature**2
