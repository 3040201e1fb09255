"""The face detector CenterFace."""

from __future__ import annotations

import numpy as np

from emotify.detection.boxes import Boxes
from emotify.detection.user_detector import Floats, Outputs, UserDetector, exponential, three_points


class CenterFace(UserDetector):
    """CenterFace (Xu et al. 2019, arXiv:1911.03599).

    Input and outputs are as in https://github.com/Star-Clouds/CenterFace/blob/master/prj-python/centerface.py. The
    input is RGB, 0 to 255. The outputs are maps with a stride of 4 pixels: a heat map of centres, the logarithms of
    height and width, the offset (y, x) of the centre from the cell's centre, and the offsets (y, x) of the landmarks
    from the box's corner, as fractions of its height and width.
    """

    name = "CenterFace"
    known_by = "maps of 1, 2, 2 and 10 channels"
    surest_from = 0.35
    side = 800

    @classmethod
    def knows(cls, outputs: Outputs) -> bool:
        channels = [shape[1] for _, shape in outputs if len(shape) == 4]
        return len(channels) == len(outputs) and channels in ([1, 2, 2, 10], [1, 2, 2])

    def _decode(self, outputs: list[Floats], width: int, height: int) -> Boxes:  # noqa: ARG002 - the maps have the size
        heat, sizes, offsets = (output[0].astype(np.float64) for output in outputs[:3])
        rows, columns = np.nonzero(heat[0] >= self.surest_from)
        down, across = offsets[:, rows, columns] + 0.5
        centres = np.column_stack([columns + across, rows + down]) * 4
        halves = exponential(sizes[::-1, rows, columns].T) * 2
        faces = np.column_stack([centres - halves, centres + halves, heat[0, rows, columns]])
        if len(outputs) < 4:
            return faces
        landmarks = outputs[3][0].astype(np.float64)[:, rows, columns].T.reshape(-1, 5, 2)[..., ::-1]
        points = (centres - halves)[:, None] + landmarks * (2 * halves)[:, None]
        return np.hstack([faces, three_points(points)])
