"""The seven expressions: their order, their spellings, and their numbers in known data sets."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

# FER-2013's classes 0..6. Every array of seven classes has this order.
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

# Classes of other data sets that are not among the seven.
_OTHERS: Final = {
    **dict.fromkeys(("contempt", "contemptuous"), "contempt"),
    **{name: name for name in ("none", "uncertain", "unknown")},
    **dict.fromkeys(("no-face", "noface", "no_face", "non-face", "nf"), "no-face"),
}

FER2013: Final = "fer2013"
# The class of each number in a data set. The numbers alone do not show which data set they belong to.
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
    """Return the class (0..6) of a word or of a code such as `AN`, or None when it is unknown.

    Ignores case, surrounding white space, and a number before the word, as in `0_angry` or `3-happy`.
    """
    return _INDEX.get(_word(name))


def unambiguous_index(name: str) -> int | None:
    """Return the class (0..6) of an unambiguous word, or None. Codes are ambiguous, and so is `joy`, a given name."""
    return _UNMISTAKABLE.get(_word(name))


def class_number(name: str) -> int | None:
    """Return the name of a class as a number, or None. A class number has one or two digits, unlike a year."""
    name = name.strip()
    return int(name) if len(name) <= 2 and name.isascii() and name.isdigit() else None


def class_name(name: str) -> str | None:
    """Return the expression of a word, or a class of other data sets (`contempt`, `unknown`), or None."""
    index = emotion_index(name)
    return _OTHERS.get(_word(name)) if index is None else EMOTIONS[index]


def suggest_emotion(name: str) -> str | None:
    """Return the expression with the spelling closest to `name`, or None when no spelling is close."""
    from difflib import get_close_matches

    near = get_close_matches(name.strip().casefold(), _INDEX, n=1, cutoff=0.6)
    return EMOTIONS[_INDEX[near[0]]] if near else None


def parse_class_order(text: str) -> Mapping[int, str]:
    """Return the class of each number. `text` is a name in CLASS_ORDERS, or a list of classes with commas.

    A list counts from 0, unless it gives the numbers: `1=surprise,2=fear`. Raises ValueError for any other text.
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
                f"{text[:80]!r} is not a class order; choose from {', '.join(CLASS_ORDERS)}, or write a list such as "
                "neutral,happy,sad or 1=surprise,2=fear"
            )
            raise ValueError(msg)
        order[key] = meaning
    return order


def describe_order(order: Mapping[int, str], numbers: Collection[int] | None = None) -> str:
    """Return an order as text, such as `0 angry, 1 disgust`. With `numbers`, list only these numbers."""
    return ", ".join(f"{number} {order[number]}" for number in sorted(order if numbers is None else numbers))


def explain_ambiguous_numbers(numbers: Collection[int]) -> str | None:
    """Return why class numbers are probably not FER-2013's, or None when they can be.

    FER-2013's numbers are 0 to 6. Numbers that start at 1 more likely belong to another data set.
    """
    if max(numbers) < len(EMOTIONS) and (0 in numbers or 1 not in numbers):
        return None
    smallest, largest = min(numbers), max(numbers)
    together = len(numbers) == largest - smallest + 1 > 2
    found = f"{smallest} to {largest}" if together else ", ".join(map(str, sorted(numbers)))
    if smallest == 0 or largest > max(CLASS_ORDERS["rafdb"]):
        return (
            f"the numbers {found}, but FER-2013 has only 0 to 6; AffectNet, FER+ and CK+ have more classes, each in "
            "its own order: add --class-order affectnet, ferplus or ckplus"
        )
    return (
        f"the numbers {found}, but FER-2013's start at 0; RAF-DB counts from 1 "
        f"({describe_order(CLASS_ORDERS['rafdb'])}): if this is RAF-DB, add --class-order rafdb"
    )


def _word(name: str) -> str:
    return name.strip().casefold().lstrip("0123456789").lstrip("_-. ")
