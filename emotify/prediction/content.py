"""Pictures in memory that are predicted under a name: standard input, frames of a clip, files from an address."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from emotify.pictures.reading import Failure


class Content(NamedTuple):
    """A picture in memory, such as bytes or a frame, with the path that its result gets."""

    path: Path
    content: bytes | npt.NDArray[np.uint8] | Failure  # a Failure where the picture or frame could not be read
    time: float | None = None  # of a frame: seconds since the start of the clip
