"""Resolve MODEL: a run, an ensemble, an .onnx file, or a model inside the package. No other module does this."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from emotify.errors import ModelError
from emotify.files import printable
from emotify.runs import ENSEMBLE

ASSETS: Final = Path(__file__).with_name("assets")
_PACKAGED: Final = {"default": "model.onnx", "fast": "fast.onnx"}


class Kind(StrEnum):
    """The kinds of models. Each value is the kind's name in error messages."""

    RUN = "a run"
    ENSEMBLE = "an ensemble"
    FILE = "an .onnx file"


ANY: Final = tuple(Kind)


@dataclass(frozen=True)
class Model:
    """A resolved MODEL: its kind and its path."""

    given: str  # as the user named it
    kind: Kind
    path: Path  # a folder, or a file


def resolve(given: str | os.PathLike[str], *, takes: Collection[Kind] = ANY) -> Model:
    """Find the kind and path of a MODEL. A run, ensemble or file wins over a model inside the package.

    takes: the kinds to accept. Raises ModelError, which lists these kinds, for anything else. Does not open .onnx
    files.
    """
    text = os.fspath(given)
    path, packaged = Path(text), packaged_models()
    # Path.exists() raises when a folder is not readable, and os.path.exists() does not.
    if os.path.exists(path / ENSEMBLE):  # noqa: PTH110
        kind = Kind.ENSEMBLE
    elif os.path.exists(path / "run.json"):  # noqa: PTH110
        kind = Kind.RUN
    elif path.suffix.casefold() == ".onnx" or os.path.isfile(path):  # noqa: PTH113
        kind = Kind.FILE
    elif text in packaged:
        kind, path = Kind.FILE, packaged[text]
    else:
        problem = "is not a model" if os.path.exists(path) else "does not exist"  # noqa: PTH110
        if os.path.isdir(path) and any(path.glob("*/run.json")):  # noqa: PTH112
            msg = f"{printable(text)} is a folder of runs; name one of them, or all: {printable(path / '*')}"
            raise ModelError(msg)
        msg = f"{printable(text)} {problem}; name {_listed(takes)}"
        raise ModelError(msg)
    if kind not in takes:
        msg = f"{printable(text)} is {kind}; name {_listed(takes)}"
        raise ModelError(msg)
    return Model(text, kind, path)


def packaged_models() -> dict[str, Path]:
    """Return the models inside the package, as name -> file."""
    files = {name: ASSETS / file for name, file in _PACKAGED.items()}
    return {name: path for name, path in files.items() if path.exists()}


def _listed(takes: Collection[Kind]) -> str:
    """Return what the user can name, in words."""
    packaged = list(packaged_models()) if Kind.FILE in takes else []
    *first, last = [*(str(kind) for kind in Kind if kind in takes), *packaged]
    return f"{', '.join(first)} or {last}" if first else last
