"""Run folders and ensemble folders: their content, and lists of them by age."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from emotify.errors import ModelError
from emotify.files import make_folder, printable, read_json, write_json
from emotify.settings import LARGEST_FLOAT

RUNS = Path("runs")
CHECKPOINT = "checkpoint.safetensors"  # the weights, in the folder of a finished run
SYNTHETIC = "synthetic"  # the name of the drawn faces, for --data and in run.json
ENSEMBLE = "ensemble.json"  # in an ensemble folder
STATE = "state.safetensors"  # all that --resume needs, in the folder of an unfinished run


@dataclass(frozen=True)
class Run:
    """The folder of one training. docs/formats.md lists its files; `record` is its run.json."""

    folder: Path
    record: dict[str, Any]

    @property
    def finished(self) -> bool:
        return self.record.get("status") == "finished"


def new_folder(parent: Path, label: str) -> Path:
    """Create and return the folder `parent`/<UTC time>-<label>-<4 random hex digits>. Raises WriteError."""
    time = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder = parent / f"{time}-{label}-{os.urandom(2).hex()}"
    make_folder(folder)
    return folder


def read_run(folder: Path) -> Run:
    """Read a run folder. Raises ModelError when `folder` is not a run."""
    try:
        record = read_json(folder / "run.json")
        json.dumps(record, allow_nan=False)  # NaN could not be written again
    except (OSError, ValueError) as error:
        msg = f"{printable(folder)} is not a run: it has no readable run.json"
        raise ModelError(msg) from error
    if not isinstance(record, dict) or record.get("schema") != 1:
        msg = f"{printable(folder)}: run.json has an unknown format; use the version of emotify that wrote it"
        raise ModelError(msg)
    return Run(folder, record)


def read_whole_run(folder: Path) -> Run:
    """Read a run folder to resume training. Raises ModelError when run.json lacks an entry that resuming needs."""
    run = read_run(folder)
    if wrong := [name for name, fits in _FORM.items() if not fits(run.record.get(name))]:
        msg = f"{printable(folder)}: run.json has no valid {', '.join(wrong)}; restore the file, or train again"
        raise ModelError(msg)
    return run


def _are_texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_FLOAT


# The entries of run.json that resuming needs, and a check of each. Only entries that accept None may be missing.
_FORM: Final[dict[str, Callable[[object], bool]]] = {
    "status": lambda value: isinstance(value, str),
    "versions": _are_texts,
    "data": lambda value: isinstance(value, dict) and _are_texts(value.get("sha256")),
    "wall_seconds": _is_number,
    "processes": lambda value: value is None or (isinstance(value, int) and not isinstance(value, bool)),
    "earlier": lambda value: value is None or isinstance(value, list),
}


def update_record(folder: Path, **changes: object) -> None:
    """Change entries of run.json, or create the file."""
    path = folder / "run.json"
    record = read_json(path) if path.exists() else {"schema": 1}
    write_json(path, {**record, **changes})


def finished_runs(parent: Path) -> list[Path]:
    """Return the folders of finished runs in `parent`, oldest first. Skip folders that are not readable runs."""
    return [folder for folder in _holding(parent, "run.json") if _is_finished(folder)]


def ensembles(parent: Path) -> list[Path]:
    """Return the ensemble folders in `parent`, oldest first."""
    return _holding(parent, ENSEMBLE)


def exports(parent: Path) -> list[Path]:
    """Return the .onnx files in `parent` and one level below, oldest first."""
    return _oldest_first([*parent.glob("*.onnx"), *parent.glob("*/*.onnx")])


def data_of(folder: Path) -> set[str]:
    """Return the data sources of a run, or of all runs of an ensemble. Empty when unknown."""
    try:
        if (folder / ENSEMBLE).exists():
            members = read_json(folder / ENSEMBLE)["members"]
            return {name for member in members for name in data_of(folder / member["run"])}
        return {str(read_json(folder / "run.json")["data"]["name"])}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def better_member(folder: Path) -> Path | None:
    """Return the best member of an ensemble when the ensemble is worse on `valid`. None for any other model."""
    try:
        document = read_json(folder / ENSEMBLE)
        if not document["worse_than_best_member"]:
            return None
        diversity = document["diversity"]
        return Path(os.path.normpath(folder / str(diversity["runs"][int(diversity["best_member"])])))
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def _holding(parent: Path, name: str) -> list[Path]:
    return [path.parent for path in _oldest_first(parent.glob(f"*/{name}"))]


def _oldest_first(paths: Iterable[Path]) -> list[Path]:
    return sorted((path for path in paths if path.is_file()), key=lambda path: (path.stat().st_mtime_ns, path))


def _is_finished(folder: Path) -> bool:
    try:
        return read_run(folder).finished
    except ModelError:
        return False
