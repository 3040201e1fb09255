"""`emotify train`."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotify.choices import Recipe
from emotify.cli.completion import TRAIN_OFFERS, offering, unfinished_runs
from emotify.cli.console import Talk, next_command, print_json
from emotify.cli.datasets import class_words, load_dataset
from emotify.cli.errors import saying_on_interrupt
from emotify.cli.options import Data, Debug, Ferplus, Json, Quiet, Verbose, with_settings
from emotify.cli.processes import follow, together
from emotify.cli.progress import catching_signals, training_display
from emotify.cli.working import working
from emotify.errors import UsageError
from emotify.files import check_folder, check_temporary_folder, printable
from emotify.runs import RUNS
from emotify.stopping import Interrupted, unwinding
from emotify.training.config import DATA, VOTES_WEIGHT, TrainConfig, read_config
from emotify.words import amount

if TYPE_CHECKING:
    from emotify.evaluation.metrics import Scores
    from emotify.training.loop import Training


@with_settings(TrainConfig, TRAIN_OFFERS)
def train(
    ctx: typer.Context,
    data: Data = None,
    ferplus: Ferplus = None,
    recipe: Annotated[
        Recipe | None,
        typer.Option("--recipe", help="Options that go together; options that you give beside it win."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder in which the run's folder is made.")] = RUNS,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="The config.json of a run; options that you give beside it win.",
            rich_help_panel=DATA,
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            metavar="RUN",
            help="Continue an unfinished run.",
            autocompletion=offering(unfinished_runs),
        ),
    ] = None,
    list_models: Annotated[bool, typer.Option("--list-models", help="Print the networks that --model takes.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
    **settings: Any,  # noqa: ANN401 - one option a field of TrainConfig
) -> None:
    """Train one model; make one new folder in runs/.

    \b
    Examples:
      emotify train --model cnn --augment
      emotify train --data synthetic --epochs 2        try it without FER-2013
      emotify train --model cnn --augment --seed 1     another member for an ensemble
      emotify train --model resnet18 --recipe best     on a GPU
      emotify train --model small --augment --distill runs/20260131-130000-ensemble-5e6f
      emotify train --model cnn --augment --distill fast      learn from the model inside, too
      torchrun --nproc-per-node 2 -m emotify train --model resnet18 --recipe best
      emotify train --data my/ --augment --start-from fast    go on from it with faces of yours
      emotify train --model face-resnet --pretrained --augment    go on from a face recogniser's weights
      emotify train --resume runs/20260131-120000-cnn-s0-1a2b
      emotify train --list-models
    """
    if list_models:
        _list_models(Talk(quiet=quiet, verbose=verbose), as_json=json)
        return
    given = _given_options(ctx)
    if resume is not None and (given.keys() - {"device", "threads"} or config or recipe or out != RUNS):
        msg = "--resume goes on with the run's own options; only --data, --device and --threads can be given with it"
        raise UsageError(msg)

    from emotify.training.device import pick_device
    from emotify.training.distributed import joined, torchrun_world
    from emotify.training.prepare import prepare
    from emotify.training.recipes import recipe as options_of
    from emotify.training.run_folder import changes_since, check_resumable, new_run, resumed_run

    world = torchrun_world()
    talk = Talk(quiet=quiet or not world.leads, verbose=verbose)
    check_temporary_folder()
    if resume is None:
        named = options_of(recipe) if recipe else {}
        options = dataclasses.replace(read_config(config) if config else TrainConfig(), **{**named, **given})
        prepared = prepare(options)
        check_folder(out, overwrite=True)
    else:
        check_resumable(resume)
        check_folder(resume, overwrite=True)
        options = read_config(resume / "config.json")
        for change in changes_since(resume, **given, world=world):
            talk.notice(f"not bit for bit the same from here on: {change}")
    with saying_on_interrupt("nothing was trained yet; start again with the same command"):
        dataset = load_dataset(
            data,
            talk,
            ferplus=ferplus,
            class_order=options.class_order,
            exclude_classes=options.exclude_classes,
            dedupe=options.dedupe,
            aloud=True,
        )
    if resume is None and config is None and "crowd_weight" not in given and dataset.has_votes:
        options = dataclasses.replace(options, crowd_weight=VOTES_WEIGHT)
    with joined(world, device=pick_device(given.get("device", options.device))):
        opened = (
            resumed_run(resume, dataset, **given, world=world)
            if resume
            else new_run(options, dataset, out=out, argv=sys.argv, world=world, prepared=prepared)
        )
        if not world.leads:
            follow(opened)
            return
        with unwinding(), opened as training:
            talk.notice(f"training {_describe(training.config)} in {training.folder}")
            votes = ["--ferplus", ferplus] if ferplus else []
            resume_command = next_command("train", "--resume", training.folder, *votes, data=dataset.source)
            scores = _run(training, talk, resume_command=resume_command)
    if json:
        print_json(
            {"schema": 1, "folder": str(training.folder), "valid": scores.document(), "data": dataset.document()}
        )
        return
    print(printable(training.folder))
    talk.notice(f"valid accuracy {scores.accuracy:.2%}, NLL {scores.nll:.3f}")
    classes = class_words(options.class_order, options.exclude_classes)
    talk.notice(f"next: {next_command('evaluate', training.folder, data=data, classes=classes)}")


def _run(training: Training, talk: Talk, *, resume_command: str) -> Scores:
    """Train to the end, showing it, and score; a signal keeps the state and says how to go on."""
    from emotify.reports.figures import plot_confusion, plot_history
    from emotify.training.loop import Step
    from emotify.training.run_folder import close_run, finish_run

    with catching_signals(talk, patient=training.world.size > 1) as stop:
        with together(training), training_display(training, talk) as display:
            for event in training.run():
                if isinstance(event, Step):
                    display.step(event)
                else:
                    display.epoch(event)
                if training.world.agreed(stop=stop.signal is not None):
                    training.save_state()
                    raise Interrupted(f"stopped at step {training.step}; go on with: {resume_command}", stop.exit_code)
        with working(talk, "scoring on valid"):
            scores = finish_run(training)
        config, folder = training.config, training.folder
        title = f"{config.model}{' + augmentation' if config.augment else ''}, seed {config.seed}"
        epochs = [dataclasses.asdict(epoch) for epoch in training.history]
        if epochs:
            plot_history(epochs, folder / "history.png", title=title)
        plot_confusion(scores.confusion, folder / "confusion.png", title=f"{title}, valid: {scores.accuracy:.1%}")
        close_run(folder, scores)
    return scores


def _list_models(talk: Talk, *, as_json: bool) -> None:
    from emotify.networks import describe_networks
    from emotify.reports.tables import models_table

    networks = describe_networks()
    if as_json:
        print_json({"schema": 1, "models": [vars(network) for network in networks]})
    else:
        talk.show(models_table(networks))


def _given_options(ctx: typer.Context) -> dict[str, Any]:
    """Return the training options that stand on the command line."""
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    sources = {name: ctx.get_parameter_source(name) for name in names if name in ctx.params}
    return {name: ctx.params[name] for name, source in sources.items() if source and source.name == "COMMANDLINE"}


def _describe(config: TrainConfig) -> str:
    augmented = "augmented" if config.augment else "not augmented"
    teacher = f"taught by {config.distill}, " if config.distill else ""
    compiled = ", compiled" if config.compile == "on" else ""
    return printable(
        f"{config.model}, {augmented}, {teacher}seed {config.seed}, {amount(config.epochs, 'epoch')}, "
        f"{config.device}, {config.precision} {config.layout}{compiled}, {amount(config.threads, 'thread')},"
    )
