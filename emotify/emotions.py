"""The seven expressions, their order, and the spellings that mean them."""

from __future__ import annotations

from typing import Final

# FER-2013's classes 0..6. Everything that holds seven numbers holds them in this order.
EMOTIONS: Final = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")

_SPELLINGS: Final = {
    "angry": ("anger", "angry", "an"),
    "disgust": ("disgust", "disgusted", "di"),
    "fear": ("fear", "fearful", "afraid", "scared", "fe"),
    "happy": ("happy", "happiness", "joy", "ha"),
    "sad": ("sad", "sadness", "sa"),
    "surprise": ("surprise", "surprised", "su"),
    "neutral": ("neutral", "neutrality", "ne"),
}
_INDEX: Final = {
    spelling: EMOTIONS.index(emotion) for emotion, spellings in _SPELLINGS.items() for spelling in spellings
}


def emotion_index(name: str) -> int | None:
    """Return the class (0..6) that `name` means, or None.

    Case and surrounding white space do not matter. Digits 0..6 mean FER-2013's classes, and an ordering prefix
    such as `0_angry` or `3-happy` is ignored.
    """
    name = name.strip().casefold()
    if len(name) == 1 and name in "0123456":
        return int(name)
    return _INDEX.get(name.lstrip("0123456789").lstrip("_-. "))


def suggest_emotion(name: str) -> str | None:
    """Return the expression whose spelling is nearest to `name`, or None when none is near."""
    from difflib import get_close_matches

    near = get_close_matches(name.strip().casefold(), _INDEX, n=1, cutoff=0.6)
    return EMOTIONS[_INDEX[near[0]]] if near else None
