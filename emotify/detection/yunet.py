"""The face detector YuNet of OpenCV's model zoo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from emotify.detection.boxes import Boxes
from emotify.detection.user_detector import Floats, Outputs, UserDetector, exponential, three_points

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


class YuNet(UserDetector):
    """YuNet of 2023 and later (Wu et al. 2023, doi:10.1007/s11633-023-1423-y).

    Input and outputs are as in OpenCV's FaceDetectorYN:
    https://github.com/opencv/opencv/blob/4.x/modules/objdetect/src/face_detect.cpp. The input is BGR, 0 to 255. The
    score is the geometric mean of class and objectness. OpenCV Zoo's file takes 640x640 pixels, and the file of 2026
    takes any multiple of 32.
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
            halves = exponential(boxes[sure, 2:4]) * stride / 2
            faces = np.column_stack([centres - halves, centres + halves, scores[sure]])
            if self._has_points:
                offsets = self._output(outputs, "kps", stride, 10)[sure].reshape(-1, 5, 2)
                faces = np.hstack([faces, three_points((cells[:, None] + offsets) * stride)])
            found.append(faces)
        return np.concatenate(found)

    def _output(self, outputs: list[Floats], kind: str, stride: int, size: int) -> npt.NDArray[np.float64]:
        return outputs[self._places[f"{kind}_{stride}"]].reshape(-1, size).astype(np.float64)
