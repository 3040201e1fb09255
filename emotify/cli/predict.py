"""`emotify predict`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emotify.cli.console import Talk, print_json, print_json_line
from emotify.cli.options import Debug, Force, Json, Quiet, Threads, Verbose
from emotify.errors import ExitCode, InputError, UsageError
from emotify.files import atomic_write, exists_error, printable
from emotify.runs import RUNS, exports

if TYPE_CHECKING:
    from emotify.evaluation.metrics import Scores
    from emotify.prediction.predictor import PictureResult
    from emotify.prediction.summary import Summary

_FACES = ("auto", "detect", "whole")
_TRUTH = ("auto", "folders", "none")
_FAILURES_SHOWN = 20
_ROWS_SHOWN = 200


def predict(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Pictures, and folders of pictures.")],
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            metavar="FILE",
            help="An export. Default: $EMOTIFY_MODEL, else the newest in runs/, else the model inside.",
        ),
    ] = None,
    faces: Annotated[
        str,
        typer.Option("--faces", metavar="HOW", help="auto: find faces, but take face crops whole; detect; whole."),
    ] = "auto",
    face_model: Annotated[
        Path | None,
        typer.Option(
            "--face-model", metavar="FILE", help="Another face detector, as .onnx: YuNet, CenterFace or Ultra-Light."
        ),
    ] = None,
    min_face: Annotated[
        int,
        typer.Option(
            "--min-face", metavar="PIXELS", min=16, help="Look for faces from this size on; larger is faster."
        ),
    ] = 16,
    max_side: Annotated[
        int,
        typer.Option("--max-side", metavar="PIXELS", min=64, max=2560, help="Look for faces at this longest side."),
    ] = 1280,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one line of JSON a picture.")] = False,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write one row a face.")] = None,
    truth: Annotated[
        str,
        typer.Option("--truth", metavar="HOW", help="Compare with folders named as expressions: auto, folders, none."),
    ] = "auto",
    threads: Threads = 0,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Name the expression of every face in pictures and folders, offline.

    \b
    Examples:
      emotify predict photos/
      emotify predict a.jpg b.png --json
      emotify predict photos/ --csv faces.csv
      emotify predict faces48/ --faces whole --jsonl | head
      emotify predict test/ --model runs/best/model.onnx    with happy/, sad/, ... inside: accuracy too
    """
    talk = Talk(quiet=quiet, verbose=verbose)
    _check_choice("--faces", faces, _FACES)
    _check_choice("--truth", truth, _TRUTH)
    if json and jsonl:
        msg = "--json prints one document and --jsonl a line a picture; take one of them"
        raise UsageError(msg)
    if csv is not None and csv.exists() and not force:
        raise exists_error(csv)

    from emotify.prediction.detection import Search
    from emotify.prediction.predictor import Predictor
    from emotify.prediction.summary import Summary
    from emotify.prediction.walking import Tally, find_pictures

    search = Search(min_face=min_face, max_side=max_side)
    predictor = Predictor(_find_model(model, talk), faces=faces, face_model=face_model, search=search, threads=threads)  # type: ignore[arg-type]
    tally, summary = Tally(), Summary()
    found = (picture.path for picture in find_pictures(paths, tally))
    kept: list[PictureResult] = []
    with contextlib.ExitStack() as stack:
        sinks = [summary.add, _screen_sink(kept, talk, json=json, jsonl=jsonl)]
        if csv is not None:
            sinks.append(stack.enter_context(_csv_sink(csv)))
        results = predictor.predict(found)
        for result in results if jsonl else _with_progress(results, talk):
            if result.note:
                talk.detail(f"{printable(result.path)}: {result.note}")
            for sink in sinks:
                sink(result)
        if not summary.pictures:
            others = f" ({tally.ignored} other files ignored)" if tally.ignored else ""
            msg = f"no images found in {', '.join(printable(path) for path in paths)}{others}"
            raise InputError(msg)

    if tally.links:
        talk.notice(f"{tally.links} links inside folders were not followed")
    scores = _score_truth(summary, truth)
    if json:
        print_json(_document(predictor.session.name, kept, summary, scores))
    else:
        _show(kept, summary, scores, talk, tables=not jsonl)
    _tell_failures(summary, talk)
    if summary.failed:
        raise typer.Exit(ExitCode.SOME_FAILED if summary.failed < summary.pictures else ExitCode.INPUT)


def _check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        msg = f"{option} {value!r}: there are {', '.join(choices)}"
        raise UsageError(msg)


def _find_model(given: Path | None, talk: Talk) -> Path | None:
    """Return the model to use, None for the one inside the package, and say which when it was not given."""
    if given is not None:
        return given
    if os.environ.get("EMOTIFY_MODEL"):
        talk.notice(f"model: $EMOTIFY_MODEL, {os.environ['EMOTIFY_MODEL']}")
        return Path(os.environ["EMOTIFY_MODEL"])
    if found := exports(RUNS):
        talk.notice(f"model: the newest export in {RUNS}/, {found[-1]}")
        return found[-1]
    talk.notice("model: the one inside emotify")
    return None


Sink = Callable[["PictureResult"], object]


def _screen_sink(kept: list[PictureResult], talk: Talk, *, json: bool, jsonl: bool) -> Sink:
    """Return what to do with each result as it comes: print a line, or keep it for the document or the table."""
    if jsonl:
        return lambda result: print_json_line(result.document())
    if json or sys.stdout.isatty():
        return kept.append
    failures = iter(range(_FAILURES_SHOWN))

    def print_lines(result: PictureResult) -> None:
        path = printable(result.path)
        for face in result.faces:
            box = ",".join(f"{edge:.0f}" for edge in face.box)
            print(path, face.label, f"{face.probability:.3f}", box, sep="\t")
        if result.ok and not result.faces:
            print(path, "no face", "", "", sep="\t")
        if not result.ok and next(failures, None) is not None:
            talk.error(f"{path}: {result.status}: {result.message}")

    return print_lines


@contextlib.contextmanager
def _csv_sink(path: Path) -> Iterator[Sink]:
    from emotify.prediction.table_file import CsvWriter

    with atomic_write(path) as file:
        writer = CsvWriter(file)
        yield writer.write
        writer.close()


def _with_progress(results: Iterator[PictureResult], talk: Talk) -> Iterator[PictureResult]:
    """Show how many pictures are done, on a terminal that shows nothing else meanwhile."""
    if talk.quiet or not (sys.stderr.isatty() and sys.stdout.isatty()):
        yield from results
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed} pictures"), TimeElapsedColumn())
    with Progress(*columns, console=talk.err, transient=True) as progress:
        task = progress.add_task("predict", total=None)
        for result in results:
            yield result
            progress.advance(task)


def _score_truth(summary: Summary, truth: str) -> Scores | None:
    """Score the pictures against their folders' names, where these are expressions."""
    if truth == "none" or not (summary.in_class_folders or truth == "folders"):
        return None
    if not summary.in_class_folders:
        msg = "--truth folders: not every picture lies in a folder named as an expression; see emotify predict --help"
        raise InputError(msg)
    from emotify.evaluation.metrics import score

    probabilities, labels = summary.truth()
    return score(probabilities, labels) if len(labels) else None


def _document(model: str, kept: list[PictureResult], summary: Summary, scores: Scores | None) -> dict[str, object]:
    return {
        "schema": 1,
        "model": model,
        "pictures": [result.document() for result in kept],
        "summary": {
            "pictures": summary.pictures,
            "failed": summary.failed,
            "without_face": summary.without_face,
            "faces": summary.faces,
            "expressions": dict(summary.expressions),
        },
        "truth": None if scores is None else scores.document(),
    }


def _show(kept: list[PictureResult], summary: Summary, scores: Scores | None, talk: Talk, *, tables: bool) -> None:
    """Show what is left to show at the end; without `tables` all of it goes to stderr."""
    if kept:
        from emotify.reports.faces import faces_table

        talk.show(faces_table(kept[:_ROWS_SHOWN]))
        if len(kept) > _ROWS_SHOWN:
            talk.notice(f"{len(kept) - _ROWS_SHOWN} more pictures; --csv FILE or --jsonl gives all of them")
    if scores is not None and not tables:
        talk.notice(_truth_line(scores))
    elif scores is not None:
        from emotify.reports.tables import class_table, confusion_table

        print(f"{_truth_line(scores)}\n")
        talk.show(class_table(scores, title="By expression"))
        talk.show(confusion_table(scores.confusion, title="Confusion matrix"))
    counts = ", ".join(f"{count} {name}" for name, count in summary.expressions.most_common())
    without = f"; {summary.without_face} without a face" if summary.without_face else ""
    talk.notice(f"{summary.pictures} pictures, {summary.faces} faces{': ' if counts else ''}{counts}{without}")


def _truth_line(scores: Scores) -> str:
    low, high = scores.accuracy_ci95
    return f"accuracy against the folders' names: {scores.accuracy:.2%} of {scores.n} ({low:.1%} to {high:.1%})"


def _tell_failures(summary: Summary, talk: Talk) -> None:
    if summary.failed:
        kinds = ", ".join(f"{count} {status}" for status, count in summary.failures.most_common())
        talk.error(f"{summary.failed} of {summary.pictures} pictures could not be read: {kinds}")
