"""Run folders, ensemble folders and .onnx files, opened alike."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emotify.cli.console import Talk
from emotify.errors import ModelError, UsageError
from emotify.files import printable
from emotify.machine import available_cpus
from emotify.runs import RUNS, ensembles, finished_runs, read_run

if TYPE_CHECKING:
    from emotify.evaluation.classifier import Classifier


def open_classifier(path: Path, *, device: str = "auto", threads: int = 0) -> Classifier:
    """Open what is at `path`, or the model inside the package that has this name.

    Raises ModelError when it is neither a run, an ensemble nor an .onnx file.
    """
    from emotify.onnx_runtime.classifier import find_model, names_file, open_session

    if names_file(os.fspath(path)):
        return open_session(find_model(path), threads=threads, device=device)
    # os.path.exists: Path.exists() raises where it may not look.
    if os.path.exists(path / "ensemble.json"):  # noqa: PTH110
        from emotify.ensembling.ensemble import open_ensemble

        return open_ensemble(path, lambda run: open_classifier(run, device=device, threads=threads))
    if os.path.exists(path / "run.json"):  # noqa: PTH110
        import torch

        from emotify.training.classifier import open_run

        torch.set_num_threads(threads or available_cpus())
        return open_run(path, device=device)
    if not os.path.exists(path):  # noqa: PTH110
        msg = f"no model at {printable(path)}; make one with: emotify train"
        raise ModelError(msg)
    msg = f"{printable(path)} is neither a run, an ensemble nor an .onnx file"
    raise ModelError(msg)


def runs_and_ensembles(given: Sequence[Path] | None, talk: Talk, *, with_ensembles: bool) -> list[Path]:
    """Return the models that were given, else every finished run (and ensemble) in runs/, and say which."""
    if given:
        return list(given)
    found = finished_runs(RUNS) + (ensembles(RUNS) if with_ensembles else [])
    kinds = "run or ensemble" if with_ensembles else "run"
    if not found:
        msg = f"no finished {kinds} in {RUNS}/; make one with: emotify train"
        raise ModelError(msg)
    talk.notice(f"taking every finished {kinds} in {RUNS}/: {', '.join(path.name for path in found)}")
    return found


def recipe_names(paths: Sequence[Path]) -> list[str | None]:
    """Return what the training of each model is called but for its seed and its machine; different ones differ.

    None for what is no run, for a run whose options cannot be read, and for the same training once more.
    """
    from emotify.training.config import read_config
    from emotify.training.recipes import distinguish

    trainings = {}
    for place, path in enumerate(paths):
        with contextlib.suppress(UsageError, ModelError, KeyError):
            trainings[place] = (read_config(path / "config.json"), read_run(path).record["data"])
    names = distinguish([config for config, _ in trainings.values()], [data for _, data in trainings.values()])
    recipes: list[str | None] = [None] * len(paths)
    seen = set()
    for place, name in zip(trainings, names, strict=True):
        seed = trainings[place][0].seed
        if (name, seed) not in seen:
            recipes[place] = name
        seen.add((name, seed))
    return recipes
