"""Choose device, precision, memory layout and threads of a training where the options leave them open."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import sysconfig
from pathlib import Path

import torch

from emotify.choices import Precision
from emotify.errors import UnavailableError
from emotify.machine import available_cpus, check_device_name
from emotify.training.autotune import WORTH_STEPS, fastest
from emotify.training.config import TrainConfig
from emotify.training.distributed import device_of_process, torchrun_world

WORTH_COMPILING = 5000  # steps on a GPU; with fewer, compiling (half a minute per image size) costs more than it saves


def resolve(config: TrainConfig, *, steps: int = 0) -> TrainConfig:
    """Return `config` with every `auto` and 0 replaced. Raises UnavailableError if the device is missing.

    steps: of the whole training. A long training on a CPU first times precisions and layouts; on a GPU it is compiled.
    """
    device = pick_device(config.device)
    on_gpu = device.startswith("cuda")
    compiling = config.compile
    if compiling == "auto":
        compiling = "on" if on_gpu and steps >= WORTH_COMPILING and can_compile(device) else "off"
    config = dataclasses.replace(
        config,
        device=device,
        threads=config.threads or available_cpus(),
        compile=compiling,
    )
    if not on_gpu:
        # torch reads it at its first allocation. On Linux it gives 2 MB pages, which cause fewer page faults than 4 KB.
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    precisions: list[Precision] = ["bf16", "fp32"] if _has_native_bf16(device) else ["fp32"]
    if not on_gpu and steps >= WORTH_STEPS:
        torch.set_num_threads(config.threads)
        return fastest(config, precisions=precisions)
    precision = config.precision if config.precision != "auto" else precisions[0]
    layout = config.layout if config.layout != "auto" else "channels_last"
    return dataclasses.replace(config, precision=precision, layout=layout)


def pick_device(device: str) -> str:
    """Return `device`, or for `auto` the best one. Raises UsageError, or UnavailableError if the device is missing."""
    check_device_name(device)
    if device == "auto":
        return "cuda" if torch.cuda.is_available() and _has_kernels("cuda") else "cpu"
    if device == "cpu":
        return device
    if not torch.cuda.is_available():
        msg = f"--device {device}: this torch ({torch.__version__}) finds no GPU that it can use; take --device cpu"
        raise UnavailableError(msg)
    index = device.partition(":")[2] or "0"
    if int(index) >= torch.cuda.device_count():
        msg = f"--device {device}: this computer has {torch.cuda.device_count()} GPUs; count them from cuda:0"
        raise UnavailableError(msg)
    if not _has_kernels(device):
        name = torch.cuda.get_device_name(device)
        msg = f"--device {device}: this torch ({torch.__version__}) has no kernels for {name}; take --device cpu"
        raise UnavailableError(msg)
    return device


def check_device(config: TrainConfig) -> None:
    """Raise UsageError or UnavailableError if the device is missing, or if --compile on cannot compile for it."""
    device = pick_device(config.device)
    if config.compile == "on" and not can_compile(device):
        wanted = "Triton, a C compiler" if device.startswith("cuda") else "a C++ compiler"
        msg = f"--compile on needs {wanted} and Python's headers (Python.h); install them, or train with --compile off"
        raise UnavailableError(msg)


def describe(device: str) -> str:
    """Return the device's name for the record of a run."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"cpu ({torch.backends.cpu.get_cpu_capability()})"


def can_compile(device: str) -> bool:
    """Return whether torch.compile can work here.

    A GPU needs Triton and a C compiler, a CPU needs a C++ compiler. Both need Python's headers.
    """
    headers = (Path(sysconfig.get_path("include")) / "Python.h").exists()
    if not device.startswith("cuda"):
        compilers = ("cl",) if sys.platform == "win32" else ("g++", "clang++")
        return headers and bool(os.environ.get("CXX") or any(map(shutil.which, compilers)))
    from torch.utils._triton import has_triton

    return has_triton() and headers and bool(os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang"))


def _has_kernels(device: str) -> bool:
    """Return whether this torch is built for the GPU. Other faults of the GPU appear when the training uses it."""
    try:
        (torch.zeros(1, device=device_of_process(device, torchrun_world())) + 1).item()
    except RuntimeError as error:
        return "no kernel image" not in str(error)
    return True


def _has_native_bf16(device: str) -> bool:
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())  # noqa: SLF001
