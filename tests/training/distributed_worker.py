"""Run emotify under torchrun with one more network, `linear`, without batch norm and dropout."""

from __future__ import annotations

import os
import time

import torch
from torch import Tensor, nn

from emotify.cli import main
from emotify.networks import NETWORKS
from emotify.networks.network import Network


class Linear(Network):
    """One linear layer from pixels to logits."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(48 * 48, 7)
        nn.init.zeros_(self.layer.bias)

    def logits(self, pixels: Tensor) -> Tensor:
        time.sleep(float(os.environ.get("EMOTIFY_TEST_PAUSE", "0")))  # so that a signal comes in between
        logits: Tensor = self.layer(pixels.flatten(1) / 48)
        return logits


if __name__ == "__main__":
    torch.set_num_threads(1)
    NETWORKS["linear"] = Linear
    main()
