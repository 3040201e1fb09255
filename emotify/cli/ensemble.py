"""`emotify ensemble`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emotify.cli.console import Talk, next_command, print_json
from emotify.cli.datasets import load_dataset
from emotify.cli.models import open_classifier, runs_and_ensembles
from emotify.cli.options import Data, Debug, Device, Json, Quiet, Threads, Verbose
from emotify.errors import InputError, UsageError, WriteError
from emotify.files import make_folder, printable
from emotify.runs import RUNS, new_folder


def ensemble(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN", help="Finished runs. Default: all of runs/.", show_default=False),
    ] = None,
    data: Data = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="The ensemble's folder. Default: a new one in runs/.", show_default=False
        ),
    ] = None,
    device: Device = "auto",
    threads: Threads = 0,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Combine runs by the mean of their log-probabilities; fit one temperature on valid; say whether it helped.

    \b
    Examples:
      emotify ensemble                                   every finished run in runs/
      emotify ensemble runs/*-cnn-s0-* runs/*-cnn-s1-*
      emotify ensemble --out runs/best --json
    """
    talk = Talk(quiet=quiet, verbose=verbose)
    paths = runs_and_ensembles(runs, talk, with_ensembles=False)
    for path in paths:
        if not (path / "run.json").exists():
            msg = f"{printable(path)} is not the folder of a run; members are runs, as emotify train makes them"
            raise UsageError(msg)

    if out is not None and out.exists():
        msg = f"{printable(out)} already exists; choose another --out"
        raise WriteError(msg)

    from emotify.data import Split
    from emotify.ensembling.members import combine, save_ensemble

    members = [open_classifier(path, device=device, threads=threads) for path in paths]
    dataset = load_dataset(data, talk)
    if Split.VALID not in dataset.splits:
        msg = f"{dataset.source} has no valid split, on which an ensemble is chosen"
        raise InputError(msg)
    combination = combine(members, dataset.splits[Split.VALID])
    if out is None:
        folder = new_folder(RUNS, "ensemble")
    else:
        folder = out
        make_folder(folder)
    save_ensemble(folder, paths, combination)

    names = [member.name for member in members]
    if json:
        summary = {"accuracy": combination.scores.accuracy, "nll": combination.scores.nll}
        diversity = combination.diversity.document()
        document = {"schema": 1, "folder": str(folder), "members": names, "temperature": combination.temperature}
        print_json({**document, "valid": summary, "diversity": diversity})
        return
    from emotify.reports.tables import diversity_table, members_table

    talk.show(members_table(names, combination))
    if len(names) > 1:
        talk.show(diversity_table(names, combination.diversity))
    print(combination.diversity.conclusion())
    print(printable(folder))
    talk.notice(f"next: {next_command('export', folder, data=data)}")
