"""`emotify ensemble`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotify.choices import Method
from emotify.choices import Views as ViewsName
from emotify.cli.completion import completing
from emotify.cli.completion import runs as runs_there
from emotify.cli.console import Messages, next_command, print_json
from emotify.cli.datasets import ClassifiedData, load_dataset
from emotify.cli.models import map_models, open_classifiers, runs_and_ensembles
from emotify.cli.options import Debug, Device, Json, Threads, Views, with_settings
from emotify.cli.working import CountingClassifier, working
from emotify.errors import InputError, WriteError
from emotify.files import check_folder, make_folder, output_status, printable
from emotify.opening import Kind, resolve
from emotify.runs import RUNS, new_folder
from emotify.words import amount

if TYPE_CHECKING:
    from emotify.arrays import Float32Array
    from emotify.data import Dataset, LabelledImages
    from emotify.ensembling.combine import Combination, CrowdCombination
    from emotify.evaluation.classifier import Answers, Classifier

_MANY = 12  # members, from which on the time they take is printed


@with_settings
def ensemble(
    *,
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN",
            help="Finished runs. Default: all of runs/.",
            show_default=False,
            autocompletion=completing(runs_there),
        ),
    ] = None,
    data: ClassifiedData,
    method: Annotated[
        Method,
        typer.Option(
            "--method",
            help="mean averages log-probabilities; probabilities averages probabilities; weighted fits weights that "
            "minimise the NLL on valid; greedy adds the most helpful member, one at a time.",
        ),
    ] = Method.MEAN,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", metavar="N", min=0, help="Seed of the cross-validation folds and of greedy's bootstraps."
        ),
    ] = 0,
    views: Views = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The new folder. Default: one in runs/.", show_default=False),
    ] = None,
    device: Device = "auto",
    threads: Threads = 0,
    json: Json = False,
    messages: Messages,
    debug: Debug = False,
) -> None:
    """Combine runs, and report whether that helps and why.

    \b
    Examples:
      emotify ensemble                                   every finished run in runs/
      emotify ensemble runs/*-cnn-s0-* runs/*-cnn-s1-*
      emotify ensemble --method weighted                 weights for unequal members
      emotify ensemble --views mirror                    also average over mirror images
      emotify ensemble --out runs/ensemble --json
    """
    paths = runs_and_ensembles(runs, messages, with_ensembles=False)
    _check(paths, out)

    import numpy as np

    from emotify.ensembling.combine import combine, identical_members
    from emotify.ensembling.ensemble import read_recipes

    members = open_classifiers(paths, device=device, threads=threads)
    dataset = load_dataset(data, messages)
    valid = _valid_images(dataset)
    answered = _answer(members, valid, messages, views=views or "one")
    answers = np.stack([each.labels for each in answered])
    again = identical_members(answers)
    for later, earlier in again.items():
        messages.notice(f"{members[later].name} gives the same outputs as {members[earlier].name}: counted once")
    different = [number for number in range(len(members)) if number not in again]
    paths, names = [paths[number] for number in different], [members[number].name for number in different]
    with working(messages, f"combining {amount(len(names), 'run')}"):
        combination = combine(answers[different], valid.labels, method=method, seed=seed, recipes=read_recipes(paths))
        crowds = [answered[number].crowd for number in different]
        if any(crowd is not None for crowd in crowds):
            crowd = _combine_crowd(names, crowds, valid, combination, seed=seed, messages=messages)
            combination = dataclasses.replace(combination, crowd=crowd)
    folder = _save(paths, names, combination, out, views=views or "one")
    _tell(names, combination, messages)
    if json:
        print_json({"schema": 1, "folder": str(folder), **_document(names, combination), "data": dataset.document()})
        return
    _show(names, combination, messages)
    print(printable(folder))
    messages.notice(f"next: {_next(paths, folder, combination, data, views=views)}")


def _answer(
    members: Sequence[Classifier], valid: LabelledImages, messages: Messages, *, views: ViewsName
) -> list[Answers]:
    from emotify.evaluation.classifier import AveragedViews

    with working(messages, "answering", total=len(members) * len(valid)) as work:
        viewed = [AveragedViews(member, views) for member in members]
        return [CountingClassifier(member, work.advance).answers(valid.images) for member in viewed]


def _save(
    paths: Sequence[Path], names: Sequence[str], combination: Combination, out: Path | None, *, views: ViewsName
) -> Path:
    """Save the ensemble in its folder, with a figure of how its members differ, and return the folder."""
    from emotify.ensembling.ensemble import save_ensemble
    from emotify.reports.figures import plot_disagreement

    folder = out or new_folder(RUNS, "ensemble")
    if out is not None:
        make_folder(out)
    save_ensemble(folder, paths, combination, views=views)
    if len(names) > 1:
        for ending in ("png", "svg"):
            plot_disagreement(names, combination.diversity, folder / f"diversity.{ending}")
    return folder


def _combine_crowd(
    names: Sequence[str],
    crowds: Sequence[Float32Array | None],
    valid: LabelledImages,
    combination: Combination,
    *,
    seed: int,
    messages: Messages,
) -> CrowdCombination | None:
    """Combine the crowd heads; None, with a printed reason, if they cannot be combined."""
    from emotify.ensembling.combine import combine_crowd

    without = [name for name, crowd in zip(names, crowds, strict=True) if crowd is None]
    if valid.votes is None:
        told = "the crowd heads get the weights and the temperature of the labels heads"
        if without:
            told = f"the ensemble has no crowd head: {without[0]} has none"
        messages.notice(f"{told}; the data has no votes; name them with --ferplus")
        return None
    for name in without:
        messages.notice(f"{name} has no crowd head: it is a member of the labels head only")
    crowd = combine_crowd(crowds, valid.votes, method=combination.method, seed=seed)
    if crowd is not None and crowd.taken is not crowd.method:
        messages.notice(
            f"{crowd.method} does not help the crowd heads on images that it was not fitted to: using {crowd.taken}"
        )
    return crowd


def _check(paths: Sequence[Path], out: Path | None) -> None:
    """Raise ModelError for a path that is no run, WriteError if the folder exists or cannot be made."""
    map_models(paths, lambda path: resolve(path, takes=(Kind.RUN,)))
    if out is None:
        check_folder(RUNS, overwrite=True)
    elif output_status(out) is not None or out.is_symlink():
        msg = f"{printable(out)} already exists; choose another --out"
        raise WriteError(msg)


def _valid_images(dataset: Dataset) -> LabelledImages:
    """Return the valid split, on which the ensemble is chosen; no other split is used. Raises InputError without it."""
    from emotify.data import Split

    if Split.VALID not in dataset.splits or not len(dataset.splits[Split.VALID]):
        msg = f"{dataset.source} has no valid split; an ensemble is chosen on it, so name data that has one"
        raise InputError(msg)
    return dataset.splits[Split.VALID]


def _tell(names: Sequence[str], combination: Combination, messages: Messages) -> None:
    """Print each unexpected decision and its reason."""
    method, taken, trials = combination.method, combination.taken, combination.trials
    if taken is not method:
        messages.notice(
            f"{method} does not help on images that it was not fitted to (NLL {trials[method].cross_fitted.nll:.4f}, "
            f"{taken} {trials[taken].cross_fitted.nll:.4f}): using {taken}"
        )
    for name, used in zip(names, combination.used, strict=True):
        if not used:
            messages.notice(f"{name} is dropped: its weight is 0")
    kept = sum(combination.used)
    if kept >= _MANY:
        messages.notice(f"{kept} members take {kept} times as long to predict as one")
    if worse := combination.worse_in():
        best = names[combination.diversity.best_member]
        messages.notice(f"on valid the ensemble is worse than its best member, {best}, in {' and '.join(worse)}")


def _next(
    paths: Sequence[Path], folder: Path, combination: Combination, wanted: ClassifiedData, *, views: ViewsName | None
) -> str:
    """Return the next command: export; or, if the ensemble is worse, another method or its best member."""
    from emotify.ensembling.weights import BEST

    data, classes = wanted.data, wanted.class_words
    better = combination.advice() if combination.worse_in() else combination.taken
    if better is combination.taken:
        return next_command("export", folder, data=data, classes=classes)
    if better is BEST:
        return next_command("export", paths[combination.diversity.best_member], data=data, classes=classes)
    options = ("--method", better, *(("--views", views) if views else ()))
    return next_command("ensemble", *paths, *options, data=data, classes=classes)


def _document(names: Sequence[str], combination: Combination) -> dict[str, Any]:
    pooling = combination.pooling
    return {
        "method": combination.method,
        "taken": combination.taken,
        "members": [name for name, used in zip(names, combination.used, strict=True) if used],
        "weights": [weight for weight, used in zip(pooling.weights, combination.used, strict=True) if used],
        "dropped": [name for name, used in zip(names, combination.used, strict=True) if not used],
        "temperature": pooling.temperature,
        "valid": {"accuracy": combination.scores.accuracy, "nll": combination.scores.nll},
        "cross_fitted": vars(combination.cross_fitted),
        "worse_than_best_member": combination.worse_in(),
        "methods": [trial.document() for trial in combination.trials.values()],
        "diversity": {"runs": list(names), **combination.diversity.document()},
        "conclusion": combination.conclusion,
        "crowd": combination.crowd and combination.crowd.document(),
    }


def _show(names: Sequence[str], combination: Combination, messages: Messages) -> None:
    from rich.text import Text

    from emotify.reports.tables import crowd_members_table, diversity_table, gains_table, members_table, methods_table

    messages.show(members_table(names, combination))
    if combination.crowd is not None:
        messages.show(crowd_members_table(names, combination.crowd))
    if len(names) > 1:
        messages.show(methods_table(combination))
        messages.show(gains_table(names, combination.diversity))
        messages.show(diversity_table(combination.diversity))
    messages.show(Text(combination.conclusion))
