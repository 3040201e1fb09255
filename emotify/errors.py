"""What a user can mend: one line that says what, where and what to do, and the exit code that goes with it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final

SHOWN: Final = 5  # of many mistakes, how many are told


class ExitCode(IntEnum):
    """The exit codes that scripts rely on; docs/commands.md lists them."""

    OK = 0
    BUG = 1
    USAGE = 2
    SOME_FAILED = 3
    INPUT = 4
    MODEL = 5
    WRITE = 6
    GATE = 7
    UNAVAILABLE = 8
    INTERRUPTED = 130
    TERMINATED = 143


class EmotifyError(Exception):
    """An error the user can mend. Its text is shown as it is; everything else is a bug and keeps its traceback."""

    exit_code = ExitCode.BUG


class UsageError(EmotifyError):
    """An option or a configuration value that cannot be meant."""

    exit_code = ExitCode.USAGE


class InputError(EmotifyError):
    """Data or pictures that are missing, or not what they should be."""

    exit_code = ExitCode.INPUT


class ModelError(EmotifyError):
    """A checkpoint, run, ensemble or .onnx file that is missing, damaged, unsafe or does not fit."""

    exit_code = ExitCode.MODEL


class WriteError(EmotifyError):
    """Something that cannot be written: it exists, is locked, read-only, or the disk is full."""

    exit_code = ExitCode.WRITE


class GateError(EmotifyError):
    """A check that was asked for, or that guards an export, and failed."""

    exit_code = ExitCode.GATE


class UnavailableError(EmotifyError):
    """A device or an optional package that is not there."""

    exit_code = ExitCode.UNAVAILABLE


def list_mistakes(what: str, mistakes: Sequence[str], *, count: int | None = None, noun: str = "mistakes") -> str:
    """Return the text of an error about `what`: one mistake on its line, of several the first five and their number.

    count: of all mistakes, where `mistakes` has only the first of them.
    """
    count = len(mistakes) if count is None else count
    start = f"{what}: " if what else ""
    if count == 1:
        return f"{start}{mistakes[0]}"
    heading = f"{start}{count:,} {noun}" + (f", the first {SHOWN}:" if count > SHOWN else ":")
    return "\n  ".join([heading, *mistakes[:SHOWN]])
