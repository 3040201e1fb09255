"""FER+'s ten annotators an image, as a second opinion on FER-2013's labels."""

from __future__ import annotations

from typing import Final

import numpy as np

from emotify.data.ferplus import VOTES
from emotify.data.types import Int64Array, UInt8Array
from emotify.emotions import emotion_index

# FER+'s columns as classes; -1 for contempt, unknown and NF (not a face), which are none of the seven.
_CLASSES: Final = np.array([-1 if (index := emotion_index(name)) is None else index for name in VOTES])


def crowd_labels(votes: UInt8Array) -> Int64Array:
    """Return the class (0..6) that most annotators of votes (N, 10) chose, or -1 where that is none of the seven.

    -1 too where two columns share the first place. Barsoum et al. 2016, arXiv:1608.01041.
    """
    most = votes.max(1, keepdims=True)
    shared = (votes == most).sum(1) > 1
    return np.where(shared, -1, _CLASSES[votes.argmax(1)]).astype(np.int64)
