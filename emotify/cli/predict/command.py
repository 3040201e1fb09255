"""`emotify predict`."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotify.choices import Engine, Faces, Head, Truth
from emotify.cli.completion import file_models, offering
from emotify.cli.console import Talk
from emotify.cli.errors import forget_stdout, saying_on_interrupt
from emotify.cli.options import MACHINE, Debug, Device, Force, Json, Quiet, Threads, Verbose
from emotify.cli.predict.explain import Explainer
from emotify.cli.predict.inputs import Inputs
from emotify.cli.predict.outputs import Opened, Outputs
from emotify.cli.predict.ray import check_ray_machine, check_ray_options, make_job, predict_with_ray
from emotify.cli.predict.screen import Ending, JsonLinesScreen, Screen, open_screen, order_sentence, with_progress
from emotify.emotions import CLASS_ORDERS, FER2013, doubt_numbers, parse_class_order
from emotify.errors import ExitCode, InputError, UsageError, WriteError
from emotify.files import is_standard_output, printable
from emotify.runs import RUNS, exports
from emotify.stopping import unwinding
from emotify.words import amount

if TYPE_CHECKING:
    from emotify.evaluation.metrics import Scores
    from emotify.pictures.finding import Tally
    from emotify.prediction.predictor import Predictor
    from emotify.prediction.results import PictureResult
    from emotify.prediction.sharding import Shard
    from emotify.prediction.summary import Summary


_PICTURES, _FACES, _ROWS, _ENGINE = "Pictures", "Face detection", "Rows and pages", "Many machines"  # of the help


def predict(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH", help="Pictures, folders of pictures, video clips; - for a picture on standard input."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="An .onnx file, default or fast. Default: $EMOTIFY_MODEL, else the newest export in runs/, else "
            "default.",
            autocompletion=offering(file_models),
        ),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write one row per face, for a spreadsheet.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Write an .html page to look through and filter."),
    ] = None,
    annotate: Annotated[
        Path | None,
        typer.Option("--annotate", metavar="DIR", help="Save copies of the pictures with boxes and labels."),
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option("--explain", metavar="DIR", help="Save a picture of each face that shows which part decided."),
    ] = None,
    min_confidence: Annotated[
        float,
        typer.Option(
            "--min-confidence", metavar="P", min=0, max=1, help="Label a face 'uncertain' below this probability."
        ),
    ] = 0.0,
    top: Annotated[
        int, typer.Option("--top", metavar="K", min=0, max=7, help="Print the K most probable expressions of a face.")
    ] = 0,
    head: Annotated[
        Head | None,
        typer.Option(
            "--head",
            help="Question to answer: crowd for what most people would say, labels for what FER-2013's label would be. "
            "Default: crowd, where the model has it.",
        ),
    ] = None,
    json: Json = False,
    files_from: Annotated[
        str | None,
        typer.Option(
            "--files-from",
            metavar="FILE",
            help="Read more paths from a list, one per line; - for standard input.",
            rich_help_panel=_PICTURES,
        ),
    ] = None,
    null: Annotated[
        bool,
        typer.Option(
            "--null",
            "-0",
            help="The list separates paths by NUL bytes, as find -print0 does.",
            rich_help_panel=_PICTURES,
        ),
    ] = False,
    follow_links: Annotated[
        bool,
        typer.Option(
            "--follow-links",
            help="Follow symbolic links inside folders, wherever they lead.",
            rich_help_panel=_PICTURES,
        ),
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Process only shard I of N, counted from 0. Pictures are assigned by a hash of their path.",
            rich_help_panel=_PICTURES,
        ),
    ] = None,
    truth: Annotated[
        Truth,
        typer.Option(
            "--truth",
            help="Whether folder names are the true expressions, to compare with. auto: only where all are words such "
            "as happy and sad; folders: also where they are codes or numbers.",
            rich_help_panel=_PICTURES,
        ),
    ] = "auto",
    class_order: Annotated[
        str,
        typer.Option(
            "--class-order",
            metavar="NAME",
            help="Meaning of folders that are numbers, for --truth folders: affectnet, rafdb and so on, as for train.",
            rich_help_panel=_PICTURES,
        ),
    ] = "",
    every: Annotated[
        float,
        typer.Option(
            "--every",
            metavar="SECONDS",
            min=0,
            help="Time from one frame of a video clip that is looked at to the next; 0 for every frame.",
            rich_help_panel=_PICTURES,
        ),
    ] = 0.5,
    faces: Annotated[
        Faces,
        typer.Option(
            "--faces",
            help="detect looks for faces; whole takes each picture as one face; auto does that for pictures that are "
            "face crops already.",
            rich_help_panel=_FACES,
        ),
    ] = "auto",
    face_model: Annotated[
        Path | None,
        typer.Option(
            "--face-model",
            metavar="FILE",
            help="Another face detector, as .onnx: YuNet, CenterFace or Ultra-Light.",
            rich_help_panel=_FACES,
        ),
    ] = None,
    min_face: Annotated[
        int,
        typer.Option(
            "--min-face",
            metavar="PIXELS",
            min=16,
            help="Smallest face to look for; a larger value is faster.",
            rich_help_panel=_FACES,
        ),
    ] = 16,
    max_side: Annotated[
        int,
        typer.Option(
            "--max-side",
            metavar="PIXELS",
            min=64,
            max=2560,
            help="Longest side of a picture at which faces are looked for; larger pictures are shrunk for that.",
            rich_help_panel=_FACES,
        ),
    ] = 1280,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Print one line of JSON per picture.", rich_help_panel=_ROWS)
    ] = False,
    jsonl_file: Annotated[
        Path | None,
        typer.Option(
            "--jsonl-file",
            metavar="FILE",
            help="Write such lines to a file, each as soon as its picture is done.",
            rich_help_panel=_ROWS,
        ),
    ] = None,
    append: Annotated[
        bool,
        typer.Option(
            "--append",
            help="Continue the file of --jsonl-file, or the folder of --engine ray: skip the pictures that are in it.",
            rich_help_panel=_ROWS,
        ),
    ] = False,
    parquet: Annotated[
        str | None,
        typer.Option(
            "--parquet",
            metavar="FILE",
            help="Write one row per face, for data frames; with --engine ray, a folder of such files.",
            rich_help_panel=_ROWS,
        ),
    ] = None,
    csv_raw: Annotated[
        bool,
        typer.Option(
            "--csv-raw",
            help="Write names unchanged into the --csv, also those that a spreadsheet would run as formulas.",
            rich_help_panel=_ROWS,
        ),
    ] = False,
    thumbnails: Annotated[
        bool,
        typer.Option(
            "--thumbnails",
            help="Put small copies of the pictures into the --report; without it, only boxes.",
            rich_help_panel=_ROWS,
        ),
    ] = False,
    engine: Annotated[
        Engine,
        typer.Option(
            "--engine",
            help="ray spreads the pictures over the processes of Ray Data, here or on the cluster of $RAY_ADDRESS. "
            "PATH and --parquet may then be addresses such as s3://bucket/photos.",
            rich_help_panel=_ENGINE,
        ),
    ] = "local",
    actors: Annotated[
        int,
        typer.Option(
            "--actors", metavar="N", min=0, help="Workers of --engine ray; 0: one per CPU.", rich_help_panel=_ENGINE
        ),
    ] = 0,
    device: Device = "auto",
    threads: Threads = 0,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=0,
            help="Continue without a picture that is not read within this time; 0 waits forever.",
            rich_help_panel=MACHINE,
        ),
    ] = 60.0,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Name the expression of every face in pictures and clips.

    It works offline, on files and folders.

    \b
    Examples:
      emotify predict photos/
      emotify predict a.jpg b.png --json
      emotify predict face.jpg --explain why/               which part of the face decided
      emotify predict photos/ --csv faces.csv --min-confidence 0.5
      emotify predict photos/ --report faces.html --thumbnails
      emotify predict photos/ --annotate marked/
      emotify predict clip.mp4 --report clip.html --every 1        frames of a video
      emotify predict photos/ --jsonl-file faces.jsonl --append    goes on where it stopped
      emotify predict faces48/ --faces whole --jsonl | head
      find . -name '*.jpg' -print0 | emotify predict --files-from - -0 --shard 0/4 --jsonl
      emotify predict - < face.jpg
      emotify predict s3://bucket/photos --engine ray --parquet s3://bucket/rows
      emotify predict test/ --model runs/ensemble/model.onnx    with happy/, sad/, ... inside: accuracy too
    """
    talk = Talk(quiet=quiet, verbose=verbose)
    if jsonl_file is not None and is_standard_output(jsonl_file):
        jsonl, jsonl_file = True, None
    if json and jsonl:
        msg = "--json prints one document and --jsonl a line a picture; take one of them"
        raise UsageError(msg)
    order = _parse_order(class_order, truth)
    on_ray = engine == "ray"
    inputs = Inputs(
        paths or [], files_from, null, follow_links, _parse_shard(shard), every,
        without_clips="--engine ray" if on_ray else "--append" if append else "--explain" if explain else "",
    )  # fmt: skip
    if on_ray:
        others = {"--json": json, "--jsonl": jsonl, "--jsonl-file": jsonl_file, "--csv": csv, "--report": report}
        check_ray_options(inputs, parquet, {**others, "--annotate": annotate, "--explain": explain})
        check_ray_machine(threads, device)
    elif actors:
        msg = "--actors is about --engine ray; name that too, or take --threads"
        raise UsageError(msg)
    outputs = Outputs(
        lines=jsonl_file, append=append and not on_ray, csv=csv, csv_raw=csv_raw,
        parquet=Path(parquet) if parquet and not on_ray else None, report=report, thumbnails=thumbnails,
        annotate=annotate, top=top, force=force,
    )  # fmt: skip
    if outputs.printed and (json or jsonl):
        msg = f"{outputs.printed[0]} and JSON cannot both go to standard output; name a file for one of them"
        raise UsageError(msg)
    inputs.check_not_written(outputs.files, models=[Path(name) for name in (model, face_model) if name])
    outputs.check()
    explainer = None if explain is None else Explainer(explain, talk, force=force, append=append)

    from emotify.pictures.finding import Tally
    from emotify.prediction.predictor import Predictor
    from emotify.prediction.summary import Summary

    options: dict[str, Any] = {
        "model": _find_model(model, talk) or "default", "faces": faces, "face_model": face_model,
        "min_face": min_face, "max_side": max_side, "min_confidence": min_confidence, "head": head,
        "device": device, "timeout": timeout,
    }  # fmt: skip
    # With Ray the workers have the GPUs, and this process need not.
    predictor = Predictor(**{**options, "device": "cpu"} if on_ray else options, threads=threads)
    tally, summary = Tally(), Summary(truth, order)
    screen = open_screen(talk, json=json, jsonl=jsonl, top=top, used=bool(outputs.printed))
    start = time.monotonic()
    if on_ray:
        assert parquet is not None
        job = make_job(inputs, parquet, options, top=top, summary=summary)
        predict_with_ray(
            job, predictor, inputs, tally, summary, talk, append=append, force=force, actors=actors, device=device
        )
        _check_found(inputs, tally)
        talk.notice(f"wrote {printable(parquet)}")
    else:
        _predict_here(predictor, inputs, outputs, explainer, tally, summary, screen, talk)
    _tell_passed_over(inputs, tally, talk)
    seconds = time.monotonic() - start
    doubt = doubt_numbers(summary.numbers) if summary.numbers and not class_order else None
    if summary.pictures or json:
        scores = None if doubt else _score_truth(summary)
        if scores is not None and summary.numbers:
            talk.error(order_sentence(summary) + ("" if class_order else "; --class-order says another"))
        name, head = predictor.session.name, predictor.session.head
        screen.finish(Ending(summary, scores, seconds, name, head, tally.counts()))
    if doubt:
        msg = f"--truth folders: the folders are {doubt}"
        raise InputError(msg)
    _tell_failures(summary, talk)
    if summary.failed:
        raise typer.Exit(ExitCode.SOME_FAILED if summary.failed < summary.pictures else ExitCode.INPUT)


def _predict_here(
    predictor: Predictor, inputs: Inputs, outputs: Outputs, explainer: Explainer | None, tally: Tally,
    summary: Summary, screen: Screen, talk: Talk,
) -> None:  # fmt: skip
    """Predict in this process, and tell what was written, and of copies that were not made."""
    session = predictor.session
    opening = outputs.open(
        inputs, model=session.name, meaning=session.head.meaning, threads=predictor.threads, timeout=predictor.timeout
    )
    with unwinding(), opening as opened:
        if explainer is not None:
            explainer.begin()
            # First: a picture whose line is written is done, and --append does not come back to it.
            opened.sinks.insert(0, lambda seen: explainer.add(predictor, inputs, seen.result))
        folders = (outputs.annotate, explainer.folder if explainer else None)
        pictures = inputs.pictures(tally, done=opened.done, without=[folder for folder in folders if folder])
        results = predictor.predict(pictures, waiting=functools.partial(_flush, opened))
        with _telling_how_to_go_on(opened):
            bare = isinstance(screen, JsonLinesScreen) and sys.stdout.isatty()
            shown = results if bare else with_progress(results, talk, total=inputs.count)
            _pass_on(shown, opened, summary, screen, talk)
        _check_found(inputs, tally)
    for line in [*opened.written(), *([] if explainer is None else [explainer.written()])]:
        talk.notice(f"wrote {line}")
    if opened.changed:
        talk.error(f"{amount(opened.changed, 'picture')} changed before drawing; there is no copy or thumbnail of them")
    if opened.kept:
        talk.notice(f"annotated copies not made, as there are such files: {opened.kept:,}; --force replaces them")


def _parse_order(text: str, truth: Truth) -> Mapping[int, str]:
    """Return what folders that are numbers mean. Raises UsageError."""
    if not text:
        return CLASS_ORDERS[FER2013]
    if truth != "folders":
        msg = "--class-order says what numbers mean as the truth; add --truth folders"
        raise UsageError(msg)
    try:
        return parse_class_order(text)
    except ValueError as error:
        msg = f"--class-order: {error}"
        raise UsageError(msg) from error


def _parse_shard(text: str | None) -> Shard | None:
    if text is None:
        return None
    from emotify.prediction.sharding import Shard

    return Shard.parse(text)


def _find_model(given: str | None, talk: Talk) -> str | Path | None:
    """Return the model to use, None for the one inside the package, and say which when it was not given."""
    if given is not None:
        return given
    if os.environ.get("EMOTIFY_MODEL"):
        talk.notice(f"model: $EMOTIFY_MODEL, {os.environ['EMOTIFY_MODEL']}")
        return os.environ["EMOTIFY_MODEL"]
    if found := exports(RUNS):
        talk.notice(f"model: the newest export in {RUNS}/, {found[-1]}")
        return found[-1]
    talk.notice("model: default, inside emotify")
    return None


def _pass_on(
    results: Iterator[PictureResult],
    opened: Opened,
    summary: Summary,
    screen: Screen,
    talk: Talk,
) -> None:
    """Give each result, as it comes, to all that wait for it. Raises InputError at one without the truth it needs."""
    for seen in opened.look_again(results):
        result = seen.result
        if result.note:
            talk.detail(f"{printable(result.path)}: {result.note}")
        summary.add(result)
        summary.check_truth(result.path)
        for sink in opened.sinks:
            sink(seen)
        with _showing(opened):
            screen.show(result)


def _flush(opened: Opened) -> None:
    """Print what was held back, before a pause."""
    with _showing(opened):
        sys.stdout.flush()


@contextlib.contextmanager
def _showing(opened: Opened) -> Iterator[None]:
    """Tell errors of standard output as its own: around it are those of the files."""
    try:
        yield
    except BrokenPipeError:
        if not opened.any:
            raise
        forget_stdout()  # whoever read it has left; the files are still wanted
    except OSError as error:
        forget_stdout()
        msg = f"cannot write to standard output: {error.strerror}"
        raise WriteError(msg) from error


def _telling_how_to_go_on(opened: Opened) -> AbstractContextManager[None]:
    if opened.lines is None:
        return contextlib.nullcontext()
    return saying_on_interrupt(f"go on with the same command{'' if opened.outputs.append else ' and --append'}")


def _check_found(inputs: Inputs, tally: Tally) -> None:
    """Raise InputError when there was nothing to predict; a part of the pictures may be empty."""
    if not inputs.found:
        left = "; ".join(_passed_over(tally))
        msg = f"no images found in {inputs}{f' ({left})' if left else ''}"
        raise InputError(msg)


def _passed_over(tally: Tally) -> Iterator[str]:
    """Yield what a walk left, and why."""
    if tally.ignored:
        yield f"{amount(tally.ignored, 'other file')} ignored"
    if tally.links:
        yield f"{amount(tally.links, 'link')} inside folders {_were(tally.links)} not followed; --follow-links does"
    if tally.folders:
        names = ", ".join(f"{count:,} {printable(name)}" for name, count in tally.folders.most_common())
        yield f"folders of other programs were passed over: {names}"
    if tally.clips:
        left = f"{amount(tally.clips, 'video clip')} inside folders {_were(tally.clips)} left out"
        yield f"{left}; clips are taken where they are named: emotify predict clip.mp4"
    if tally.again:
        yield f"{amount(tally.again, 'folder')} {_were(tally.again)} reached more than once; pictures are taken once"


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def _tell_passed_over(inputs: Inputs, tally: Tally, talk: Talk) -> None:
    for line in _passed_over(tally):
        talk.notice(line)
    if inputs.skipped:
        talk.notice(f"{amount(inputs.skipped, 'picture')} {_were(inputs.skipped)} done before")
    if inputs.other_shards:
        talk.notice(f"{amount(inputs.other_shards, 'picture')} outside shard {inputs.shard}")


def _score_truth(summary: Summary) -> Scores | None:
    """Score the pictures against their folders' names, where these are expressions and that is wanted."""
    if not summary.has_truth:
        return None
    from emotify.evaluation.metrics import score

    probabilities, labels = summary.truth()
    return score(probabilities, labels) if len(labels) else None


def _tell_failures(summary: Summary, talk: Talk) -> None:
    if summary.failed:
        kinds = ", ".join(f"{count} {status}" for status, count in summary.failures.most_common())
        talk.error(f"{summary.failed} of {amount(summary.pictures, 'picture')} could not be read: {kinds}")
