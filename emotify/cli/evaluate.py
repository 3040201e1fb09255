"""`emotify evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emotify.choices import Split as SplitName
from emotify.cli.completion import any_models, completing
from emotify.cli.console import Messages, next_command, print_json
from emotify.cli.datasets import ClassifiedData, load_dataset
from emotify.cli.models import open_classifiers, recipe_names, runs_and_ensembles
from emotify.cli.options import (
    Debug,
    Device,
    Force,
    HeadName,
    Json,
    Threads,
    Tta,
    Views,
    chosen_views,
    with_settings,
)
from emotify.cli.working import CountingClassifier, working
from emotify.errors import GateError, InputError, UsageError
from emotify.files import check_folder, check_temporary_folder, printable
from emotify.opening import Kind, resolve

if TYPE_CHECKING:
    from emotify.choices import Head
    from emotify.data import Dataset
    from emotify.ensembling.diversity import Diversity
    from emotify.evaluation.classifier import Classifier
    from emotify.evaluation.evaluate import Leaderboard
    from emotify.evaluation.metrics import Scores


@with_settings
def evaluate(
    *,
    models: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="MODEL",
            help="Runs, ensembles, .onnx files, or the built-in models default and fast. Default: all of runs/.",
            show_default=False,
            autocompletion=completing(any_models),
        ),
    ] = None,
    data: ClassifiedData,
    split: Annotated[SplitName, typer.Option("--split", help="Split to score on.")] = SplitName.VALID,
    head: HeadName = None,
    tta: Tta = False,
    views: Views = None,
    min_accuracy: Annotated[
        float | None,
        typer.Option(
            "--min-accuracy", metavar="X", min=0, max=1, help="End with exit code 7 if the best accuracy is below X."
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="DIR", help="Write a page, DIR/index.html, with figures as PNG and SVG."),
    ] = None,
    with_images: Annotated[
        bool, typer.Option("--with-images", help="Show faces in the report, such as the most confident mistakes.")
    ] = False,
    force: Force = False,
    device: Device = "auto",
    threads: Threads = 0,
    json: Json = False,
    messages: Messages,
    debug: Debug = False,
) -> None:
    """Score models on one split, and compare several.

    Several models give a leaderboard with paired significance tests.

    A model trained with the votes of FER+ has two heads. The labels head predicts FER-2013's label. The crowd head
    predicts what most of FER+'s ten annotators named. Each is scored against its own truth; --head scores one head
    against both.

    Runs that differ only in seed and machine share a recipe. Recipes are also compared over their seeds.

    NLL is the negative log-likelihood of the truth, ECE the expected calibration error; for both, lower is better.
    Clean scores leave out images that also occur in train.

    \b
    Examples:
      emotify evaluate                                  every finished run and ensemble in runs/
      emotify evaluate runs/20260131-120000-cnn-s0-1a2b --split test
      emotify evaluate default fast                     the built-in models
      emotify evaluate default --head labels            the labels head against both truths
      emotify evaluate model.onnx --views mirror --json
      emotify evaluate model.onnx --min-accuracy 0.65   exit code 7 if it is worse
      emotify evaluate fast --data affectnet/ --class-order affectnet --exclude-classes contempt
      emotify evaluate --report report/                 a page with figures
    """
    _check_report(report, with_images=with_images, force=force)
    paths = runs_and_ensembles(models, messages, with_ensembles=True)
    seen = chosen_views(views, tta=tta) or "one"
    classifiers = open_classifiers(paths, device=device, threads=threads)
    _replay(classifiers, messages)
    dataset = load_dataset(data, messages, scored=split)
    leaderboard, diversity = _score(
        classifiers, dataset, split, messages, views=seen, recipes=recipe_names(paths), head=head
    )
    if json:
        document = leaderboard.document()
        print_json({**document, "diversity": diversity and diversity.document(), "data": dataset.document()})
    else:
        _show(leaderboard, messages)
    if report is not None:
        _write_report(report, leaderboard, diversity, dataset, messages, with_images=with_images, overwrite=force)
    if next_one := _next(paths, data):
        messages.notice(f"next: {next_one}")
    if min_accuracy is not None:
        _check_accuracy(leaderboard.results[0].scores.accuracy, min_accuracy, split)


def _write_report(
    folder: Path,
    leaderboard: Leaderboard,
    diversity: Diversity | None,
    dataset: Dataset,
    messages: Messages,
    *,
    with_images: bool,
    overwrite: bool,
) -> None:
    from emotify.reports.evaluation_page import write_report

    images, name = dataset.splits[leaderboard.results[0].split], Path(dataset.source).name
    with working(messages, "writing the report"):
        page = write_report(
            folder, leaderboard, images, diversity, data=name, with_images=with_images, overwrite=overwrite
        )
    hint = "" if with_images else "; it shows no faces, --with-images adds some"
    messages.notice(f"wrote {printable(page)}{hint}")


def _next(paths: Sequence[Path], data: ClassifiedData) -> str:
    """Return the command that follows: ensemble for several runs, export for one; nothing for other models."""
    kinds = {resolve(path).kind for path in paths}
    if kinds == {Kind.RUN} and len(paths) > 1:
        return next_command("ensemble", *paths, data=data.data, classes=data.class_words)
    if len(paths) == 1 and kinds <= {Kind.RUN, Kind.ENSEMBLE}:
        return next_command("export", *paths, data=data.data, classes=data.class_words)
    return ""


def _check_accuracy(best: float, least: float, split: SplitName) -> None:
    if best < least:
        msg = f"accuracy {best:.4f} on {split} is below --min-accuracy {least}"
        raise GateError(msg)


def _score(
    classifiers: Sequence[Classifier],
    dataset: Dataset,
    split: SplitName,
    messages: Messages,
    *,
    views: str,
    recipes: Sequence[str | None],
    head: Head | None,
) -> tuple[Leaderboard, Diversity | None]:
    """Return the leaderboard on one split, and the diversity of the models. Raises InputError for an empty split."""
    from emotify.data import duplicates_in, near_duplicates_in
    from emotify.ensembling.diversity import diversity_of
    from emotify.evaluation.classifier import AveragedViews
    from emotify.evaluation.evaluate import evaluate as evaluate_all

    if split not in dataset.splits or not len(dataset.splits[split]):
        others = " or ".join(f"--split {name}" for name in dataset.splits)
        msg = f"{dataset.source} has no images of the {split} split; name a split that it has: {others}"
        raise InputError(msg)
    images = dataset.splits[split]
    in_train = near_train = None
    if split != SplitName.TRAIN and SplitName.TRAIN in dataset.splits:
        train = dataset.splits[SplitName.TRAIN].images
        with working(messages, "searching train for the same images"):
            in_train, near_train = duplicates_in(images.images, train), near_duplicates_in(images.images, train)
    valid = dataset.splits.get(SplitName.VALID)
    count = len(images) + (0 if valid is None or split == SplitName.VALID else len(valid))
    with working(messages, "answering", total=count * len(classifiers)) as work:
        leaderboard = evaluate_all(
            [CountingClassifier(AveragedViews(classifier, views), work.advance) for classifier in classifiers],
            images,
            split,
            valid=valid,
            in_train=in_train,
            near_train=near_train,
            recipes=recipes,
            head=head,
        )
        diversity = diversity_of([result.probabilities for result in leaderboard.results], images.labels)
    return leaderboard, diversity


def _replay(classifiers: Sequence[Classifier], messages: Messages) -> None:
    """Raise GateError if an exported file gives other outputs on this machine than where it was exported."""
    from emotify.machine import describe_cpu
    from emotify.onnx_runtime.classifier import Session
    from emotify.onnx_runtime.reference import TOLERANCE, replay

    for session in classifiers:
        difference = replay(session) if isinstance(session, Session) else None
        if difference is None:
            continue
        name = printable(session.name)
        if not difference <= TOLERANCE:
            msg = (
                f"{name} does not reproduce its reference outputs on {describe_cpu()}: probabilities differ by "
                f"{difference:.2g} (allowed {TOLERANCE}); export it again, or update onnxruntime"
            )
            raise GateError(msg)
        messages.notice(f"{name} reproduces its reference outputs within {difference:.1e} on {describe_cpu()}")


def _check_report(folder: Path | None, *, with_images: bool, force: bool) -> None:
    """Raise WriteError or UsageError before any work if the report cannot be written."""
    if folder is not None:
        check_temporary_folder()
        check_folder(folder, overwrite=force)
    elif with_images:
        msg = "--with-images needs --report; add that"
        raise UsageError(msg)


def _show(leaderboard: Leaderboard, messages: Messages) -> None:
    from emotify.reports import tables
    from emotify.reports.names import short_name

    best, by_crowd = leaderboard.results[0], leaderboard.by_crowd()
    if leaderboard.pairs:
        messages.show(tables.leaderboard_table(leaderboard))
        messages.show(tables.pairs_table(leaderboard))
    if by_crowd:
        messages.show(tables.crowd_table(leaderboard))
    if leaderboard.crowd_pairs:
        messages.show(tables.crowd_pairs_table(leaderboard))
    if leaderboard.recipes:
        messages.show(tables.recipes_table(leaderboard))
    if leaderboard.recipe_pairs:
        messages.show(tables.recipe_pairs_table(leaderboard))
    messages.show(tables.scores_table(best))
    _show_classes(best.scores, "against the data's labels", messages)
    if by_crowd and (crowd := by_crowd[0].crowd) is not None:
        _show_classes(crowd.scores, f"{short_name(by_crowd[0].model)} against FER+'s majority", messages)


def _show_classes(scores: Scores, against: str, messages: Messages) -> None:
    from emotify.reports import tables

    messages.show(tables.class_table(scores, title=f"By expression, {against}", plain=messages.plain))
    messages.show(tables.confusion_table(scores.confusion, title=f"Confusion matrix, {against}"))
