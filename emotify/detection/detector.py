"""Load a face detector: it takes RGB pixels and gives boxes from forehead to chin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from emotify.detection.boxes import Box
from emotify.errors import ModelError
from emotify.files import printable
from emotify.onnx_runtime.session import read_model, start_session
from emotify.opening import ASSETS

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["DEFAULT_SEARCH", "PACKAGED", "Box", "Detector", "Search", "load_detector"]

Detector = Callable[[npt.NDArray[np.uint8]], list[Box]]  # RGB (H, W, 3) -> boxes in its pixels, the surest first

PACKAGED: Final = ASSETS / "faces" / "blazeface_full_range.onnx"
_ENOUGH: Final = 24  # pixels a side, at which a face is found


@dataclass(frozen=True, kw_only=True)
class Search:
    """What faces are sought: how small, in pixels of the picture, and at what longest side the picture is looked at."""

    min_face: int = 16
    max_side: int = 1280

    def shrink(self, width: int, height: int) -> float:
        """Return the factor to shrink a picture of this size by, at most 1: no smaller than its faces allow."""
        return min(1.0, self.max_side / max(width, height), _ENOUGH / self.min_face)

    @property
    def enough_side(self) -> int:
        """Pixels of the longer side at which a picture is read: so even the smallest face is cut from enough of them.

        Twice those that it is looked at.
        """
        return 2 * max(self.max_side, Search.max_side)


DEFAULT_SEARCH: Final = Search()
_HINT: Final = "name a face detector with --face-model"


def load_detector(path: Path | None = None, *, threads: int = 0) -> Detector:
    """Load the detector that ships with emotify, or the user's own ONNX file.

    Which detector a file is, its outputs tell: BlazeFace full range, YuNet, CenterFace and Ultra-Light are known.
    0 threads: as many as this process may use. Raises ModelError when the file is missing, is no ONNX model, or none
    of these.
    """
    from emotify.detection.blazeface import BlazeFace
    from emotify.detection.centerface import CenterFace
    from emotify.detection.ultralight import UltraLight
    from emotify.detection.user_detector import UserDetector, free_size, frees_size
    from emotify.detection.yunet import YuNet

    name = printable(path) if path else "the face detector inside emotify"
    content = read_model(path or PACKAGED, hint=_HINT)
    session = start_session(content, name=name, hint=_HINT, threads=threads)
    if BlazeFace.knows(session):
        return BlazeFace(session)
    outputs = [(value.name, value.shape) for value in session.get_outputs()]
    known: tuple[type[UserDetector], ...] = (YuNet, CenterFace, UltraLight)
    for network in known:
        if network.knows(outputs) and _takes_pictures(session):
            if frees_size(network, session.get_inputs()[0].shape):
                session = start_session(free_size(content), name=name, hint=_HINT, threads=threads)
            return network(session)
    named = "; ".join(f"{network.name} ({network.known_by})" for network in known)
    msg = (
        f"{name} is no face detector known here: its outputs are {_in_words(outputs)}. Known are BlazeFace full range "
    )
    raise ModelError(f"{msg}(boxes 2304x16, scores 2304x1); {named}")


def _takes_pictures(session: InferenceSession) -> bool:
    inputs = [(value.type, len(value.shape), value.shape[1:2]) for value in session.get_inputs()]
    return inputs == [("tensor(float)", 4, [3])]


def _in_words(outputs: Sequence[tuple[str, Sequence[int | str | None]]]) -> str:
    shown = [f"{name} {'x'.join(str(length) for length in shape) or 'single'}" for name, shape in outputs[:12]]
    more = f" and {len(outputs) - 12} more" if len(outputs) > 12 else ""
    return printable(", ".join(shown)[:400]) + more
