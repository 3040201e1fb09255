"""The heads of a network: which of its logits answer which question.

The first seven say what FER-2013's label is. With a crowd head ten more say how FER+'s annotators vote: seven for the
expressions, in the order of EMOTIONS, and three for contempt, unknown and not-a-face.
"""

from __future__ import annotations

from typing import Final

from emotify.data.ferplus import VOTES
from emotify.emotions import EMOTIONS

LABELS: Final = slice(0, len(EMOTIONS))
CROWD: Final = slice(LABELS.stop, LABELS.stop + len(VOTES))
CROWD_EXPRESSIONS: Final = slice(CROWD.start, CROWD.start + len(EMOTIONS))
