"""ONNX files -> onnxruntime sessions, with errors that say what is wrong with the file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from emotify.cpus import available_cpus
from emotify.errors import ModelError
from emotify.files import printable

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

ASSETS: Final = Path(__file__).parent.parent / "assets"
LARGEST_MODEL: Final = 512 * 2**20  # bytes


def read_model(path: Path, *, hint: str) -> bytes:
    """Return the bytes of a model's file. Raises ModelError, ending in `hint`, when it cannot be read."""
    try:
        if path.stat().st_size > LARGEST_MODEL:
            msg = f"{printable(path)} is larger than any model emotify runs ({LARGEST_MODEL >> 20} MiB); {hint}"
            raise ModelError(msg)
        return path.read_bytes()
    except OSError as error:
        msg = f"cannot read the model {printable(path)}: {error.strerror}; {hint}"
        raise ModelError(msg) from error


def start_session(content: bytes, *, name: str, threads: int = 0) -> InferenceSession:
    """Start a session on the CPU; 0 threads: as many as this process may use. Raises ModelError."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or available_cpus()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised, and told once
    try:
        # Bytes and not a path: what a model names as data outside itself is then never opened.
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = printable(str(error).partition("\n")[0][:200])
        msg = f"{printable(name)} is not a model that onnxruntime can load: {reason}"
        raise ModelError(msg) from error
