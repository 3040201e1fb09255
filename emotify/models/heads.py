"""The heads of a network: which of its outputs answer which question.

The first seven logits say what FER-2013's label is. With a crowd head ten more say how FER+'s annotators vote, one for
each column of its votes.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor

from emotify.data.ferplus import EXPRESSION_COLUMNS, VOTES
from emotify.emotions import EMOTIONS

LABELS: Final = slice(0, len(EMOTIONS))
CROWD: Final = slice(len(EMOTIONS), len(EMOTIONS) + len(VOTES))


def crowd_expressions(logits: Tensor) -> Tensor:
    """Return the crowd's logits (N, 7) in the order of EMOTIONS, of a network's logits (N, 17).

    Contempt, unknown and not-a-face are left out: a softmax of what is left gives the shares of the other votes.
    """
    return logits[:, CROWD][:, list(EXPRESSION_COLUMNS)]
