"""Values that the shell completes for options. Nothing here loads torch; Typer completes choices itself."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

import emotify
from emotify.opening import packaged_models
from emotify.runs import RUNS, STATE, ensembles, exports, finished_runs

_NETWORKS: Final = "NETWORKS"  # the table's name in emotify/networks/__init__.py


def network_names() -> list[str]:
    """Return the names of the networks, parsed from the source of their table: importing it would load torch."""
    source = (Path(emotify.__file__).parent / "networks" / "__init__.py").read_text(encoding="utf-8")
    tables = [
        node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == _NETWORKS
    ]
    keys = [key for table in tables if isinstance(table, ast.Dict) for key in table.keys]
    return [str(key.value) for key in keys if isinstance(key, ast.Constant)]


def file_models() -> list[str]:
    """Return the built-in models and the exported files in runs/."""
    return [*packaged_models(), *map(str, exports(RUNS))]


def any_models() -> list[str]:
    """Return all values of MODEL: built-in models, ensembles, finished runs and exported files."""
    return [*packaged_models(), *map(str, [*ensembles(RUNS), *finished_runs(RUNS), *exports(RUNS)])]


def runs() -> list[str]:
    """Return the finished runs in runs/."""
    return list(map(str, finished_runs(RUNS)))


def trained() -> list[str]:
    """Return the ensembles and finished runs in runs/."""
    return list(map(str, [*ensembles(RUNS), *finished_runs(RUNS)]))


def unfinished_runs() -> list[str]:
    """Return the runs in runs/ that can be resumed."""
    return sorted(str(state.parent) for state in RUNS.glob(f"*/{STATE}"))


def completing(values: Callable[[], list[str]]) -> Callable[[str], list[str]]:
    """Return a completion function for Typer: the values with the typed prefix; without any, the shell offers files."""

    def complete(incomplete: str) -> list[str]:
        return [value for value in values() if value.startswith(incomplete)]

    return complete


Offers: TypeAlias = Mapping[str, Callable[[str], list[str]]]
NO_OFFERS: Final[Offers] = MappingProxyType({})
TRAIN_OFFERS: Final[Offers] = {  # by the fields of TrainConfig
    "model": completing(network_names),
    "distill": completing(any_models),
    "start_from": completing(any_models),
    "device": completing(lambda: ["auto", "cpu", "cuda"]),
}
PREDICT_OFFERS: Final[Offers] = {"model": completing(file_models)}  # by the fields of PredictSettings
