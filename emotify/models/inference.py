"""A network's answers for images in memory."""

from __future__ import annotations

import contextlib

import numpy as np
import torch
from torch import Tensor

from emotify.data.types import Float32Array, UInt8Array
from emotify.models.network import Network


def predict_logits(
    network: Network, images: UInt8Array, *, device: torch.device, precision: str = "fp32", batch_size: int = 256
) -> Tensor:
    """Return float32 logits (N, 7), on the CPU, of uint8 images (N, 1, 48, 48)."""
    network = place(network, device).eval()
    with torch.inference_mode(), autocast(device, precision):
        batches = torch.from_numpy(images).split(batch_size)
        return torch.cat([network(batch.to(device)).float() for batch in batches]).cpu()


def predict_probabilities(network: Network, images: UInt8Array, *, device: torch.device) -> Float32Array:
    """Return float32 probabilities (N, 7) of uint8 images (N, 1, 48, 48), computed in float32."""
    # Convolutions on a GPU would otherwise round to TF32, which has 10 bits where float32 has 23.
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        return np.asarray(predict_logits(network, images, device=device).softmax(1).numpy())


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Return the context in which matrix work runs at `precision`."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def place(network: Network, device: torch.device) -> Network:
    """Move a network to `device`, its convolutions laid out channels-last, which is fastest on CPU and GPU alike."""
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
