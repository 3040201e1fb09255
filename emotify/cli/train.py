"""`emotify train`."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotify.choices import Recipe
from emotify.cli.completion import TRAIN_OFFERS, completing, unfinished_runs
from emotify.cli.console import Messages, next_command, print_json
from emotify.cli.datasets import ClassifiedData, DataOptions, load_dataset
from emotify.cli.errors import hint_on_interrupt
from emotify.cli.options import Debug, Json, with_settings
from emotify.cli.processes import follow_main_process, guarded_against_lost_processes
from emotify.cli.progress import catching_signals, training_display
from emotify.cli.working import working
from emotify.errors import UsageError
from emotify.files import check_folder, check_temporary_folder, printable
from emotify.runs import RUNS
from emotify.stopping import Interrupted, raising_interrupts
from emotify.training.config import DATA, VOTES_WEIGHT, TrainConfig, read_config
from emotify.words import amount

if TYPE_CHECKING:
    from emotify.data import Dataset
    from emotify.evaluation.metrics import Scores
    from emotify.training.distributed import World
    from emotify.training.loop import Training


@functools.partial(with_settings, offers=TRAIN_OFFERS)
def train(
    *,
    ctx: typer.Context,
    settings: Annotated[dict[str, Any], TrainConfig],
    source: DataOptions,
    recipe: Annotated[
        Recipe | None,
        typer.Option("--recipe", help="A set of options; options on the command line override it."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Parent folder of the new run folder.")] = RUNS,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Read options from a run's config.json; options on the command line override them.",
            rich_help_panel=DATA,
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            metavar="RUN",
            help="Resume an unfinished run.",
            autocompletion=completing(unfinished_runs),
        ),
    ] = None,
    list_models: Annotated[bool, typer.Option("--list-models", help="List the networks for --model.")] = False,
    json: Json = False,
    messages: Messages,
    debug: Debug = False,
) -> None:
    """Train one model and save it in a new folder of runs/.

    \b
    Examples:
      emotify train --model cnn --augment
      emotify train --data synthetic --epochs 2        try it without FER-2013
      emotify train --model cnn --augment --seed 1     another member for an ensemble
      emotify train --model resnet18 --recipe best     on a GPU
      emotify train --model small --augment --distill runs/20260131-130000-ensemble-5e6f
      emotify train --model cnn --augment --distill fast      learn from a built-in model, too
      torchrun --nproc-per-node 2 -m emotify train --model resnet18 --recipe best
      emotify train --data my/ --augment --start-from fast    fine-tune fast on your faces
      emotify train --model face-resnet --pretrained --augment    fine-tune a face recogniser
      emotify train --resume runs/20260131-120000-cnn-s0-1a2b
      emotify train --list-models
    """
    if list_models:
        _list_models(messages, as_json=json)
        return
    given = {name: value for name, value in settings.items() if _on_command_line(ctx, name)}
    if resume is not None and (given.keys() - {"device", "threads"} or config or recipe or out != RUNS):
        msg = "--resume uses the run's own options; only --data, --device and --threads can be given with it"
        raise UsageError(msg)

    from emotify.training.distributed import torchrun_world

    world = torchrun_world()
    messages = Messages(quiet=messages.quiet or not world.is_main, verbose=messages.verbose)
    check_temporary_folder()
    start = _new(given, config, recipe, out, world) if resume is None else _again(resume, given, world, messages)
    trained = _train(start, source, messages)
    if trained is None:
        return
    if json:
        print_json(trained.document())
    else:
        trained.tell(messages, data=source.data)


@dataclass(frozen=True)
class _Start:
    """A training that can start: its options, and the function that opens its run once the data is read."""

    config: TrainConfig
    device: str
    world: World
    open: Callable[[Dataset], AbstractContextManager[Training]]


def _new(given: dict[str, Any], file: Path | None, recipe: Recipe | None, out: Path, world: World) -> _Start:
    """Check everything that a new run needs, except its data."""
    from emotify.training.prepare import prepare
    from emotify.training.recipes import recipe as options_of
    from emotify.training.run_folder import new_run

    named = options_of(recipe) if recipe else {}
    config = dataclasses.replace(read_config(file) if file else TrainConfig(), **{**named, **given})
    prepared = prepare(config)
    check_folder(out, overwrite=True)

    def opened(dataset: Dataset) -> AbstractContextManager[Training]:
        weighted = config
        if dataset.has_votes and file is None and "crowd_weight" not in given:
            weighted = dataclasses.replace(config, crowd_weight=VOTES_WEIGHT)
        return new_run(weighted, dataset, out=out, argv=sys.argv, world=world, prepared=prepared)

    return _Start(config, config.device, world, opened)


def _again(folder: Path, given: dict[str, Any], world: World, messages: Messages) -> _Start:
    """Check that an unfinished run can be resumed, and print what has changed since."""
    from emotify.training.run_folder import changes_since, check_resumable, resumed_run

    check_resumable(folder)
    check_folder(folder, overwrite=True)
    config = read_config(folder / "config.json")
    for change in changes_since(folder, **given, world=world):
        messages.notice(f"resumed results are not bit-identical: {change}")

    def opened(dataset: Dataset) -> AbstractContextManager[Training]:
        return resumed_run(folder, dataset, **given, world=world)

    return _Start(config, given.get("device", config.device), world, opened)


@dataclass(frozen=True)
class _Trained:
    """A finished training and its results."""

    folder: Path
    scores: Scores
    dataset: Dataset
    classes: list[str]  # words of the command line

    def document(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "folder": str(self.folder),
            "valid": self.scores.document(),
            "data": self.dataset.document(),
        }

    def tell(self, messages: Messages, *, data: str | None) -> None:
        print(printable(self.folder))
        messages.notice(f"valid accuracy {self.scores.accuracy:.2%}, NLL {self.scores.nll:.3f}")
        messages.notice(f"next: {next_command('evaluate', self.folder, data=data, classes=self.classes)}")


def _train(start: _Start, source: DataOptions, messages: Messages) -> _Trained | None:
    """Read the data, train and score. Return None in every process except the main one."""
    from emotify.training.device import pick_device
    from emotify.training.distributed import process_group

    config, world = start.config, start.world
    wanted = ClassifiedData(
        data=source.data,
        ferplus=source.ferplus,
        class_order=config.class_order,
        exclude_classes=config.exclude_classes,
    )
    with hint_on_interrupt("no step was trained yet; start again with the same command"):
        dataset = load_dataset(wanted, messages, dedupe=config.dedupe, show_notes=True)
    with process_group(world, device=pick_device(start.device)):
        opened = start.open(dataset)
        if not world.is_main:
            follow_main_process(opened)
            return None
        with raising_interrupts(), opened as training:
            messages.notice(f"training {_describe(training.config)} in {training.folder}")
            votes = ["--ferplus", source.ferplus] if source.ferplus else []
            resume_command = next_command("train", "--resume", training.folder, *votes, data=dataset.source)
            scores = _run(training, messages, resume_command=resume_command)
    return _Trained(training.folder, scores, dataset, wanted.class_words)


def _run(training: Training, messages: Messages, *, resume_command: str) -> Scores:
    """Train to the end and score. A signal saves the state and raises Interrupted, which says how to resume."""
    from emotify.reports.figures import plot_confusion, plot_history
    from emotify.training.loop import Step
    from emotify.training.run_folder import close_run, finish_run

    with catching_signals(messages, patient=training.world.size > 1) as stop:
        with guarded_against_lost_processes(training), training_display(training, messages) as display:
            for event in training.run():
                if isinstance(event, Step):
                    display.step(event)
                else:
                    display.epoch(event)
                if training.world.agreed(stop=stop.signal is not None):
                    training.save_state()
                    raise Interrupted(f"stopped at step {training.step}; resume with: {resume_command}", stop.exit_code)
        with working(messages, "scoring on valid"):
            scores = finish_run(training)
        config, folder = training.config, training.folder
        title = f"{config.model}{' + augmentation' if config.augment else ''}, seed {config.seed}"
        epochs = [dataclasses.asdict(epoch) for epoch in training.history]
        if epochs:
            plot_history(epochs, folder / "history.png", title=title)
        plot_confusion(scores.confusion, folder / "confusion.png", title=f"{title}, valid: {scores.accuracy:.1%}")
        close_run(folder, scores)
    return scores


def _list_models(messages: Messages, *, as_json: bool) -> None:
    from emotify.networks import describe_networks
    from emotify.reports.tables import models_table, models_text

    with working(messages, "counting multiply-accumulates"):
        networks = describe_networks()
    if as_json:
        print_json({"schema": 1, "models": [vars(network) for network in networks]})
    else:
        messages.show(models_table(networks))
        messages.show(models_text(networks))


def _on_command_line(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _describe(config: TrainConfig) -> str:
    augmented = "augmented" if config.augment else "not augmented"
    teacher = f"distilled from {config.distill}, " if config.distill else ""
    compiled = ", compiled" if config.compile == "on" else ""
    return printable(
        f"{config.model}, {augmented}, {teacher}seed {config.seed}, {amount(config.epochs, 'epoch')}, "
        f"{config.device}, {config.precision} {config.layout}{compiled}, {amount(config.threads, 'thread')},"
    )
