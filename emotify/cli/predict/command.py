"""`emotify predict`."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotify.choices import Truth
from emotify.cli.completion import PREDICT_OFFERS
from emotify.cli.console import Messages
from emotify.cli.errors import discard_stdout, hint_on_interrupt
from emotify.cli.options import Debug, Device, Force, Json, Threads, with_settings
from emotify.cli.predict.explain import Explainer
from emotify.cli.predict.inputs import Inputs
from emotify.cli.predict.outputs import Opened, Outputs
from emotify.cli.predict.ray import check_ray_machine, check_ray_options, make_job, predict_with_ray
from emotify.cli.predict.screen import FinalSummary, JsonLinesScreen, Screen, open_screen, order_sentence, with_progress
from emotify.cli.predict.settings import TABLES, PredictSettings
from emotify.emotions import CLASS_ORDERS, FER2013, explain_ambiguous_numbers, parse_class_order
from emotify.errors import ExitCode, InputError, UsageError, WriteError
from emotify.files import is_standard_output, printable
from emotify.runs import RUNS, SYNTHETIC, data_of, exports
from emotify.stopping import raising_interrupts
from emotify.words import amount

if TYPE_CHECKING:
    from emotify.evaluation.metrics import Scores
    from emotify.pictures.finding import Tally
    from emotify.prediction.predictor import Predictor
    from emotify.prediction.results import PictureResult
    from emotify.prediction.sharding import Shard
    from emotify.prediction.summary import Summary


@functools.partial(with_settings, offers=PREDICT_OFFERS)
def predict(
    *,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH",
            help="Pictures, folders of pictures or video clips; - reads one picture from standard input.",
        ),
    ] = None,
    settings: PredictSettings,
    device: Device = "auto",
    threads: Threads = 0,
    force: Force = False,
    json: Json = False,
    messages: Messages,
    debug: Debug = False,
) -> None:
    """Name the expression of every face in pictures and clips.

    It works offline. Only --engine ray with addresses uses a network.

    \b
    Examples:
      emotify predict photos/
      emotify predict a.jpg b.png --json
      emotify predict face.jpg --explain why/               show which part decided the answer
      emotify predict photos/ --csv faces.csv --min-confidence 0.5
      emotify predict photos/ --report faces.html --thumbnails
      emotify predict photos/ --annotate marked/
      emotify predict clip.mp4 --report clip.html --every 1        frames of a video
      emotify predict photos/ --jsonl-file faces.jsonl --append    resume it later
      emotify predict faces48/ --faces whole --jsonl | head
      find . -name '*.jpg' -print0 | emotify predict --files-from - -0 --shard 0/4 --jsonl
      emotify predict - < face.jpg
      emotify predict s3://bucket/photos --engine ray --parquet s3://bucket/rows
      emotify predict test/ --model runs/ensemble/model.onnx    also accuracy, if test/ has happy/, sad/, ...
    """
    wanted = _normalised(settings, json=json)
    order = _parse_order(wanted.class_order, wanted.truth)
    inputs, outputs = _inputs(paths or [], wanted), _outputs(wanted, json=json, force=force)
    if wanted.on_ray:
        check_ray_options(inputs, wanted, json=json)
        check_ray_machine(threads, device)
    inputs.check_not_written(outputs.files, models=[Path(name) for name in (wanted.model, wanted.face_model) if name])
    outputs.check()
    explainer = None
    if wanted.explain is not None:
        explainer = Explainer(wanted.explain, messages, force=force, append=wanted.append)

    from emotify.pictures.finding import Tally
    from emotify.prediction.predictor import Predictor
    from emotify.prediction.summary import Summary

    options = _predictor_options(wanted, device, messages)
    # With Ray only the workers need the GPUs.
    predictor = Predictor(**{**options, "device": "cpu"} if wanted.on_ray else options, threads=threads)
    tally, summary = Tally(), Summary(wanted.truth, order)
    screen = open_screen(messages, json=json, jsonl=wanted.jsonl, top=wanted.top, used=bool(outputs.printed))
    start = time.monotonic()
    if wanted.on_ray:
        job = make_job(inputs, str(wanted.parquet), options, top=wanted.top, summary=summary)
        predict_with_ray(job, predictor, inputs, tally, summary, messages, wanted, force=force, device=device)
        _check_found(inputs, tally)
    else:
        _predict_here(predictor, inputs, outputs, explainer, tally, summary, screen, messages)
    _report_skipped(inputs, tally, messages)
    seconds = time.monotonic() - start
    if summary.pictures or json:
        scores = _score_truth(summary, messages, order_given=bool(wanted.class_order))
        name, head = predictor.session.name, predictor.session.head
        screen.finish(FinalSummary(summary, scores, seconds, name, head, tally.counts()))
    if doubt := _doubt(summary, order_given=bool(wanted.class_order)):
        msg = f"--truth folders: the folders are {doubt}"
        raise InputError(msg)
    _report_failures(summary, messages)
    if summary.failed:
        raise typer.Exit(ExitCode.SOME_FAILED if summary.failed < summary.pictures else ExitCode.INPUT)


def _normalised(wanted: PredictSettings, *, json: bool) -> PredictSettings:
    """Return the settings with `--jsonl-file -` replaced by --jsonl. Raises UsageError for options that conflict."""
    if wanted.jsonl_file is not None and is_standard_output(wanted.jsonl_file):
        wanted = dataclasses.replace(wanted, jsonl=True, jsonl_file=None)
    if json and wanted.jsonl:
        msg = "--json prints one document and --jsonl one line per picture; give only one of them"
        raise UsageError(msg)
    if wanted.actors and not wanted.on_ray:
        msg = "--actors needs --engine ray; add that, or use --threads"
        raise UsageError(msg)
    return wanted


def _inputs(paths: list[str], wanted: PredictSettings) -> Inputs:
    without_clips = "--engine ray" if wanted.on_ray else "--append" if wanted.append else ""
    return Inputs(
        paths,
        wanted.files_from,
        wanted.null,
        wanted.follow_links,
        _parse_shard(wanted.shard),
        wanted.every,
        without_clips=without_clips or ("--explain" if wanted.explain else ""),
    )


def _outputs(wanted: PredictSettings, *, json: bool, force: bool) -> Outputs:
    outputs = Outputs(
        lines=wanted.jsonl_file,
        append=wanted.append and not wanted.on_ray,
        tables={name: Path(path) for name in TABLES if (path := getattr(wanted, name)) and not wanted.on_ray},
        csv_raw=wanted.csv_raw,
        report=wanted.report,
        thumbnails=wanted.thumbnails,
        annotate=wanted.annotate,
        top=wanted.top,
        force=force,
    )
    if outputs.printed and (json or wanted.jsonl):
        msg = f"{outputs.printed[0]} and JSON cannot both be written to standard output; name a file for one of them"
        raise UsageError(msg)
    return outputs


def _predict_here(
    predictor: Predictor, inputs: Inputs, outputs: Outputs, explainer: Explainer | None, tally: Tally,
    summary: Summary, screen: Screen, messages: Messages,
) -> None:  # fmt: skip
    """Predict in this process. Print the files that were written, and the copies that were skipped."""
    session = predictor.session
    opening = outputs.open(
        inputs, model=session.name, meaning=session.head.meaning, threads=predictor.threads, timeout=predictor.timeout
    )
    with raising_interrupts(), opening as opened:
        if explainer is not None:
            explainer.begin()
            # First: --append skips a picture as soon as its line is written.
            opened.sinks.insert(0, lambda seen: explainer.add(predictor, inputs, seen.result))
        folders = (outputs.annotate, explainer.folder if explainer else None)
        without = [folder for folder in folders if folder]
        pictures = inputs.pictures(tally, done=opened.done, without=without)
        results = predictor.predict(pictures, waiting=functools.partial(_flush, opened))
        with _resume_hint(opened):
            bare = isinstance(screen, JsonLinesScreen) and sys.stdout.isatty()
            count = functools.partial(inputs.count_all, without) if inputs.are_countable and not opened.done else None
            shown = results if bare else with_progress(results, messages, total=inputs.count, count=count)
            _pass_on(shown, opened, summary, screen, messages)
        _check_found(inputs, tally)
    for line in [*opened.written(), *([] if explainer is None else [explainer.written()])]:
        messages.notice(f"wrote {line}")
    if opened.changed:
        messages.error(f"{amount(opened.changed, 'picture')} changed while predicting, and got no copy or thumbnail")
    if opened.kept:
        messages.notice(f"annotated copies that exist already and were kept: {opened.kept:,}; --force overwrites them")


def _parse_order(text: str, truth: Truth) -> Mapping[int, str]:
    """Return the class order for numbered folders. Raises UsageError."""
    if not text:
        return CLASS_ORDERS[FER2013]
    if truth != "folders":
        msg = "--class-order says what numbered folders mean; add --truth folders"
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


def _predictor_options(wanted: PredictSettings, device: str, messages: Messages) -> dict[str, Any]:
    names = ("faces", "face_model", "min_face", "max_side", "min_confidence", "head", "timeout")
    model = _find_model(wanted.model, messages) or "default"
    return {"model": model, "device": device, **{name: getattr(wanted, name) for name in names}}


def _find_model(given: str | None, messages: Messages) -> str | Path | None:
    """Return the model to use, None for the built-in default; print which one if the user named none."""
    if given is not None:
        return given
    if os.environ.get("EMOTIFY_MODEL"):
        messages.notice(f"model: $EMOTIFY_MODEL, {os.environ['EMOTIFY_MODEL']}")
        return os.environ["EMOTIFY_MODEL"]
    if found := exports(RUNS):
        messages.notice(f"model: the newest export in {RUNS}/, {found[-1]}")
        if SYNTHETIC in data_of(found[-1].parent):
            messages.error(
                "that model was trained on drawn faces; for photographs use the built-in one: --model default"
            )
        return found[-1]
    messages.notice("model: default, built in")
    return None


def _pass_on(
    results: Iterator[PictureResult],
    opened: Opened,
    summary: Summary,
    screen: Screen,
    messages: Messages,
) -> None:
    """Pass each result to the summary, the files and the screen. Raises InputError for a picture without --truth."""
    for seen in opened.reread(results):
        result = seen.result
        if result.note:
            messages.detail(f"{printable(result.path)}: {result.note}")
        summary.add(result)
        summary.check_truth(result.path)
        for sink in opened.sinks:
            sink(seen)
        with _showing(opened):
            screen.show(result)


def _flush(opened: Opened) -> None:
    """Flush the printed rows before a pause."""
    with _showing(opened):
        sys.stdout.flush()


@contextlib.contextmanager
def _showing(opened: Opened) -> Iterator[None]:
    """Report errors of standard output as such, and not as errors of the output files."""
    try:
        yield
    except BrokenPipeError:
        if not opened.any:
            raise
        discard_stdout()  # the reader has ended; the files are still wanted
    except OSError as error:
        discard_stdout()
        msg = f"cannot write to standard output: {error.strerror}"
        raise WriteError(msg) from error


def _resume_hint(opened: Opened) -> AbstractContextManager[None]:
    if opened.lines is None:
        return contextlib.nullcontext()
    return hint_on_interrupt(f"resume with the same command{'' if opened.outputs.append else ' and --append'}")


def _check_found(inputs: Inputs, tally: Tally) -> None:
    """Raise InputError if no picture was found; a shard may be empty."""
    if not inputs.found:
        left = "; ".join(_skipped_files(tally))
        msg = f"no images found in {inputs}{f' ({left})' if left else ''}"
        raise InputError(msg)


def _skipped_files(tally: Tally) -> Iterator[str]:
    """Yield a line for each kind of skipped files, with the reason."""
    if tally.ignored:
        yield f"{amount(tally.ignored, 'other file')} ignored"
    if tally.links:
        links = amount(tally.links, "link")
        yield f"{links} inside folders {_were(tally.links)} not followed; --follow-links follows links"
    if tally.folders:
        names = ", ".join(f"{count:,} {printable(name)}" for name, count in tally.folders.most_common())
        yield f"folders of other programs were skipped: {names}"
    if tally.clips:
        yield (
            f"{amount(tally.clips, 'video clip')} inside folders {_were(tally.clips)} skipped; "
            "name clips to read them: emotify predict clip.mp4"
        )
    if tally.again:
        folders = amount(tally.again, "folder")
        yield f"{folders} {_were(tally.again)} found more than once; each picture is predicted once"


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def _report_skipped(inputs: Inputs, tally: Tally, messages: Messages) -> None:
    for line in _skipped_files(tally):
        messages.notice(line)
    if inputs.skipped:
        messages.notice(f"{amount(inputs.skipped, 'picture')} {_were(inputs.skipped)} done before")
    if inputs.other_shards:
        messages.notice(f"{amount(inputs.other_shards, 'picture')} outside shard {inputs.shard}")


def _doubt(summary: Summary, *, order_given: bool) -> str | None:
    """Return why the order of numbered folders is doubtful; None if it is not, or if no folder is a number."""
    return explain_ambiguous_numbers(summary.numbers) if summary.numbers and not order_given else None


def _score_truth(summary: Summary, messages: Messages, *, order_given: bool) -> Scores | None:
    """Score the predictions against the folders' names; None if these are no expressions, or with --truth none."""
    if not summary.has_truth or _doubt(summary, order_given=order_given):
        return None
    from emotify.evaluation.metrics import score

    probabilities, labels = summary.truth()
    if not len(labels):
        return None
    if summary.numbers:
        messages.error(order_sentence(summary) + ("" if order_given else "; change it with --class-order"))
    return score(probabilities, labels)


def _report_failures(summary: Summary, messages: Messages) -> None:
    if summary.failed:
        kinds = ", ".join(f"{count} {status}" for status, count in summary.failures.most_common())
        messages.error(f"{summary.failed} of {amount(summary.pictures, 'picture')} could not be read: {kinds}")
