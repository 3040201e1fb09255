"""Load a face detector: it takes RGB pixels and gives boxes from forehead to chin."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from emotify.errors import ModelError
from emotify.files import printable
from emotify.prediction.boxes import Box
from emotify.prediction.session import available_cpus

__all__ = ["LONGEST_SIDE", "Box", "Detector", "load_detector"]

Detector = Callable[[npt.NDArray[np.uint8]], list[Box]]  # RGB (H, W, 3) -> boxes in its pixels, the surest first

LONGEST_SIDE: Final = 1280  # larger pictures are shrunk to this before faces are sought
_LARGEST: Final = 64 * 2**20  # bytes; face detectors have one to ten million


def load_detector(path: Path | None = None, *, threads: int | None = None) -> Detector:
    """Load the detector that ships with emotify, or the user's own ONNX file.

    `threads` defaults to the processors this process may use. Raises ModelError when the file is missing, is no ONNX
    model, or has another layout than the one known here.
    """
    import onnxruntime as ort

    from emotify.prediction.blazeface import BlazeFace

    name = printable(path) if path else "the face detector inside emotify"
    content = _content(path, name)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or available_cpus()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised, and told once
    try:
        # Bytes and not a path: what a model names as data outside itself is then never opened.
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = printable(str(error).partition("\n")[0][:200])
        raise ModelError(f"{name} is not a model that onnxruntime can load: {reason}") from error
    layout = tuple((value.name, *value.shape[1:]) for value in (*session.get_inputs(), *session.get_outputs()))
    if layout != BlazeFace.LAYOUT:
        raise ModelError(f"{name} is no face detector known here; supported is BlazeFace full range (192x192) as ONNX")
    return BlazeFace(session)


def _content(path: Path | None, name: str) -> bytes:
    if path is None:
        return (files("emotify") / "assets" / "faces" / "blazeface_full_range.onnx").read_bytes()
    try:
        if path.stat().st_size > _LARGEST:
            raise ModelError(f"{name} is far larger than a face detector; check --face-model")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {name}: {error.strerror}; check --face-model") from error
