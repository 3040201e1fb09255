"""`emotify export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emotify.choices import FilePrecision
from emotify.cli.completion import completing, trained
from emotify.cli.console import Messages, next_command, print_json
from emotify.cli.datasets import ClassifiedData, load_dataset
from emotify.cli.options import (
    Debug,
    Force,
    Json,
    Threads,
    Tta,
    Views,
    chosen_views,
    with_settings,
)
from emotify.cli.working import working
from emotify.errors import InputError, ModelError, UsageError
from emotify.files import check_temporary_folder, is_same_file, printable
from emotify.opening import Kind, resolve
from emotify.runs import RUNS, better_member, ensembles, finished_runs

# Photographs have other class frequencies than FER-2013. This power maximises the sum of accuracy and balanced accuracy
# against FER+'s majority on valid; the mean accuracy on photographs from elsewhere is largest there, too.
PRIOR_POWER = 0.5

if TYPE_CHECKING:
    from emotify.data import Dataset, LabelledImages
    from emotify.ensembling.pooling import CrowdPooling, Pooling
    from emotify.exporting.export import Export
    from emotify.networks import Network


@with_settings
def export(
    *,
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="MODEL",
            help="A run, an ensemble, an .onnx file of emotify, or a built-in model: default or fast. Default: the "
            "newest ensemble, else the newest run.",
            autocompletion=completing(trained),
        ),
    ] = None,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Write ONNX. This is the default and the only format.", show_default=False)
    ] = True,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="New file. Default: model.onnx in the model's folder.")
    ] = None,
    precision: Annotated[
        FilePrecision,
        typer.Option("--precision", help="Format of the weights. fp16 halves the file; int8 is smallest and fastest."),
    ] = "fp32",
    tta: Tta = False,
    views: Views = None,
    prior_power: Annotated[
        float | None,
        typer.Option(
            "--prior-power",
            metavar="X",
            min=0,
            max=1,
            help="Divide the crowd head's probabilities by the class frequencies of train, raised to X, so that rare "
            f"expressions are named more often. Default: {PRIOR_POWER:g}.",
        ),
    ] = None,
    data: ClassifiedData,
    threads: Threads = 0,
    force: Force = False,
    json: Json = False,
    messages: Messages,
    debug: Debug = False,
) -> None:
    """Export a run or an ensemble as one .onnx file.

    The file is self-contained. Before it is saved, its outputs are compared with those of the networks in PyTorch.

    \b
    Examples:
      emotify export --onnx                             the newest ensemble, else the newest run
      emotify export runs/ensemble --views mirror --precision fp16 --out model.onnx
      emotify export old.onnx --precision int8 --out new.onnx    export an older file again
    """
    from emotify.exporting import export as exporting

    check_temporary_folder()
    path = model or _newest(messages)
    opened = _open_members(path, threads=threads)
    seen = chosen_views(views, tta=tta) or opened.views or "one"
    target = out or _beside(path, precision, seen, is_file=opened.is_file)
    _check_other(target, path)
    exporting.check_target(target, precision=precision, overwrite=force)
    dataset = _read_data(data, messages, required=precision != "fp32")
    valid, train = _measured_on(dataset, precision)
    messages.notice(f"exporting {opened.name}")
    with working(messages, "fitting the crowd's temperature"):
        crowd = _crowd_pooling(opened, valid, prior_power, messages)
    with working(messages, "writing and checking the file"):
        result = exporting.export(
            opened.members,
            target,
            pooling=opened.pooling,
            crowd=crowd,
            precision=precision,
            views=seen,
            valid=valid,
            calibration=None if train is None else train.images,
            overwrite=force,
            threads=threads,
        )
    if json:
        print_json({**_document(result), "data": dataset and dataset.document()})
    else:
        print(printable(result.path))
    _tell(result, messages)


def _document(result: Export) -> dict[str, object]:
    before, after = result.torch_scores, result.file_scores
    return {
        "schema": 1,
        "file": str(result.path),
        "bytes": result.bytes,
        "images": result.images,
        "drawn_images": result.drawn_images,
        "largest_difference": result.difference,
        "folded_gates": result.folded_gates,
        "valid": None if after is None else after.document(),
        "valid_torch": None if before is None else before.document(),
        "crowd": None if result.file_crowd is None else result.file_crowd.document(),
        "crowd_torch": None if result.torch_crowd is None else result.torch_crowd.document(),
    }


def _tell(result: Export, messages: Messages) -> None:
    """Print how the file differs from PyTorch, and the next command."""
    kind = "valid images" if not result.drawn_images else "images, including drawn ones"
    kind = "drawn faces" if result.drawn_images == result.images else kind
    size = f"{result.bytes / 1e6:.2f} MB"
    messages.notice(f"{size}; differs from PyTorch by at most {result.difference:.1e} on {result.images} {kind}")
    if result.folded_gates:
        messages.notice(f"folded {result.folded_gates} constant gates into the convolutions before them")
    before, after = result.torch_scores, result.file_scores
    if before is None or after is None:
        messages.notice("no data found, so the file contains no scores; name the data with --data")
    else:
        change = 100 * (after.accuracy - before.accuracy)
        messages.notice(f"valid accuracy {after.accuracy:.2%} ({change:+.2f} points from PyTorch), NLL {after.nll:.3f}")
    if result.torch_crowd is not None and result.file_crowd is not None:
        accuracy = result.file_crowd.scores.accuracy
        change = 100 * (accuracy - result.torch_crowd.scores.accuracy)
        messages.notice(f"crowd head: {accuracy:.2%} of FER+'s majorities ({change:+.2f} points from torch)")
    messages.notice(f"next: {next_command('predict', 'photos/', '--model', result.path)}")


@dataclass(frozen=True)
class _Opened:
    """The members of a run, an ensemble or a file, and how their outputs are pooled."""

    name: str
    members: list[tuple[str, Network]]
    pooling: Pooling
    crowd_pooling: Pooling | None = None  # of an ensemble or a file
    views: str | None = None  # of an ensemble or a file
    prior_power: float | None = None  # of a file
    is_file: bool = False


def _crowd_pooling(
    opened: _Opened, valid: LabelledImages | None, prior_power: float | None, messages: Messages
) -> CrowdPooling | None:
    """Return the pooling of the crowd heads; None without them. Raises UsageError for a power without them."""
    from emotify.ensembling.ensemble import check_crowd_weights

    networks = [network for _, network in opened.members]
    heads = [network.crowd and network.crowd_prior is not None for network in networks]
    pooling = opened.crowd_pooling
    if pooling is not None:
        check_crowd_weights(opened.name, pooling, heads)
    if not (all(heads) or (pooling and any(heads))):
        if prior_power is not None:
            msg = f"--prior-power needs a crowd head, and {printable(opened.name)} has none; train with --ferplus"
            raise UsageError(msg)
        return None
    import numpy as np
    import torch

    from emotify.ensembling.combine import fit_crowd_pooling
    from emotify.ensembling.pooling import CrowdPooling, mean_prior
    from emotify.networks.inference import predict_answers

    if pooling is None and valid is not None and valid.votes is not None:
        answers = [predict_answers(network, valid.images, device=torch.device("cpu")).crowd for network in networks]
        pooling = fit_crowd_pooling(
            np.stack([each for each in answers if each is not None]), valid.votes, opened.pooling
        )
    if pooling is None:
        messages.notice(
            "the crowd head has no temperature of its own, as no votes were found; name them with --ferplus"
        )
        pooling = opened.pooling  # as `evaluate` pools the crowd heads of such an ensemble; of a run, temperature 1
    powers = (prior_power, opened.prior_power, PRIOR_POWER)
    power = next(each for each in powers if each is not None)
    priors = [network.crowd_prior for network in networks if network.crowd_prior is not None]
    weights = tuple(weight for weight, head in zip(pooling.weights, heads, strict=True) if head)
    return CrowdPooling(pooling, mean_prior(priors, weights), power)


def _newest(messages: Messages) -> Path:
    found = ensembles(RUNS) or finished_runs(RUNS)
    if not found:
        msg = (
            f"no ensemble and no finished run in {RUNS}/; make one with: emotify train; or export the built-in model: "
            "emotify export default --out model.onnx"
        )
        raise ModelError(msg)
    messages.notice(f"using the newest: {found[-1]}")
    if better := better_member(found[-1]):
        messages.error(
            f"on valid this ensemble is worse than its best member; to export that: {next_command('export', better)}"
        )
    return found[-1]


def _file_name(precision: str, views: str) -> str:
    parts = ["model", *([views] if views != "one" else []), *([precision] if precision != "fp32" else [])]
    return "-".join(parts) + ".onnx"


def _beside(path: Path, precision: str, views: str, *, is_file: bool) -> Path:
    if is_file:
        msg = f"{printable(path)} is an exported file already; name the new file with --out"
        raise UsageError(msg)
    return path / _file_name(precision, views)


def _check_other(target: Path, path: Path) -> None:
    if is_same_file(target, path):
        msg = f"{printable(target)} would be read and written by the same command; name another file with --out"
        raise UsageError(msg)


def _open_members(path: Path, *, threads: int) -> _Opened:
    """Open the networks of a run, an ensemble or an exported file."""
    if resolve(path).kind is Kind.FILE:
        from emotify.exporting.read_back import read_members

        file = read_members(path)
        crowd, power = (None, None) if file.crowd is None else (file.crowd.pooling, file.crowd.prior_power)
        return _Opened(str(path), file.members, file.pooling, crowd, file.views, power, is_file=True)

    from emotify.cli.models import open_classifier
    from emotify.ensembling.ensemble import Ensemble
    from emotify.ensembling.pooling import Pooling
    from emotify.training.classifier import NetworkClassifier

    classifier = open_classifier(path, device="cpu", threads=threads)
    if isinstance(classifier, Ensemble):
        members, pooling, crowd = classifier.members, classifier.pooling, classifier.crowd_pooling
        views = classifier.views
    else:
        members, pooling, crowd, views = (classifier,), Pooling((1.0,), 1.0), None, None
    networks = [(member.name, member.network) for member in members if isinstance(member, NetworkClassifier)]
    return _Opened(classifier.name, networks, pooling, crowd, views)


def _measured_on(
    dataset: Dataset | None, precision: FilePrecision
) -> tuple[LabelledImages | None, LabelledImages | None]:
    """Return the valid and train images, or None. Raises InputError if one is missing that `precision` needs."""
    from emotify.data import Split

    splits = dataset.splits if dataset else {}
    valid, train = splits.get(Split.VALID), splits.get(Split.TRAIN)
    if precision != "fp32" and (valid is None or train is None):
        msg = f"--precision {precision} needs train and valid images, to measure the accuracy; name them with --data"
        raise InputError(msg)
    return valid, train


def _read_data(data: ClassifiedData, messages: Messages, *, required: bool) -> Dataset | None:
    """Read the data. Return None without any, unless it is required; the file is then checked on drawn faces."""
    from emotify.data import find_data

    try:
        find_data(data.data)
    except InputError:
        if required:
            raise
        return None
    return load_dataset(data, messages)
