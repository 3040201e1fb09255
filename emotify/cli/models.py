"""Opens run folders, ensemble folders and .onnx files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from emotify.cli.console import Messages
from emotify.errors import ModelError, UsageError, list_mistakes
from emotify.machine import available_cpus
from emotify.opening import Kind, resolve
from emotify.runs import ENSEMBLE, RUNS, ensembles, finished_runs, read_whole_run

if TYPE_CHECKING:
    from emotify.evaluation.classifier import Classifier

Found = TypeVar("Found")


def open_classifier(path: Path, *, device: str = "auto", threads: int = 0) -> Classifier:
    """Open a MODEL: a run, an ensemble or an .onnx file. Raises ModelError if it is missing or damaged."""
    model = resolve(path)
    if model.kind is Kind.FILE:
        from emotify.onnx_runtime.classifier import open_session

        return open_session(model.path, threads=threads, device=device)
    import torch

    from emotify.training.classifier import open_run

    torch.set_num_threads(threads or available_cpus())
    if model.kind is Kind.ENSEMBLE:
        from emotify.ensembling.ensemble import open_ensemble

        return open_ensemble(model.path, lambda run: open_run(run, device=device))
    return open_run(model.path, device=device)


def open_classifiers(paths: Sequence[Path], *, device: str, threads: int) -> list[Classifier]:
    """Open several models. Raises ModelError, which names the first five that cannot be opened, and their number."""
    return map_models(paths, lambda path: open_classifier(path, device=device, threads=threads))


def map_models(paths: Sequence[Path], function: Callable[[Path], Found]) -> list[Found]:
    """Return the result of `function` for each path. Raises ModelError with the first five mistakes and a count."""
    found, mistakes = [], []
    for path in paths:
        try:
            found.append(function(path))
        except ModelError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ModelError(list_mistakes("", mistakes, noun="models that cannot be used"))
    return found


def runs_and_ensembles(given: Sequence[Path] | None, messages: Messages, *, with_ensembles: bool) -> list[Path]:
    """Return the given models. Without any, print and return every finished run (and ensemble) in runs/."""
    if given:
        several = list(given)
        if with_ensembles or len(several) == 1:
            return several
        models = [path for path in several if not (path / ENSEMBLE).exists()]
        if models and (ensembles_left := [path.name for path in several if path not in models]):
            messages.error(f"ensembles are no members, and are left out: {', '.join(ensembles_left)}")
        return models or several
    found = finished_runs(RUNS) + (ensembles(RUNS) if with_ensembles else [])
    kinds = "run or ensemble" if with_ensembles else "run"
    if not found:
        msg = f"no finished {kinds} in {RUNS}/; make one with: emotify train"
        raise ModelError(msg)
    messages.notice(f"using every finished {kinds} in {RUNS}/: {', '.join(path.name for path in found)}")
    return found


def recipe_names(paths: Sequence[Path]) -> list[str | None]:
    """Return a name for each run's recipe, its options without seed and machine; different recipes differ.

    None for a model that is no run, for a run whose options cannot be read, and for a repeated training.
    """
    from emotify.training.config import read_config
    from emotify.training.recipes import distinguish

    trainings = {}
    for place, path in enumerate(paths):
        with contextlib.suppress(UsageError, ModelError, KeyError):
            trainings[place] = (read_config(path / "config.json"), read_whole_run(path).record["data"])
    names = distinguish([config for config, _ in trainings.values()], [data for _, data in trainings.values()])
    recipes: list[str | None] = [None] * len(paths)
    seen = set()
    for place, name in zip(trainings, names, strict=True):
        seed = trainings[place][0].seed
        if (name, seed) not in seen:
            recipes[place] = name
        seen.add((name, seed))
    return recipes
