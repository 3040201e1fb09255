"""Batch normalisation, measured on images as the trained network will see them."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn

from emotify.arrays import UInt8Array
from emotify.networks.inference import autocast

Images = TypeVar("Images", Tensor, UInt8Array)

_MEASURED = 4096  # images, at most, that normalisation is measured on
_BATCH = 256  # about as many of them at once


def some_of(train: Images) -> Images:
    """Return the images that normalisation is measured on, evenly from all: folders come class by class."""
    return train[:: math.ceil(len(train) / _MEASURED)]


@torch.no_grad()
def measure_normalisation(network: nn.Module, images: Tensor, *, precision: str = "fp32") -> None:
    """Give every batch normalisation the mean and variance that these images have there, uint8 (N, 1, 48, 48), N > 1.

    In training they followed images that were turned, relit and half erased, which go through a network otherwise than
    a whole face does (Touvron et al. 2019, arXiv:1906.06423), and weights that have moved on since, which is why
    averaged weights are measured for anew (Izmailov et al. 2018, arXiv:1803.05407). Dropout is off, as it is in use.
    """
    network.eval()
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]
    if not layers:
        return
    before = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean over batches
        layer.train()
    with autocast(images.device, precision):
        for batch in images.tensor_split(math.ceil(len(images) / _BATCH)):
            network(batch)
    network.eval()
    for layer, momentum in zip(layers, before, strict=True):
        layer.momentum = momentum
