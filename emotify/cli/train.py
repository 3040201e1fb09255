"""`emotify train`."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotify.cli.console import Talk, next_command, print_json
from emotify.cli.datasets import load_dataset
from emotify.cli.errors import Interrupted
from emotify.cli.options import Data, Debug, Device, Ferplus, Json, Quiet, Threads, Verbose
from emotify.cli.processes import follow, together
from emotify.cli.progress import catching_signals, training_display
from emotify.errors import UsageError
from emotify.files import check_folder, printable
from emotify.runs import RUNS
from emotify.training.config import VOTES_WEIGHT, TrainConfig, read_config

if TYPE_CHECKING:
    from emotify.evaluation.metrics import Scores
    from emotify.training.loop import Training

_DEFAULTS = TrainConfig()


def train(
    ctx: typer.Context,
    data: Data = None,
    ferplus: Ferplus = None,
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="See --list-models.")] = _DEFAULTS.model,
    augment: Annotated[
        bool, typer.Option("--augment/--no-augment", help="Vary every image at random: place, light, erased squares.")
    ] = _DEFAULTS.augment,
    strength: Annotated[
        float, typer.Option("--strength", metavar="X", help="Strength of the augmentation: every amount times X.")
    ] = _DEFAULTS.strength,
    rotation: Annotated[
        float, typer.Option("--rotation", metavar="DEGREES", help="Largest rotation of the augmentation, either way.")
    ] = _DEFAULTS.rotation,
    low_resolution: Annotated[
        float, typer.Option("--low-resolution", metavar="X", help="Show a share X of the images at 12 to 48 pixels.")
    ] = _DEFAULTS.low_resolution,
    blur: Annotated[float, typer.Option("--blur", metavar="X", help="Blur a share X of the images.")] = _DEFAULTS.blur,
    jpeg: Annotated[
        float, typer.Option("--jpeg", metavar="X", help="Compress a share X of the images as JPEG does.")
    ] = _DEFAULTS.jpeg,
    mixup: Annotated[
        float, typer.Option("--mixup", metavar="X", help="Blend half of each batch with up to a share X of others.")
    ] = _DEFAULTS.mixup,
    drop_path: Annotated[
        float, typer.Option("--drop-path", metavar="X", help="Leave residual blocks out, the last with chance X.")
    ] = _DEFAULTS.drop_path,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", metavar="NAME", help="fast, standard or best; options given beside it win."),
    ] = None,
    distill: Annotated[
        str,
        typer.Option(
            "--distill", metavar="MODEL", help="Learn from a run, an ensemble, an .onnx file, default or fast."
        ),
    ] = _DEFAULTS.distill,
    distill_weight: Annotated[
        float, typer.Option("--distill-weight", metavar="X", help="Share of the teacher in the loss.")
    ] = _DEFAULTS.distill_weight,
    distill_temperature: Annotated[float, typer.Option("--distill-temperature", metavar="X")] = (
        _DEFAULTS.distill_temperature
    ),
    start_from: Annotated[
        str,
        typer.Option(
            "--start-from",
            metavar="MODEL",
            help="Begin with the weights of a finished run, an .onnx file, default or fast; of RUN,RUN: their mean.",
        ),
    ] = _DEFAULTS.start_from,
    pretrained: Annotated[
        bool,
        typer.Option("--pretrained", help="Begin with published weights: face-resnet or efficientnet-lite0."),
    ] = _DEFAULTS.pretrained,
    epochs: Annotated[
        int,
        typer.Option("--epochs", metavar="N", help="Passes over train; 0 of --start-from: its normalisation alone."),
    ] = _DEFAULTS.epochs,
    batch_size: Annotated[int, typer.Option("--batch-size", metavar="N", help="Images a step.")] = _DEFAULTS.batch_size,
    optimizer: Annotated[
        str, typer.Option("--optimizer", metavar="NAME", help="sgd, or muon for convolutions and sgd for the rest.")
    ] = _DEFAULTS.optimizer,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", "--lr", metavar="X", help="Peak of the schedule.")
    ] = _DEFAULTS.learning_rate,
    warmup: Annotated[
        float, typer.Option("--warmup", metavar="X", help="Share of all steps in which the rate rises.")
    ] = _DEFAULTS.warmup,
    schedule: Annotated[
        str, typer.Option("--schedule", metavar="NAME", help="Shape of the rate's fall: cosine or linear.")
    ] = _DEFAULTS.schedule,
    ema_decay: Annotated[
        float,
        typer.Option(
            "--ema-decay",
            metavar="X",
            help="Decay of the weight average (EMA) that is saved; lower in the first steps.",
        ),
    ] = _DEFAULTS.ema_decay,
    weight_decay: Annotated[float, typer.Option("--weight-decay", metavar="X")] = _DEFAULTS.weight_decay,
    label_smoothing: Annotated[float, typer.Option("--label-smoothing", metavar="X")] = _DEFAULTS.label_smoothing,
    crowd_weight: Annotated[
        float,
        typer.Option(
            "--crowd-weight",
            metavar="X",
            help=f"Share of FER+'s votes in the loss; with --ferplus {VOTES_WEIGHT:g}, else 0: no crowd head.",
        ),
    ] = _DEFAULTS.crowd_weight,
    grow: Annotated[
        bool, typer.Option("--grow/--no-grow", help="Train on smaller images first, which is faster.")
    ] = _DEFAULTS.grow,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Same seed, same weights.")] = _DEFAULTS.seed,
    device: Device = _DEFAULTS.device,
    precision: Annotated[
        str, typer.Option("--precision", metavar="NAME", help="auto, fp32 or bf16.")
    ] = _DEFAULTS.precision,
    layout: Annotated[
        str,
        typer.Option("--layout", metavar="NAME", help="Memory layout of tensors: auto, channels_last or contiguous."),
    ] = _DEFAULTS.layout,
    compile: Annotated[  # noqa: A002 - the option's name
        str, typer.Option("--compile", metavar="NAME", help="torch.compile: on, off, or auto, for long on a GPU.")
    ] = _DEFAULTS.compile,
    threads: Threads = _DEFAULTS.threads,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the run's new folder is made.")] = RUNS,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="A config.json; options given beside it win.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="RUN", help="Go on with an unfinished run.")
    ] = None,
    dedupe: Annotated[
        bool, typer.Option("--dedupe", help="Leave out of train what is there twice, or in valid or test.")
    ] = False,
    list_models: Annotated[bool, typer.Option("--list-models", help="Print the models and leave.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
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
    from emotify.training.recipes import recipe as options_of
    from emotify.training.run_folder import changes_since, check_options, check_resumable, new_run, resumed_run

    world = torchrun_world()
    talk = Talk(quiet=quiet or not world.leads, verbose=verbose)
    if resume is None:
        named = options_of(recipe) if recipe else {}
        options = dataclasses.replace(read_config(config) if config else TrainConfig(), **{**named, **given})
        check_options(options)
        check_folder(out, overwrite=True)
    else:
        check_resumable(resume)
        check_folder(resume, overwrite=True)
        options = read_config(resume / "config.json")
        for change in changes_since(resume, **given, world=world):
            talk.notice(f"not bit for bit the same from here on: {change}")
    dataset = load_dataset(data, talk, ferplus=ferplus, dedupe=options.dedupe, aloud=True)
    if resume is None and config is None and "crowd_weight" not in given and dataset.has_votes:
        options = dataclasses.replace(options, crowd_weight=VOTES_WEIGHT)
    with joined(world, device=pick_device(given.get("device", options.device))):
        opened = (
            resumed_run(resume, dataset, **given, world=world)
            if resume
            else new_run(options, dataset, out=out, argv=sys.argv, world=world)
        )
        if not world.leads:
            follow(opened)
            return
        with opened as training:
            talk.notice(f"training {_describe(training.config)} in {training.folder}")
            votes = ["--ferplus", ferplus] if ferplus else []
            resume_command = next_command("train", "--resume", training.folder, *votes, data=dataset.source)
            scores = _run(training, talk, resume_command=resume_command)
    if json:
        print_json({"schema": 1, "folder": str(training.folder), "valid": scores.document()})
        return
    print(printable(training.folder))
    talk.notice(f"valid accuracy {scores.accuracy:.2%}, NLL {scores.nll:.3f}")
    talk.notice(f"next: {next_command('evaluate', training.folder, data=data)}")


def _run(training: Training, talk: Talk, *, resume_command: str) -> Scores:
    """Train to the end, showing it, and score; a signal keeps the state and says how to go on."""
    from emotify.reports.plots import plot_confusion, plot_history
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
        f"{config.model}, {augmented}, {teacher}seed {config.seed}, {config.epochs} epochs, "
        f"{config.device}, {config.precision} {config.layout}{compiled}, {config.threads} threads,"
    )
