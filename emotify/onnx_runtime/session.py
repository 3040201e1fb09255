"""ONNX files -> onnxruntime sessions, with errors that say what is wrong with the file or the device."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy.typing as npt

from emotify.errors import ModelError, UnavailableError, UsageError
from emotify.files import printable
from emotify.machine import available_cpus, check_device_name
from emotify.onnx_runtime.importing import import_onnxruntime
from emotify.onnx_runtime.safety import check_model
from emotify.waiting import waiting_for

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_SHOWN: Final = 160  # characters of what onnxruntime says
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

LARGEST_MODEL: Final = 512 * 2**20  # bytes
MOST_MEMORY: Final = 2 * 2**30  # bytes, of all models on the CPU while they run


def read_model(path: Path, *, hint: str) -> bytes:
    """Return the bytes of a model's file. Raises ModelError, ending in `hint`, when it cannot be read."""
    try:
        with waiting_for("reading", path), path.open("rb") as file:
            content = file.read(LARGEST_MODEL + 1)  # of a device or a pipe nobody knows the size before
    except OSError as error:
        msg = f"cannot read the model {printable(path)}: {error.strerror}; {hint}"
        raise ModelError(msg) from error
    if len(content) > LARGEST_MODEL:
        msg = f"{printable(path)} is larger than any model emotify runs ({LARGEST_MODEL >> 20} MiB); {hint}"
        raise ModelError(msg)
    return content


def start_session(
    content: bytes, *, name: str, hint: str, threads: int = 0, device: str = "cpu", optimise: bool = True
) -> InferenceSession:
    """Start a session; 0 threads: as many as this process may use.

    optimise: without it the graph is computed operator by operator, 8 bits by way of float32, which is slow and exact.
    device: `cpu`, `cuda`, `cuda:1`, or `auto` for a GPU where onnxruntime has one. Raises ModelError when the model is
    unsafe, which ends in `hint`, or cannot be loaded, UnavailableError when the device is not there.
    """
    may_saturate = check_model(content, name=name, hint=hint)
    ort = import_onnxruntime()

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or available_cpus()
    options.inter_op_num_threads = 1
    # Threads that have nothing to compute leave the CPU to those that read the next pictures.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if may_saturate:  # files of older versions; exact on every CPU, and slower on those that would not be
        options.add_session_config_entry("session.x64quantprecision", "1")
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4  # what goes wrong is raised, and told once
    _limit_memory()
    options.add_session_config_entry("session.use_env_allocators", "1")
    try:
        # Bytes and not a path: what a model names as data outside itself is then never opened.
        with _without_prints(device):
            session = ort.InferenceSession(content, options, providers=_providers(device))
    except (UsageError, UnavailableError, MemoryError):
        raise
    except Exception as error:
        msg = f"{printable(name)} is not a model that onnxruntime can load: {_reason(error)}"
        raise ModelError(msg) from error
    if device.startswith("cuda") and session.get_providers()[0] != _CUDA:
        raise _no_gpu(device)
    return session


def run_model(
    session: InferenceSession, outputs: Sequence[str], inputs: Mapping[str, npt.NDArray[Any]], *, name: str
) -> list[npt.NDArray[Any]]:
    """Run a session. Raises ModelError when the model cannot be computed, or not in the memory that it may use."""
    try:
        return list(session.run(list(outputs), dict(inputs)))
    except MemoryError:
        raise
    except Exception as error:
        msg = f"{printable(name)} cannot be run: {_reason(error)}; get the file again, or take another model"
        raise ModelError(msg) from error


@cache
def _limit_memory() -> None:
    """Give all sessions of this process one arena: a small file can ask for any amount of memory as it runs."""
    ort = import_onnxruntime()

    cpu = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(cpu, ort.OrtArenaCfg(MOST_MEMORY, -1, -1, -1))


def _providers(device: str) -> list[str | tuple[str, dict[str, str]]]:
    """Return what onnxruntime shall compute with. Raises UsageError, UnavailableError when it cannot."""
    ort = import_onnxruntime()

    check_device_name(device)
    found = _CUDA in ort.get_available_providers()
    if device == "cpu" or (device == "auto" and not found):
        return [_CPU]
    if not found:
        raise _no_gpu(device)
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # CUDA and cuDNN as pip installs them are found by this alone, or by importing torch
    # Not in TF32, which has 10 bits where float32 has 23: the file would not answer as it was proved to.
    return [(_CUDA, {"device_id": device.partition(":")[2] or "0", "use_tf32": "0"}), _CPU]


def _without_prints(device: str) -> AbstractContextManager[object]:
    """Send to stderr what onnxruntime-gpu prints where CUDA cannot be used: stdout has results alone.

    All threads' prints, so only where a GPU may be taken: what reads pictures in threads starts on the CPU.
    """
    ort = import_onnxruntime()

    may_print = device != "cpu" and _CUDA in ort.get_available_providers()
    return redirect_stdout(sys.stderr) if may_print else nullcontext()


def _no_gpu(device: str) -> UnavailableError:
    return UnavailableError(
        f"--device {device}: onnxruntime finds no such GPU here; it needs an NVIDIA GPU and, in place of onnxruntime, "
        "pip install onnxruntime-gpu; or take --device cpu"
    )


def _reason(error: Exception) -> str:
    """Return what onnxruntime says is wrong: the end of its line, after its own codes and signatures in C++."""
    line = str(error).partition("\n")[0].rpartition(" : ")[2]
    return printable(line if len(line) <= _SHOWN else f"...{line[-_SHOWN:]}")
