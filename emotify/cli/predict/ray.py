"""`emotify predict --engine ray`: checks its options and runs the job."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from emotify.cli.console import Messages
from emotify.cli.errors import hint_on_interrupt
from emotify.cli.predict.inputs import STDIN, Inputs
from emotify.cli.predict.screen import with_progress
from emotify.cli.predict.settings import TABLES, PredictSettings
from emotify.errors import UsageError
from emotify.files import is_standard_output, printable
from emotify.settings import option
from emotify.stopping import raising_interrupts

if TYPE_CHECKING:
    from emotify.engines.ray_worker import Job
    from emotify.pictures.finding import Tally
    from emotify.prediction.predictor import Predictor
    from emotify.prediction.summary import Summary


_TABLES: Final = [name for name in TABLES if name != "parquet"]
_NOT_WITH_RAY: Final = ("jsonl", "jsonl_file", *_TABLES, "report", "annotate", "explain")  # fields of PredictSettings


def check_ray_options(inputs: Inputs, wanted: PredictSettings, *, json: bool) -> None:
    """Raise UsageError for options that `--engine ray` does not support, UnavailableError if Ray is not installed."""
    parquet = wanted.parquet
    if parquet is None or is_standard_output(Path(parquet)):
        msg = "--engine ray writes a folder of Parquet files; name the folder with --parquet OUT"
        raise UsageError(msg)
    given = [option(name) for name in _NOT_WITH_RAY if getattr(wanted, name)]
    if given := [*(["--json"] if json else []), *given]:
        msg = f"--engine ray writes only --parquet OUT; leave out {', '.join(given)}"
        raise UsageError(msg)
    if STDIN in (*inputs.words, inputs.files_from):
        msg = "--engine ray cannot read standard input, as its workers do not have it; name files, folders or a list"
        raise UsageError(msg)
    from emotify.engines.filesystems import is_address, open_filesystem
    from emotify.engines.ray_job import require_ray

    require_ray()
    for place in filter(is_address, (*inputs.words, parquet)):
        open_filesystem(place)


def check_ray_machine(threads: int, device: str) -> None:
    """Raise UsageError for threads and devices that Ray assigns itself."""
    if threads > 1:
        msg = "--threads: with --engine ray each worker has one thread; set the number of workers with --actors N"
        raise UsageError(msg)
    if device not in {"auto", "cpu", "cuda"}:
        msg = f"--device {device}: Ray assigns the GPUs to its workers; use --device cuda"
        raise UsageError(msg)


def predict_with_ray(
    job: Job, predictor: Predictor, inputs: Inputs, tally: Tally, summary: Summary, messages: Messages,
    wanted: PredictSettings, *, force: bool, device: str,
) -> None:  # fmt: skip
    """Run the job, and add its counts to `inputs`, `tally` and `summary`."""
    from emotify.engines.listing import add_skipped
    from emotify.engines.output import Output
    from emotify.engines.ray_job import run

    output = Output(job.output, job.run)
    go_on = f"resume with the same command{'' if wanted.append else ' and --append'}"
    begun = output.begin(_settings(job, predictor), append=wanted.append, overwrite=force)
    with raising_interrupts(), begun, hint_on_interrupt(go_on):
        outcomes = run(job, output, actors=wanted.actors, device=device)
        for outcome in with_progress(outcomes, messages, pictures=lambda outcome: outcome.summary.pictures):
            summary.merge(outcome.summary)
            inputs.found += outcome.counts["found"]
            inputs.skipped += outcome.counts["skipped"]
            inputs.other_shards += outcome.counts["other_shards"]
            add_skipped(tally, outcome.counts)
    if inputs.found:
        messages.notice(f"wrote {printable(str(wanted.parquet))}")


def make_job(inputs: Inputs, output: str, options: Mapping[str, Any], *, top: int, summary: Summary) -> Job:
    """Return the job. options: arguments of Predictor. Paths become absolute, so that every process finds the files."""
    from emotify.engines.listing import Sources
    from emotify.engines.ray_worker import Job
    from emotify.opening import Kind, packaged_models, resolve

    model = resolve(options["model"], takes=(Kind.FILE,))
    inside = packaged_models().get(model.given) == model.path  # its path differs between machines, its name does not
    files = {"model": model.given if inside else str(model.path.absolute())}
    if options["face_model"]:
        files["face_model"] = str(Path(options["face_model"]).absolute())
    return Job(
        sources=Sources(
            tuple(inputs.words), inputs.files_from, inputs.null, inputs.follow_links, inputs.shard, os.getcwd()  # noqa: PTH109
        ),
        output=output if "://" in output else str(Path(output).absolute()),
        run=secrets.token_hex(8),
        predictor={**options, **files},
        top=top,
        truth=summary.truth_wanted,
        class_order=dict(summary.order),
    )  # fmt: skip


def _settings(job: Job, predictor: Predictor) -> dict[str, Any]:
    """Return the settings that rows depend on. Jobs with different settings cannot share an output folder."""
    from emotify.files import file_sha256
    from emotify.opening import Kind, resolve

    options, face_model = job.predictor, job.predictor["face_model"]
    files = {
        "model": file_sha256(resolve(options["model"], takes=(Kind.FILE,)).path),
        "face_model": file_sha256(Path(face_model)) if face_model else None,
    }
    others = {name: value for name, value in options.items() if name not in {*files, "device"}}
    return {**files, **others, "head": str(predictor.session.head), "top": job.top}
