"""`whitened`: a shallow wide network with a fixed stem that decorrelates patches, like airbench."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emotify.networks.network import Network, centre_crop, classifier_head, normalise

PATCH = 3  # side in pixels of the patches that the stem decorrelates


class Whitened(Network):
    """A stem of fixed whitening filters, then three stages of 128, 256 and 384 channels with GELU and max pooling.

    After Jordan 2024, arXiv:2404.00498 (airbench). The stem's filters are the eigenvectors of the covariance of train
    patches, each scaled to unit variance, and the negatives of these filters. They are not trained.
    """

    any_size = True

    def __init__(self, *, input_size: int = 48) -> None:
        super().__init__(input_size=input_size)
        self.whiten = nn.Conv2d(1, 2 * PATCH**2, PATCH, padding=PATCH // 2, bias=False).requires_grad_(
            requires_grad=False
        )
        self.features = nn.Sequential(
            nn.GELU(), nn.Conv2d(2 * PATCH**2, 64, 1), nn.GELU(), stage(64, 128), stage(128, 256), stage(256, 384)
        )
        self.head = classifier_head(384, dropout=0.3)

    def logits(self, pixels: Tensor) -> Tensor:
        return self.head(self.features(self.whiten(pixels)))

    @torch.no_grad()
    def learn_statistics(self, images: Tensor) -> None:
        pixels = normalise(centre_crop(images[:1000], self.input_size))
        patches = pixels.unfold(2, PATCH, 1).unfold(3, PATCH, 1).reshape(-1, PATCH**2).double()
        values, vectors = torch.linalg.eigh(torch.cov(patches.T))
        filters = (vectors / (values + 1e-2).sqrt()).T.reshape(PATCH**2, 1, PATCH, PATCH)
        self.whiten.weight.copy_(torch.cat([filters, -filters]))


def stage(channels_in: int, channels_out: int) -> nn.Sequential:
    """Return two 3x3 convolutions with batch norm and GELU, and 2x2 max pooling after the first convolution."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(channels_out),
        nn.GELU(),
        nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.GELU(),
    )
