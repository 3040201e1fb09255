"""Create, resume and finish run folders."""

from __future__ import annotations

import contextlib
import platform
import re
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch

from emotify import __version__
from emotify.choices import Split
from emotify.data.types import Dataset
from emotify.emotions import EMOTIONS
from emotify.errors import InputError, ModelError, UnavailableError, UsageError, WriteError
from emotify.evaluation.metrics import Scores, score
from emotify.files import explain_write_errors, locked, printable, remove_strays, write_json
from emotify.networks import count_macs, count_parameters
from emotify.networks.inference import is_out_of_memory, predict_answers
from emotify.networks.pretrained import PUBLISHED
from emotify.opening import Kind
from emotify.opening import resolve as resolve_model
from emotify.runs import STATE, new_folder, read_whole_run, update_record
from emotify.training.checkpoint import DamagedError
from emotify.training.config import TrainConfig, read_config
from emotify.training.device import check_device, describe, resolve
from emotify.training.distributed import ALONE, World
from emotify.training.loop import Training
from emotify.training.prepare import Prepared, prepare
from emotify.training.teacher import runtime_version


@contextlib.contextmanager
def new_run(
    config: TrainConfig,
    dataset: Dataset,
    *,
    out: Path,
    argv: Sequence[str] = (),
    world: World = ALONE,
    prepared: Prepared | None = None,
) -> Iterator[Training]:
    """Create a run folder below `out` and yield its training, before the first step.

    prepared: the result of `prepare`, if it was called before. With several processes only the main process creates
    the folder. Raises InputError if the data cannot be used for training, UnavailableError if the device is missing,
    WriteError if the folder cannot be written.
    """
    prepared = prepared or prepare(config)
    _check_share(config, world)
    _check_data(dataset, config)
    if not world.is_main:
        theirs: tuple[TrainConfig, Path] = world.from_leader(None)
        with _explaining_errors(theirs[0]):
            yield Training(theirs[0], dataset.splits, theirs[1], world, prepared=prepared)
        return
    config = resolve(config, steps=config.epochs * (len(dataset.splits[Split.TRAIN]) // config.batch_size))
    folder = new_folder(out, f"{config.model}-s{config.seed}")
    with locked(folder / ".lock"), _explaining_errors(config):
        write_json(folder / "config.json", config.document())
        world.from_leader((config, folder))
        training = Training(config, dataset.splits, folder, world, prepared=prepared)
        update_record(
            folder,
            status="running",
            model=config.model,
            parameters=count_parameters(training.average),
            macs=count_macs(training.average),
            classes=EMOTIONS,
            **_machine(config, world),
            precision=config.precision,
            data={
                "name": PurePath(dataset.source).name,
                "sha256": training.data_sha256,
                "counts": {split.value: images.counts().tolist() for split, images in dataset.splits.items()},
            },
            argv=[_without_folders(word) for word in argv],
            wall_seconds=0.0,
            **_published(config),
        )
        if config.pretrained:
            training.save_state()  # so that resuming does not need the package of the weights
        with _keeping_record(training):
            yield training


@contextlib.contextmanager
def resumed_run(
    folder: Path, dataset: Dataset, *, device: str = "", threads: int = 0, world: World = ALONE
) -> Iterator[Training]:
    """Yield the training of an unfinished run, at its last saved state.

    device, threads: replace the options of the run. Raises ModelError if folder, state or data do not fit, WriteError
    if another process trains this run.
    """
    check_resumable(folder)
    config = _config_for(folder, device=device, threads=threads)
    _check_share(config, world)
    _check_data(dataset, config)
    with locked(folder / ".lock") if world.is_main else contextlib.nullcontext(), _explaining_errors(config):
        check_resumable(folder)  # again, as another process may have finished the run in the meantime
        if world.is_main:
            remove_strays(folder)
        prepared = prepare(config, resuming=(folder / STATE).exists())
        training = Training(config, dataset.splits, folder, world, prepared=prepared)
        if (folder / STATE).exists():
            _load_state(training)
        elif read_whole_run(folder).record["data"]["sha256"] != training.data_sha256:
            msg = f"{printable(folder)} began on other data; resume it with the original --data"
            raise ModelError(msg)
        if not world.is_main:
            yield training
            return
        before, now = read_whole_run(folder).record, _machine(config, world)
        if changed := {name: before.get(name) for name in now if before.get(name) != now[name]}:
            now["earlier"] = [*before.get("earlier", []), {"until_step": training.step, **changed}]
        update_record(folder, status="running", **now)
        with _keeping_record(training):
            yield training


def changes_since(folder: Path, *, device: str = "", threads: int = 0, world: World = ALONE) -> list[str]:
    """Return one text for each change of the machine or the packages since `folder` was last trained.

    With any change, the weights of the resumed run may differ from those of an uninterrupted run.
    """
    record = read_whole_run(folder).record
    now = _machine(_config_for(folder, device=device, threads=threads), world)
    computing = ("torch", "onnxruntime")  # of all versions, only these affect the weights
    before = {**record, **_only(computing, record["versions"]), "processes": record.get("processes", 1)}
    now |= _only(computing, now.pop("versions"))
    return [f"{name} {before.get(name)}, now {value}" for name, value in now.items() if before.get(name) != value]


def check_resumable(folder: Path) -> None:
    """Raise ModelError if `folder` is not a run, UsageError if the run has finished."""
    if read_whole_run(folder).finished:
        score = shlex.join(["emotify", "evaluate", printable(folder)])
        msg = f"{printable(folder)} has finished; score it with: {score}"
        raise UsageError(msg)


def finish_run(training: Training) -> Scores:
    """Write the checkpoint and return its scores on `valid`. The run can be resumed until `close_run`."""
    training.save_state()
    answers = predict_answers(training.average, training.valid.images, device=training.device)
    scores = score(answers.labels, training.valid.labels)
    training.save_checkpoint({"accuracy": scores.accuracy, "nll": scores.nll})
    update_record(training.folder, normalisation="measured" if training.measured else "followed")
    return scores


def close_run(folder: Path, scores: Scores) -> None:
    """Mark a run as finished, and delete the state, which only resuming needs."""
    update_record(folder, status="finished", valid=scores.document())
    for name in (STATE, Path(STATE).with_suffix(".json").name):
        with explain_write_errors(folder / name):
            (folder / name).unlink(missing_ok=True)


def _load_state(training: Training) -> None:
    try:
        training.load_state()
    except DamagedError as error:
        msg = f"{error}; delete it, and --resume trains this run again from its first step"
        raise ModelError(msg) from error
    except (UsageError, KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise
        path = printable(training.folder / STATE)
        msg = f"{path} does not fit this version of emotify; delete it, and --resume trains from the first step"
        raise ModelError(msg) from error


def _config_for(folder: Path, *, device: str, threads: int) -> TrainConfig:
    """Return the options of the run in `folder`, with `device` and `threads` in place of its own unless "" or 0.

    Raises UnavailableError if the device is missing, or if --compile on cannot compile here.
    """
    config = read_config(folder / "config.json")
    config = replace(config, device=device or config.device, threads=threads or config.threads)
    check_device(config)
    return resolve(config)


def _without_folders(word: str) -> str:
    """Return a word of a command line with absolute paths cut to their last part, also after `--name=` or a comma."""
    name, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    paths = re.split(r",(?=/|\w:)", value)
    return f"{name}{equals}" + ",".join(PurePath(path).name if PurePath(path).is_absolute() else path for path in paths)


def _machine(config: TrainConfig, world: World) -> dict[str, Any]:
    runs_teacher = bool(config.distill) and resolve_model(config.distill).kind is Kind.FILE
    return {
        "device": describe(config.device),
        "processes": world.size,
        "threads": config.threads,
        "versions": {
            "emotify": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            **({"onnxruntime": runtime_version()} if runs_teacher else {}),
        },
    }


def _published(config: TrainConfig) -> dict[str, Any]:
    """Return the source of published weights for run.json."""
    if not config.pretrained:
        return {}
    published = PUBLISHED[config.model]
    return {
        "pretrained": {
            "package": published.package,
            "file": PurePath(published.file).name,
            "sha256": published.sha256,
            "licence": published.licence,
        }
    }


def _only(names: Sequence[str], versions: Mapping[str, str]) -> dict[str, str]:
    return {name: versions[name] for name in names if name in versions}


@contextlib.contextmanager
def _explaining_errors(config: TrainConfig) -> Iterator[None]:
    """Raise UnavailableError if torch ran out of memory in the block, or if torch.compile failed."""
    try:
        yield
    except RuntimeError as error:
        if config.compile == "on" and type(error).__module__.startswith(("torch._inductor", "torch._dynamo")):
            msg = (
                f"--compile on: torch.compile failed ({type(error).__name__}); it needs free space in the folder for "
                "temporary files (TMPDIR) and a C++ compiler that works; or train with --compile off"
            )
            raise UnavailableError(msg) from error
        if not is_out_of_memory(error):
            raise
        msg = f"{config.device} has too little memory; lower --batch-size {config.batch_size}"
        raise UnavailableError(msg) from error


@contextlib.contextmanager
def _keeping_record(training: Training) -> Iterator[None]:
    """Write time and speed to run.json when the block ends, and the status if the run has not finished."""
    begun, first, before = time.monotonic(), training.step, read_whole_run(training.folder).record["wall_seconds"]
    failed = False
    try:
        yield
    except Exception:  # any error: the record gets the status "failed", and the error is raised again
        failed = True
        raise
    finally:
        seconds = time.monotonic() - begun
        images = (training.step - first) * training.config.batch_size
        speed = {"wall_seconds": round(before + seconds, 1), "images_per_second": round(images / seconds, 1)}
        with contextlib.suppress(WriteError):  # it must not hide an earlier error
            if not read_whole_run(training.folder).finished:
                update_record(training.folder, status="failed" if failed else "interrupted")
            update_record(training.folder, **speed)


def _check_share(config: TrainConfig, world: World) -> None:
    if config.batch_size % world.size:
        count = world.size
        msg = f"--batch-size {config.batch_size} cannot be shared by {count} processes; take a multiple of {count}"
        raise UsageError(msg)


def _check_data(dataset: Dataset, config: TrainConfig) -> None:
    """Raise InputError or UsageError if the data do not fit. `read_dataset` has checked the classes of each split."""
    for split in (Split.TRAIN, Split.VALID):
        if split not in dataset.splits:
            msg = f"{printable(dataset.source)} has no images of the {split} split; training needs train and valid"
            raise InputError(msg)
        if config.crowd_weight and dataset.splits[split].votes is None:
            msg = f"--crowd-weight {config.crowd_weight:g} needs the votes of FER+; add --ferplus fer2013new.csv"
            raise InputError(msg)
    train = dataset.splits[Split.TRAIN]
    if config.batch_size > len(train):
        msg = f"--batch-size {config.batch_size} exceeds the {len(train)} images of train; lower it"
        raise UsageError(msg)
