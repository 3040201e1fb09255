"""The heads of a network: the slices of its logits.

The labels head has seven logits, for FER-2013's label. The crowd head has ten more, for the votes of FER+'s
annotators: seven expressions in the order of EMOTIONS, then contempt, unknown and not-a-face.
"""

from __future__ import annotations

from typing import Final

from emotify.data.ferplus import VOTES
from emotify.emotions import EMOTIONS

LABELS: Final = slice(0, len(EMOTIONS))
CROWD: Final = slice(LABELS.stop, LABELS.stop + len(VOTES))
CROWD_EXPRESSIONS: Final = slice(CROWD.start, CROWD.start + len(EMOTIONS))
