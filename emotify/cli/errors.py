"""Turns exceptions into one line on stderr and an exit code. No other module does."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from emotify.cli.console import print_error, print_lines, print_wait
from emotify.cli.values import check_here
from emotify.errors import EmotifyError, ExitCode, UsageError
from emotify.files import printable
from emotify.stopping import Interrupted, interruption
from emotify.waiting import reporting_waits

_WrongUsage: Any = typer.BadParameter.__base__  # Typer does not export its usage error
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
_DISTRIBUTIONS = {"PIL": "pillow", "pillow_heif": "pillow-heif"}
CRASH_LOG = Path("emotify.crash.log")


@contextmanager
def hint_on_interrupt(what_now: str) -> Iterator[None]:
    """Add to the message of an interrupt in the block what to do next, such as `start again with the same command`."""
    try:
        with _reporting_signals():
            yield
    except KeyboardInterrupt as interrupt:
        stopped = interrupt if isinstance(interrupt, Interrupted) else Interrupted("interrupted")
        raise Interrupted(f"{stopped}; {what_now}", stopped.exit_code) from None


class Commands(TyperGroup):
    """The commands of emotify, with the handling of their errors."""

    def make_context(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - what TyperGroup says
        with _writing(), _reporting_errors(), _wording_usage():  # --help and --version
            return super().make_context(*args, **options)

    def parse_args(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - what TyperGroup says
        check_here(self.get_params(ctx))
        return super().parse_args(ctx, args)

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # noqa: ANN401 - what TyperGroup says
        with _writing(), _reporting_errors(), reporting_waits(print_wait), _wording_usage():
            return super().invoke(ctx)


@contextmanager
def _writing() -> Iterator[None]:
    """Flush stdout when the block ends, and report an error of that in our words instead of Python's."""
    ended: typer.Exit | None = None
    try:
        try:
            yield
        except typer.Exit as error:
            ended = error
        sys.stdout.flush()
    except OSError as error:
        discard_stdout()
        if not _has_left(error):
            print_error(f"cannot write to standard output: {error.strerror}")
            raise typer.Exit(ExitCode.WRITE) from None
        ended = ended or typer.Exit(ExitCode.OK)
    if ended is not None:
        raise ended


def _has_left(error: OSError) -> bool:
    """Return whether a write failed because the reader of the pipe has ended, such as `| head`."""
    return isinstance(error, BrokenPipeError) or (sys.platform == "win32" and error.errno == errno.EINVAL)


@contextmanager
def _wording_usage() -> Iterator[None]:
    """Turn an error that Typer itself finds, such as an unknown option, into a UsageError."""
    try:
        yield
    except _WrongUsage as error:
        message = str(error.format_message()).removesuffix(".")
        if not message or "\n" in message:  # there are no arguments: Typer shows the help
            raise
        message, _, near = message.removesuffix("?").partition("Did you mean ")
        message = message.partition(" (Possible options")[0].rstrip(" .")
        hint = (
            f"; did you mean {near}?" if near else f"; see {error.ctx.command_path if error.ctx else 'emotify'} --help"
        )
        msg = f"{message[:1].lower()}{message[1:]}{hint}"
        raise UsageError(msg) from None


@contextmanager
def _reporting_errors() -> Iterator[None]:
    """Turn an exception of a command into a line on stderr and an exit code. Errors of stdout are re-raised."""
    try:
        with _reporting_signals():
            yield
    except (EmotifyError, Interrupted) as error:
        if "--debug" in sys.argv:
            print_lines(traceback.format_exc().rstrip())
        print_error(str(error))
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:  # raised by a library, without a signal that emotify got
        print_error("interrupted")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except MemoryError:
        if "--debug" in sys.argv:
            print_lines(traceback.format_exc().rstrip())
        print_error("not enough memory; close other programs, or lower --threads, or train's --batch-size")
        raise typer.Exit(ExitCode.UNAVAILABLE) from None
    except Exception as error:
        of_stdout = isinstance(error, OSError) and error.errno in {errno.EPIPE, *_FULL} and error.filename is None
        if of_stdout or type(error).__module__.startswith("typer"):
            raise
        if (package := _missing_package(error)) and "--debug" not in sys.argv:
            print_error(f"this install lacks the package {package}; add it with: pip install {package}")
            raise typer.Exit(ExitCode.UNAVAILABLE) from None
        raise typer.Exit(_report_bug(error)) from None


def _missing_package(error: BaseException | None) -> str:
    """Return the name on PyPI of the package whose absence caused an error, or an empty text."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            module = error.name.partition(".")[0]
            return "" if module == "emotify" else _DISTRIBUTIONS.get(module, module)
        error = error.__cause__ or error.__context__
    return ""


@contextmanager
def _reporting_signals() -> Iterator[None]:
    """Raise the interrupt again if a library replaced it: by an error, or as Ray by a plain KeyboardInterrupt."""
    try:
        yield
    except Interrupted:
        raise
    except (Exception, KeyboardInterrupt) as error:
        stopped = interruption()
        if stopped is None:
            raise
        raise stopped from error


def discard_stdout() -> None:
    """Discard the unwritten rest of stdout; else Python would report the same error again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report_bug(error: BaseException) -> ExitCode:
    text = "".join(traceback.format_exception(error))
    shown = "--debug" in sys.argv
    try:
        with CRASH_LOG.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} emotify\n{text}\n")
        where = f"the traceback is in {printable(CRASH_LOG.absolute())}"
    except OSError:
        shown, where = True, "the traceback is above"
    if shown:
        print_lines(text.rstrip())
    print_error(f"a bug in emotify: {type(error).__name__}: {str(error)[:300]}; {where}")
    return ExitCode.BUG
