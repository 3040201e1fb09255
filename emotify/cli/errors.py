"""The one place that turns exceptions into a line on stderr and an exit code."""

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

from emotify.cli.console import print_error, print_wait
from emotify.cli.values import check_here
from emotify.errors import EmotifyError, ExitCode, UsageError
from emotify.files import printable
from emotify.stopping import Interrupted, interruption
from emotify.waiting import reporting_waits

_WrongUsage: Any = typer.BadParameter.__base__  # Typer gives no name to its errors of usage
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
_DISTRIBUTIONS = {"PIL": "pillow", "pillow_heif": "pillow-heif"}
CRASH_LOG = Path("emotify.crash.log")


@contextmanager
def hint_on_interrupt(what_now: str) -> Iterator[None]:
    """Let an interrupt of the block say what to do next, as `start again with the same command`."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        what, code = "interrupted", ExitCode.INTERRUPTED
        if isinstance(interrupt, Interrupted):
            what, code = str(interrupt), interrupt.exit_code
        raise Interrupted(f"{what}; {what_now}", code) from None


class Commands(TyperGroup):
    """The commands of emotify, and what becomes of their errors."""

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
    """Write out what stdout still holds, however the block ends: Python would, and complain where it cannot."""
    ended: typer.Exit | None = None
    try:
        try:
            yield
        except typer.Exit as error:
            ended = error
        sys.stdout.flush()
    except OSError as error:
        forget_stdout()
        if not _has_left(error):
            print_error(f"cannot write to standard output: {error.strerror}")
            raise typer.Exit(ExitCode.WRITE) from None
        ended = ended or typer.Exit(ExitCode.OK)
    if ended is not None:
        raise ended


def _has_left(error: OSError) -> bool:
    """Whether an error of writing says that whoever read us has left, as `| head` does."""
    return isinstance(error, BrokenPipeError) or (sys.platform == "win32" and error.errno == errno.EINVAL)


@contextmanager
def _wording_usage() -> Iterator[None]:
    """Turn what Typer itself finds wrong, such as an unknown option, into a UsageError in our wording."""
    try:
        yield
    except _WrongUsage as error:
        message = str(error.format_message()).removesuffix(".")
        if error.ctx is None or not message or "\n" in message:  # no arguments at all: Typer shows the help
            raise
        msg = f"{message[:1].lower()}{message[1:]}; see {error.ctx.command_path} --help"
        raise UsageError(msg) from None


@contextmanager
def _reporting_errors() -> Iterator[None]:
    """Turn what a command raises into a line on stderr and its exit code, all but what stdout is to blame for."""
    try:
        with _reporting_signals():
            yield
    except (EmotifyError, Interrupted) as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        print_error(str(error))
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        print_error("interrupted")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except MemoryError:
        if "--debug" in sys.argv:
            traceback.print_exc()
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
    """Return the name, on the package index, of the package whose absence led to an error; or nothing."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            module = error.name.partition(".")[0]
            return "" if module == "emotify" else _DISTRIBUTIONS.get(module, module)
        error = error.__cause__ or error.__context__
    return ""


@contextmanager
def _reporting_signals() -> Iterator[None]:
    """Turn an error that was made of a signal's, by a library in which it came, into that again."""
    try:
        yield
    except Exception as error:
        stopped = interruption()
        if stopped is None:
            raise
        raise stopped from error


def forget_stdout() -> None:
    """Send what is still unwritten nowhere: python would complain once more when it closes stdout."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report_bug(error: BaseException) -> ExitCode:
    text = "".join(traceback.format_exception(error))
    if "--debug" in sys.argv:
        print(text, file=sys.stderr)
    try:
        with CRASH_LOG.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} emotify\n{text}\n")
        where = f"the traceback is in {printable(CRASH_LOG.absolute())}"
    except OSError:
        print(text, file=sys.stderr)
        where = "the traceback is above"
    print_error(f"a bug in emotify: {type(error).__name__}: {str(error)[:300]}; {where}")
    return ExitCode.BUG
