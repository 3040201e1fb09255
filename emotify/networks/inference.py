"""Logits and probabilities of a network for images in memory."""

from __future__ import annotations

import contextlib
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from emotify.arrays import UInt8Array
from emotify.errors import UnavailableError
from emotify.evaluation.classifier import Answers
from emotify.networks.heads import CROWD_EXPRESSIONS, LABELS
from emotify.networks.network import Network

T = TypeVar("T", bound=nn.Module)
_BATCH = 256  # images


def predict_logits(
    network: Network, images: UInt8Array | Tensor, *, device: torch.device, precision: str = "fp32"
) -> Tensor:
    """Return float32 logits (N, 7) or (N, 17) on the CPU, for uint8 images (N, 1, 48, 48) on any device.

    Raises UnavailableError if there is too little memory.
    """
    try:
        network = network.to(device).eval()
        with torch.inference_mode(), autocast(device, precision):
            batches = torch.as_tensor(images).split(_BATCH)
            return torch.cat([network(batch.to(device)).float() for batch in batches]).cpu()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        msg = f"{device} has too little free memory; end other programs that use it, or take another --device"
        raise UnavailableError(msg) from error


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether torch ran out of memory. A GPU's error has its own class; a CPU's error is known by its text."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def predict_answers(network: Network, images: UInt8Array, *, device: torch.device) -> Answers:
    """Return the probabilities of both heads for uint8 images (N, 1, 48, 48), computed in float32."""
    # By default, convolutions on a GPU round to TF32, which has 10 bits of mantissa instead of 23.
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        logits = predict_logits(network, images, device=device)
    crowd = logits[:, CROWD_EXPRESSIONS].softmax(1).numpy() if network.crowd else None
    return Answers(logits[:, LABELS].softmax(1).numpy(), crowd)


def pool_logits(logits: Tensor, weights: Tensor, *, linear: bool) -> Tensor:
    """Return pooled log-probabilities (N, K), normalised only if `linear`, of logits (M, N, K) with weights (M, 1, 1).

    This is `emotify.ensembling.pooling.Pooling` in torch, without its temperature.
    """
    if linear:
        return (weights * logits.softmax(2)).sum(0).clamp_min(torch.finfo(torch.float32).tiny).log()
    return (weights * logits.log_softmax(2)).sum(0)


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Return a context that computes in bfloat16 where torch.autocast allows it, if `precision` is "bf16"."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def set_memory_layout(network: T, layout: str = "channels_last") -> T:
    """Set the memory layout of a network's weights: channels_last is fastest on a GPU, and mostly on a CPU."""
    return network.to(memory_format=memory_format(layout))  # type: ignore[call-overload]


def memory_format(layout: str) -> torch.memory_format:
    """Return the torch.memory_format of `channels_last` or `contiguous`."""
    return torch.channels_last if layout == "channels_last" else torch.contiguous_format


def fused(network: T) -> T:
    """Switch the network to evaluation mode and fold each batch norm into the layer before it, in place."""
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            for place in range(len(module) - 1):
                _fuse_pair(module, place)
    return network


def _fuse_pair(layers: nn.Sequential, place: int) -> None:
    before, after = layers[place], layers[place + 1]
    if isinstance(before, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
        layers[place], layers[place + 1] = fuse_conv_bn_eval(before, after), nn.Identity()
    elif isinstance(before, nn.Linear) and isinstance(after, nn.BatchNorm1d):
        layers[place], layers[place + 1] = fuse_linear_bn_eval(before, after), nn.Identity()
