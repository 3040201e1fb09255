"""The face detector Ultra-Light-Fast-Generic-Face-Detector-1MB."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from emotify.detection.boxes import Boxes
from emotify.detection.user_detector import Floats, Outputs, UserDetector, exponential

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


class UltraLight(UserDetector):
    """Ultra-Light-Fast-Generic-Face-Detector-1MB, RFB or slim, of 320x240 or 640x480.

    Input and outputs are as in detect_imgs_onnx.py of
    https://github.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB. The input is (RGB - 127) / 128, with the
    picture stretched to the input's shape. The outputs are corners as fractions of width and height. Files "without
    postprocessing" give boxes relative to priors instead, with variances 0.1 and 0.2. The priors are those of
    caffe/ultra_face_opencvdnn_inference.py in that repository.
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
        if (boxes[:, 2:] <= boxes[:, :2]).any():  # impossible for corners, so the boxes are relative to priors
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
        halves = exponential(boxes[:, 2:] * 0.2) * priors[:, 2:] / 2
        return np.hstack([centres - halves, centres + halves])
