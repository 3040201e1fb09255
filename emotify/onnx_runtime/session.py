"""Start and run onnxruntime sessions for ONNX files, with clear errors for faults of the file or the device."""

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

_SHOWN: Final = 160  # characters of onnxruntime's message
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

LARGEST_MODEL: Final = 512 * 2**20  # bytes
MOST_MEMORY: Final = 2 * 2**30  # bytes for all models on the CPU while they run


def read_model(path: Path, *, hint: str) -> bytes:
    """Return the bytes of a model's file. Raises ModelError, whose message ends in `hint`, if it cannot be read."""
    try:
        with waiting_for("reading", path), path.open("rb") as file:
            content = file.read(LARGEST_MODEL + 1)  # the size of a device or pipe is unknown before
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
    """Start a session for the bytes of a model.

    name: the name of the model in errors. hint: the end of the error for an unsafe model.
    threads: 0 for as many as this process may use.
    device: `cpu`, `cuda`, `cuda:1`, or `auto` for a GPU if onnxruntime can use one.
    optimise: if False, the graph runs operator by operator, and 8-bit operators run in float32: slow but exact.

    Raises ModelError if the model is unsafe or cannot be loaded, UnavailableError if the device is missing, and
    UsageError for an invalid device name.
    """
    may_saturate = check_model(content, name=name, hint=hint)
    ort = import_onnxruntime()

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or available_cpus()
    options.inter_op_num_threads = 1
    # Idle threads must not spin, so that threads that read the next pictures get the CPU.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if may_saturate:  # only files of older versions; exact on every CPU, but slower on CPUs without VNNI
        options.add_session_config_entry("session.x64quantprecision", "1")
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4  # errors are raised, so they need no log
    _limit_memory()
    options.add_session_config_entry("session.use_env_allocators", "1")
    try:
        # Loading from bytes rather than a path ensures that onnxruntime never opens external data of a model.
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
    """Run a session. Raises ModelError if the model fails or exceeds its memory."""
    try:
        return list(session.run(list(outputs), dict(inputs)))
    except MemoryError:
        raise
    except Exception as error:
        msg = f"{printable(name)} cannot be run: {_reason(error)}; get the file again, or use another model"
        raise ModelError(msg) from error


@cache
def _limit_memory() -> None:
    """Share one arena of limited size among all sessions, since a small file can need any amount of memory."""
    ort = import_onnxruntime()

    cpu = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(cpu, ort.OrtArenaCfg(MOST_MEMORY, -1, -1, -1))


def _providers(device: str) -> list[str | tuple[str, dict[str, str]]]:
    """Return onnxruntime's execution providers for a device.

    Raises UsageError for an invalid name, and UnavailableError if the device is missing.
    """
    ort = import_onnxruntime()

    check_device_name(device)
    found = _CUDA in ort.get_available_providers()
    if device == "cpu" or (device == "auto" and not found):
        return [_CPU]
    if not found:
        raise _no_gpu(device)
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # finds CUDA and cuDNN installed by pip, without importing torch
    # No TF32: it has 10 bits of precision instead of 23, so results would differ from those checked at export.
    return [(_CUDA, {"device_id": device.partition(":")[2] or "0", "use_tf32": "0"}), _CPU]


def _without_prints(device: str) -> AbstractContextManager[object]:
    """Redirect onnxruntime-gpu's prints about an unusable CUDA to stderr, since stdout is for results only.

    This redirects the prints of all threads, so it is done only if a GPU may be used.
    """
    ort = import_onnxruntime()

    may_print = device != "cpu" and _CUDA in ort.get_available_providers()
    return redirect_stdout(sys.stderr) if may_print else nullcontext()


def _no_gpu(device: str) -> UnavailableError:
    return UnavailableError(
        f"--device {device}: onnxruntime finds no such GPU; it needs an NVIDIA GPU and, instead of onnxruntime, "
        "pip install onnxruntime-gpu; or use --device cpu"
    )


def _reason(error: Exception) -> str:
    """Return the last part of the first line of onnxruntime's error, without its codes and C++ signatures."""
    line = str(error).partition("\n")[0].rpartition(" : ")[2]
    return printable(line if len(line) <= _SHOWN else f"...{line[-_SHOWN:]}")
