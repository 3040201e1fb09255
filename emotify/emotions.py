"""The seven expressions, their order, the spellings that mean them, and the numbers that data sets give them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

# FER-2013's classes 0..6. Everything that holds seven numbers holds them in this order.
EMOTIONS: Final = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")

_WORDS: Final = {
    "angry": ("anger", "angry"),
    "disgust": ("disgust", "disgusted"),
    "fear": ("fear", "fearful", "afraid", "scared"),
    "happy": ("happy", "happiness"),
    "sad": ("sad", "sadness"),
    "surprise": ("surprise", "surprised"),
    "neutral": ("neutral", "neutrality"),
}
_CODES: Final = {"angry": ("an",), "disgust": ("di",), "fear": ("fe", "af"), "happy": ("ha", "joy"), "sad": ("sa",),
                 "surprise": ("su",), "neutral": ("ne",)}  # fmt: skip
_UNMISTAKABLE: Final = {word: EMOTIONS.index(emotion) for emotion, words in _WORDS.items() for word in words}
_INDEX: Final = _UNMISTAKABLE | {code: EMOTIONS.index(emotion) for emotion, codes in _CODES.items() for code in codes}

# Classes of other data sets that are none of the seven.
_OTHERS: Final = {
    **dict.fromkeys(("contempt", "contemptuous"), "contempt"),
    **{name: name for name in ("none", "uncertain", "unknown")},
    **dict.fromkeys(("no-face", "noface", "no_face", "non-face", "nf"), "no-face"),
}

FER2013: Final = "fer2013"
# What the numbers of a data set mean. They are told apart by nothing that the numbers themselves say.
CLASS_ORDERS: Final[Mapping[str, Mapping[int, str]]] = {
    FER2013: dict(enumerate(EMOTIONS)),
    "affectnet": dict(
        enumerate(
            (
                *("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt"),
                *("none", "uncertain", "no-face"),
            )
        )
    ),
    "rafdb": dict(enumerate(("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"), 1)),
    "ferplus": dict(enumerate(("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt"))),
    "ckplus": dict(enumerate(("neutral", "angry", "contempt", "disgust", "fear", "happy", "sad", "surprise"))),
    "alphabetical": dict(enumerate(sorted(EMOTIONS))),
}


def emotion_index(name: str) -> int | None:
    """Return the class (0..6) that a word or a code such as `AN` means, or None.

    Case and surrounding white space do not matter, and an ordering prefix such as `0_angry` or `3-happy` is ignored.
    """
    return _INDEX.get(_word(name))


def unmistakable_index(name: str) -> int | None:
    """Return the class (0..6) that a word means which is hardly anything else: no code, and no `joy`, a given name."""
    return _UNMISTAKABLE.get(_word(name))


def class_number(name: str) -> int | None:
    """Return the number that the name of a class is, or None; years and dates are no such numbers."""
    name = name.strip()
    return int(name) if len(name) <= 2 and name.isascii() and name.isdigit() else None


def class_name(name: str) -> str | None:
    """Return the expression that a word means, or the class of other data sets (`contempt`, `unknown`), or None."""
    index = emotion_index(name)
    return _OTHERS.get(_word(name)) if index is None else EMOTIONS[index]


def suggest_emotion(name: str) -> str | None:
    """Return the expression whose spelling is nearest to `name`, or None when none is near."""
    from difflib import get_close_matches

    near = get_close_matches(name.strip().casefold(), _INDEX, n=1, cutoff=0.6)
    return EMOTIONS[_INDEX[near[0]]] if near else None


def parse_class_order(text: str) -> Mapping[int, str]:
    """Return what numbers mean in an order: the name of one of CLASS_ORDERS, or classes with commas between.

    Classes are counted from 0, or have their numbers: `1=surprise,2=fear`. Raises ValueError.
    """
    name = re.sub(r"[\W_]", "", text.casefold().replace("+", "plus"))
    if name in CLASS_ORDERS:
        return CLASS_ORDERS[name]
    order: dict[int, str] = {}
    for place, item in enumerate(text.split(",")):
        number, equals, word = item.rpartition("=")
        key = class_number(number) if equals else place
        meaning = class_name(word)
        if key is None or meaning is None or key in order or "," not in text:
            msg = (
                f"{text[:80]!r} is no order of classes; there are {', '.join(CLASS_ORDERS)}, and lists as "
                "neutral,happy,sad or 1=surprise,2=fear"
            )
            raise ValueError(msg)
        order[key] = meaning
    return order


def describe_order(order: Mapping[int, str], numbers: Collection[int] | None = None) -> str:
    """Return `0 angry, 1 disgust` for an order, or for some of its numbers."""
    return ", ".join(f"{number} {order[number]}" for number in sorted(order if numbers is None else numbers))


def doubt_numbers(numbers: Collection[int]) -> str | None:
    """Say what numbers of classes are, that they cannot be taken for FER-2013's; None where they can.

    Those of FER-2013 are 0 to 6. Numbers that begin at 1 are more likely another data set's.
    """
    if max(numbers) < len(EMOTIONS) and (0 in numbers or 1 not in numbers):
        return None
    smallest, largest = min(numbers), max(numbers)
    together = len(numbers) == largest - smallest + 1 > 2
    found = f"{smallest} to {largest}" if together else ", ".join(map(str, sorted(numbers)))
    if smallest == 0 or largest > max(CLASS_ORDERS["rafdb"]):
        return (
            f"the numbers {found}, which go beyond FER-2013's 0 to 6; AffectNet, FER+ and CK+ have more, each in an "
            "order of its own: name it with --class-order affectnet, ferplus or ckplus"
        )
    return (
        f"the numbers {found}, which do not begin at 0 as FER-2013's do; RAF-DB counts from 1 "
        f"({describe_order(CLASS_ORDERS['rafdb'])}): if these are RAF-DB's, add --class-order rafdb"
    )


def _word(name: str) -> str:
    return name.strip().casefold().lstrip("0123456789").lstrip("_-. ")
