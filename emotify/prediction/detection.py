"""Load a face detector: it takes RGB pixels and gives boxes from forehead to chin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from emotify.errors import ModelError
from emotify.files import printable
from emotify.prediction.boxes import Box
from emotify.prediction.runtime import ASSETS, read_model, start_session

__all__ = ["LONGEST_SIDE", "Box", "Detector", "load_detector"]

Detector = Callable[[npt.NDArray[np.uint8]], list[Box]]  # RGB (H, W, 3) -> boxes in its pixels, the surest first

LONGEST_SIDE: Final = 1280  # larger pictures are shrunk to this before faces are sought
_PACKAGED: Final = ASSETS / "faces" / "blazeface_full_range.onnx"


def load_detector(path: Path | None = None, *, threads: int = 0) -> Detector:
    """Load the detector that ships with emotify, or the user's own ONNX file.

    0 threads: as many as this process may use. Raises ModelError when the file is missing, is no ONNX
    model, or has another layout than the one known here.
    """
    from emotify.prediction.blazeface import BlazeFace

    name = printable(path) if path else "the face detector inside emotify"
    content = read_model(path or _PACKAGED, hint="name a face detector with --face-model")
    session = start_session(content, name=name, threads=threads)
    layout = tuple((value.name, *value.shape[1:]) for value in (*session.get_inputs(), *session.get_outputs()))
    if layout != BlazeFace.LAYOUT:
        raise ModelError(f"{name} is no face detector known here; supported is BlazeFace full range (192x192) as ONNX")
    return BlazeFace(session)
