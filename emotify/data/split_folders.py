"""Recognize a split by its folder's name: `train`, but also `train_set`, `FER2013Train`, `PublicTest`, `holdout`."""

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
_UNCLEAR: Final = frozenset(("eval", "evaluation"))  # valid in some data sets, test in others
# Words that do not change the meaning of a split's name. `results` or `old` would change it.
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
    """Return name -> split for the split folders among the names of folders side by side.

    An unknown word, as in `mine_train`, is accepted when all split folders have it: it is the data set's name.
    """
    found = {name: meaning for name in names if (meaning := _read(name)) is not None}
    rests = {rest for _, rest in found.values()}
    wanted = rests if len(rests) == 1 and len(found) > 1 else {""}
    return {name: split for name, (split, rest) in found.items() if rest in wanted}


def is_plain(name: str) -> bool:
    """Return whether a name is only the name of a split."""
    return name.casefold() in _PLAIN


def explain_unclear_split(name: str, *, beside_splits: bool) -> str | None:
    """Return why a folder may be a split with an unclear name, or None when it is clearly something else.

    beside_splits: there are split folders beside it, so a name with an extra word, as `test_results`, is no split.
    """
    if _UNCLEAR & set(_words(name)):
        return "may be valid or test; rename it to one of them"
    meaning = _read(name)
    if meaning is not None and not beside_splits:
        return f"may be the {meaning[0]} split, or something else; rename it to {meaning[0]}"
    if nearest := get_close_matches(name.casefold(), _PLAIN, n=1):
        return f"is not train, valid or test; did you mean {nearest[0]}?"
    return None


def _read(name: str) -> tuple[Split, str] | None:
    """Return the split in a name, and the name's unknown words. None without exactly one split."""
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
