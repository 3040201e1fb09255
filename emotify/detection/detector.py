"""Load a face detector, which takes RGB pixels and returns boxes from forehead to chin."""

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

Detector = Callable[
    [npt.NDArray[np.uint8]], list[Box]
]  # uint8 RGB (H, W, 3) -> boxes in pixels, the highest score first

PACKAGED: Final = ASSETS / "faces" / "blazeface_full_range.onnx"
_ENOUGH: Final = 24  # side in pixels that is large enough to detect a face


@dataclass(frozen=True, kw_only=True)
class Search:
    """The settings of face detection."""

    min_face: int = 16  # side of the smallest face, in pixels of the picture
    max_side: int = 1280  # the picture is shrunk so that its longer side has at most this many pixels

    def shrink(self, width: int, height: int) -> float:
        """Return the factor, at most 1, by which a picture is resized for detection.

        The picture is shrunk to `max_side`, and further if `min_face` is larger than detection needs.
        """
        return min(1.0, self.max_side / max(width, height), _ENOUGH / self.min_face)

    @property
    def enough_side(self) -> int:
        """The longer side, in pixels, at which pictures are read: twice the side for detection.

        So crops of small faces have enough pixels.
        """
        return 2 * max(self.max_side, Search.max_side)


DEFAULT_SEARCH: Final = Search()
_HINT: Final = "give a face detector with --face-model"


def load_detector(path: Path | None = None, *, threads: int = 0) -> Detector:
    """Load the detector of the package, or the user's own ONNX file.

    The network is identified by its outputs: BlazeFace full range, YuNet, CenterFace or Ultra-Light. threads: 0 for as
    many as this process may use. Raises ModelError if the file is missing, unsafe, or none of these networks.
    """
    from emotify.detection.blazeface import BlazeFace
    from emotify.detection.centerface import CenterFace
    from emotify.detection.ultralight import UltraLight
    from emotify.detection.user_detector import UserDetector, allow_any_size, has_placeholder_size
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
            if has_placeholder_size(network, session.get_inputs()[0].shape):
                session = start_session(allow_any_size(content), name=name, hint=_HINT, threads=threads)
            return network(session)
    named = " or ".join(f"{network.name} ({network.known_by})" for network in known)
    msg = f"{name} is not a supported face detector: its outputs are {_in_words(outputs)}; use BlazeFace full range "
    raise ModelError(f"{msg}(boxes 2304x16, scores 2304x1), {named}")


def _takes_pictures(session: InferenceSession) -> bool:
    inputs = [(value.type, len(value.shape), value.shape[1:2]) for value in session.get_inputs()]
    return inputs == [("tensor(float)", 4, [3])]


def _in_words(outputs: Sequence[tuple[str, Sequence[int | str | None]]]) -> str:
    shown = [f"{name} {'x'.join(str(length) for length in shape) or 'single'}" for name, shape in outputs[:12]]
    more = f" and {len(outputs) - 12} more" if len(outputs) > 12 else ""
    return printable(", ".join(shown)[:400]) + more
