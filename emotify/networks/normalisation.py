"""Re-estimate batch-norm statistics on images without augmentation, as the trained network will see them."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn

from emotify.arrays import UInt8Array
from emotify.networks.inference import autocast

Images = TypeVar("Images", Tensor, UInt8Array)

_MEASURED = 4096  # largest number of images for the statistics
_BATCH = 256  # approximate size of a batch


def batch_norm_images(train: Images) -> Images:
    """Return the images for the batch-norm statistics, at regular steps, as class folders are read class by class."""
    return train[:: math.ceil(len(train) / _MEASURED)]


@torch.no_grad()
def estimate_batch_norm(network: nn.Module, images: Tensor, *, precision: str = "fp32") -> None:
    """Set mean and variance of each batch norm from these images, uint8 (N, 1, 48, 48), N > 1.

    The statistics of the training come from augmented images, which have other activations than whole faces (Touvron et
    al. 2019, arXiv:1906.06423). They also come from earlier weights, so averaged weights need new statistics (Izmailov
    et al. 2018, arXiv:1803.05407). Dropout is off, as in inference.
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
