"""Which device, precision and threads a training gets when it is left to choose."""

from __future__ import annotations

import dataclasses
import re

import torch

from emotify.cpus import available_cpus
from emotify.errors import UnavailableError, UsageError
from emotify.training.config import TrainConfig


def resolve(config: TrainConfig) -> TrainConfig:
    """Return `config` with nothing left open. Raises UnavailableError when the device is not there."""
    device = pick_device(config.device)
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if _has_native_bf16(device) else "fp32"
    return dataclasses.replace(config, device=device, precision=precision, threads=config.threads or available_cpus())


def pick_device(device: str) -> str:
    """Return `device`, or the best there is for `auto`. Raises UsageError, UnavailableError when it is not there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return device
    if not re.fullmatch(r"cuda(:\d+)?", device):
        msg = f"--device {device!r}: there are auto, cpu, cuda, cuda:1"
        raise UsageError(msg)
    if not torch.cuda.is_available():
        msg = f"--device {device}: no GPU that this torch ({torch.__version__}) can use; take --device cpu"
        raise UnavailableError(msg)
    index = device.partition(":")[2] or "0"
    if int(index) >= torch.cuda.device_count():
        msg = f"--device {device}: there are {torch.cuda.device_count()} GPUs, counted from cuda:0"
        raise UnavailableError(msg)
    return device


def describe(device: str) -> str:
    """Return the device's name for the record of a run."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"cpu ({torch.backends.cpu.get_cpu_capability()})"


def _has_native_bf16(device: str) -> bool:
    # A rule and not a stopwatch: the same machine must always choose the same, or a seed would not fix the weights.
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())  # noqa: SLF001
