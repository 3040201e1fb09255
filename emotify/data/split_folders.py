"""Which split a folder's name means: `train`, and also `train_set`, `FER2013Train`, `PublicTest` or `holdout`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from emotify.choices import Split

_PLAIN: Final = {
    **dict.fromkeys(("train", "training"), Split.TRAIN),
    **dict.fromkeys(("valid", "val", "validation", "publictest"), Split.VALID),
    **dict.fromkeys(("test", "testing", "privatetest"), Split.TEST),
}
_WORDS: Final = _PLAIN | {"dev": Split.VALID, "holdout": Split.TEST}
_UNCLEAR: Final = frozenset(("eval", "evaluation"))  # valid to some, test to others
# What may stand beside the name of a split without making it another thing, as `results` or `old` would.
_FILLERS: Final = (
    *(
        "set",
        "sets",
        "data",
        "dataset",
        "images",
        "image",
        "imgs",
        "img",
        "pictures",
        "pics",
        "photos",
        "faces",
        "face",
    ),
    *("split", "splits", "folder", "subset", "part", "aligned", "cropped", "crops", "resized", "gray", "grey"),
    *("fer", "ferplus", "raf", "rafdb", "db", "affectnet", "ck", "ckplus", "jaffe", "kdef", "expw"),
    *("emotion", "emotions", "expression", "expressions", "facial"),
)
_ENDINGS: Final = ("dataset", "sets", "set", "data", "images", "imgs", "split")  # as in `trainset`


def split_folders(names: Iterable[str]) -> dict[str, Split]:
    """Return the split of each of the names, of folders side by side, that is the name of one.

    A word that is not understood, as in `mine_train`, is accepted where all of them have it: it is the data set's name.
    """
    found = {name: meaning for name in names if (meaning := _read(name)) is not None}
    rests = {rest for _, rest in found.values()}
    wanted = rests if len(rests) == 1 and len(found) > 1 else {""}
    return {name: split for name, (split, rest) in found.items() if rest in wanted}


def is_plain(name: str) -> bool:
    """Whether a name says nothing but the split."""
    return name.casefold() in _PLAIN


def doubt_split(name: str, *, beside_splits: bool) -> str | None:
    """Say what a folder's name, which is that of no split, may have been meant for; None where it is something else.

    beside_splits: others beside it are splits, so that a further word tells another thing: `test_results`.
    """
    if _UNCLEAR & set(_words(name)):
        return "may be valid or test; rename it to one of them"
    meaning = _read(name)
    if meaning is not None and not beside_splits:
        return f"may be the {meaning[0]} split, or something else; rename it to {meaning[0]}"
    if nearest := get_close_matches(name.casefold(), _PLAIN, n=1):
        return f"is none of train, valid and test; did you mean {nearest[0]}?"
    return None


def _read(name: str) -> tuple[Split, str] | None:
    """Return the split that a name means, and what else is in it."""
    words = _words(name)
    meant = {_WORDS[word] for word in words if word in _WORDS}
    if len(meant) != 1:
        return None
    return meant.pop(), " ".join(word for word in words if word not in _WORDS and word not in _FILLERS)


def _words(name: str) -> list[str]:
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)  # FER2013Train has a number between
    words = [_without_ending(word) for word in re.findall(r"[^\W\d_]+", apart.casefold())]
    joined = " ".join(words)
    for parts in ("public test", "private test", "hold out"):
        joined = joined.replace(parts, parts.replace(" ", ""))
    return joined.split()


def _without_ending(word: str) -> str:
    return next((stem for ending in _ENDINGS if (stem := word.removesuffix(ending)) in _WORDS), word)
