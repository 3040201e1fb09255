"""A finished run as a classifier."""

from __future__ import annotations

import shlex
from pathlib import Path

import torch

from emotify.arrays import UInt8Array
from emotify.errors import ModelError
from emotify.evaluation.classifier import Answers
from emotify.files import printable
from emotify.networks import Network
from emotify.networks.inference import predict_answers, set_memory_layout
from emotify.runs import CHECKPOINT, read_run
from emotify.training.checkpoint import load_checkpoint
from emotify.training.device import pick_device


class NetworkClassifier:
    """A network on a device, with the name of its run."""

    def __init__(self, name: str, network: Network, *, device: torch.device) -> None:
        self.name, self.network, self._device = name, set_memory_layout(network), device

    def answers(self, images: UInt8Array) -> Answers:
        """Return the probabilities of both heads for uint8 images (N, 1, 48, 48)."""
        return predict_answers(self.network, images, device=self._device)


def open_run(folder: Path, *, device: str = "auto") -> NetworkClassifier:
    """Open a finished run. Raises ModelError, or UnavailableError if the device is missing."""
    if not read_run(folder).finished:
        resume = shlex.join(["emotify", "train", "--resume", printable(folder)])
        msg = f"{printable(folder)} has not finished; resume it with: {resume}"
        raise ModelError(msg)
    network, _ = load_checkpoint(folder / CHECKPOINT)
    return NetworkClassifier(folder.resolve().name, network, device=torch.device(pick_device(device)))
