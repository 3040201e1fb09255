"""`fnn`: a plain feed-forward network as a baseline; it does not know which pixels are neighbours."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from emotify.emotions import EMOTIONS
from emotify.networks.network import Network


class FeedForward(Network):
    """Three fully connected layers, 2304-512-256-7, with batch normalisation and dropout."""

    def __init__(self) -> None:
        super().__init__()
        widths = (48 * 48, 512, 256)
        self.layers = nn.Sequential(nn.Flatten())
        for before, after in pairwise(widths):
            self.layers.extend(
                [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(), nn.Dropout(0.3)]
            )
        self.layers.append(nn.Linear(widths[-1], len(EMOTIONS)))

    def logits(self, pixels: Tensor) -> Tensor:
        return self.layers(pixels)
