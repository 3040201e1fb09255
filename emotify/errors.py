"""Errors that a user can fix. Each has one line (what, where, what to do) and an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final

SHOWN: Final = 5  # how many of many mistakes an error lists


class ExitCode(IntEnum):
    """The exit codes that scripts rely on; docs/formats.md lists them."""

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
    """An error that the user can fix. The user sees only its text. Others are bugs and keep their traceback."""

    exit_code = ExitCode.BUG


class UsageError(EmotifyError):
    """A wrong option or configuration value."""

    exit_code = ExitCode.USAGE


class InputError(EmotifyError):
    """Data or pictures that are missing, damaged or unsuitable."""

    exit_code = ExitCode.INPUT


class ModelError(EmotifyError):
    """A checkpoint, run, ensemble or .onnx file that is missing, damaged, unsafe or does not fit."""

    exit_code = ExitCode.MODEL


class WriteError(EmotifyError):
    """A file or folder that cannot be written: it exists, is locked or read-only, or the disk is full."""

    exit_code = ExitCode.WRITE


class GateError(EmotifyError):
    """A check that failed: one that the user requested, or one that guards an export."""

    exit_code = ExitCode.GATE


class UnavailableError(EmotifyError):
    """A device or an optional package that is missing."""

    exit_code = ExitCode.UNAVAILABLE


def list_mistakes(what: str, mistakes: Sequence[str], *, count: int | None = None, noun: str = "mistakes") -> str:
    """Return the text of an error about `what`. One mistake takes one line; of several, list the number and first five.

    count: the number of all mistakes, when `mistakes` holds only the first ones.
    """
    count = len(mistakes) if count is None else count
    start = f"{what}: " if what else ""
    if count == 1:
        return f"{start}{mistakes[0]}"
    heading = f"{start}{count:,} {noun}" + (f", the first {SHOWN}:" if count > SHOWN else ":")
    return "\n  ".join([heading, *mistakes[:SHOWN]])
