"""The `emotify` command. This module imports nothing heavy, so --help is instant."""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import sys
import threading
from typing import Annotated, NoReturn

import typer

from emotify import __version__, stopping
from emotify.cli.commands import LateCommand
from emotify.cli.errors import Commands
from emotify.errors import ExitCode
from emotify.stderr import drop_leak_reports
from emotify.waiting import is_anything_waited_for

# The first lines of the commands' docstrings: `emotify --help` shows them without loading the commands.
_COMMANDS = {
    "train": "Train one model and save it in a new folder of runs/.",
    "evaluate": "Score models on one split, and compare several.",
    "ensemble": "Combine runs, and report whether that helps and why.",
    "export": "Export a run or an ensemble as one .onnx file.",
    "predict": "Name the expression of every face in pictures and clips.",
}

app = typer.Typer(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    rich_markup_mode=None,  # plain help is quick, and has no escape codes in a pipe
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"emotify {__version__}")
        raise typer.Exit


@app.callback()
def _emotify(
    version: Annotated[
        bool, typer.Option("--version", "-V", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Recognise facial expressions: angry, disgust, fear, happy, sad, surprise, neutral.

    \b
    Examples:
      emotify predict photos/                    label every face in a folder
      emotify train --model cnn --augment        train on FER-2013
      emotify evaluate                           score every finished run
      emotify ensemble                           combine the finished runs
      emotify export --onnx                      write one .onnx file
    """


for _name, _help in _COMMANDS.items():
    app.command(_name, help=_help, cls=LateCommand)(lambda: None)


def main() -> None:
    """Run the command line."""
    stopping.handle_signals()
    atexit.register(drop_leak_reports)  # registered first, so it runs last
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # the terminal's encoding may lack a character
    try:
        app()
    except SystemExit as ended:
        if ended.code in {ExitCode.INTERRUPTED, ExitCode.TERMINATED} or is_anything_waited_for() or _has_workers():
            _leave(int(ended.code or 0))
        raise
    finally:
        stopping.leave_to_system()
        gc.freeze()  # skips Python's last garbage collection, a third of the time of a short command


def _has_workers() -> bool:
    """Return whether threads of ours still work: native code aborts when Python ends such a thread at exit."""
    return any(thread.name == "emotify reader" for thread in threading.enumerate())


def _leave(code: int) -> NoReturn:
    """End the process without waiting for its threads, one of which may be blocked in a read."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def _open_closed_streams() -> None:
    """Open the standard streams that were closed, as by `2>&-`; else the next open file would receive their text."""
    for name, mode in (
        ("stdin", "r"),
        ("stdout", "w"),
        ("stderr", "w"),
    ):  # in this order: each gets the lowest free descriptor
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - for the whole process
