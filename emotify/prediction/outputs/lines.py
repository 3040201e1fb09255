"""Write results as JSON lines to a file that a later command can resume, however the last command ended."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from emotify.errors import InputError, WriteError
from emotify.files import (
    atomic_write,
    exists_error,
    explain_write_errors,
    not_a_file_error,
    parse_json,
    printable,
    take_lock,
)
from emotify.prediction.results import PictureResult

_LONGEST_LINE: Final = 32 * 2**20  # bytes; far more than the line of any picture
_AGAIN: Final = "resume with the same command and --append"
_BEGIN: Final = b'{"schema": 1, "path": "'  # every line starts with it


@dataclass(frozen=True)
class Known:
    """The pictures whose lines are already in the file."""

    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)  # path -> status


class LinesWriter:
    """Appends one line per picture to an open file, as soon as its result is known.

    known: the pictures that were read before, and the status of those that failed. replace: remove the old content of
    the file, but only when the first line is written.
    """

    def __init__(self, path: Path, file: IO[bytes], known: Known, *, top: int, replace: bool) -> None:
        self.done, self.failed, self.lines, self.tried_again = known.done, known.failed, 0, 0
        self._path, self._file, self._top, self._replace = path, file, top, replace

    def begin(self) -> None:
        """Remove the old content of the file if it is to be replaced."""
        if self._replace:
            self._file.truncate(0)
            self._replace = False

    def write(self, result: PictureResult) -> None:
        """Write the line of one picture, unless the picture failed before with the same status."""
        status = self.failed.get(str(result.path))
        if status == result.status:
            return
        self.tried_again += status is not None
        with explain_write_errors(self._path, again=_AGAIN):
            self.begin()
            self._file.write(json.dumps(result.to_dict(self._top), allow_nan=False).encode() + b"\n")
            self._file.flush()
        self.lines += 1


@contextlib.contextmanager
def lines_file(path: Path, *, append: bool = False, overwrite: bool = False, top: int = 0) -> Iterator[LinesWriter]:
    """Open `path` to write results. Lines are written in place, so that a crash does not lose them.

    append: resume an existing file; an incomplete last line, left by a crash, is removed. Raises WriteError if the file
    cannot be written, exists, or is being written by another process. Raises InputError if it has lines of another
    format.
    """
    flags = (
        os.O_RDWR | os.O_CREAT | os.O_APPEND | (0 if append or overwrite else os.O_EXCL) | getattr(os, "O_BINARY", 0)
    )
    with explain_write_errors(path):
        try:
            descriptor = os.open(path, flags, 0o666)
        except FileExistsError:
            raise exists_error(path) from None
    writer = None
    try:
        with explain_write_errors(path, again=_AGAIN), os.fdopen(descriptor, "r+b") as file:  # closing may raise too
            size = _claim(path, descriptor)
            known = _known(path, file) if append else Known()
            writer = LinesWriter(path, file, known, top=top, replace=not append)
            yield writer
            writer.begin()
            _check_there(path, descriptor)
            if writer.tried_again:
                _drop_superseded(path, file)
    except BaseException:
        if writer is not None and not (writer.lines or size):
            with contextlib.suppress(OSError):  # the first error is the one to report
                path.unlink(missing_ok=True)  # an empty file would prevent running the same command again
        raise


def _claim(path: Path, descriptor: int) -> int:
    """Lock the open file for this process and return its size in bytes.

    Raises WriteError if it is not a regular file, or if another process has locked it.
    """
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise not_a_file_error(path)
    try:
        take_lock(descriptor)
    except (BlockingIOError, PermissionError):
        msg = f"{printable(path)} is being written by another process; wait for it to end, or give another file"
        raise WriteError(msg) from None
    return status.st_size


def _check_there(path: Path, descriptor: int) -> None:
    """Raise WriteError if the file at `path` is no longer the one that was written."""
    try:
        there = os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        there = False
    if not there:
        msg = f"{printable(path)} was deleted or replaced during writing, and its lines are lost; run the command again"
        raise WriteError(msg)


def _drop_superseded(path: Path, file: IO[bytes]) -> None:
    """Rewrite the file without old lines of failed pictures that now have a newer line."""
    last: dict[str | None, int] = {}
    file.seek(0)
    for number, line in enumerate(file):
        last[_read_line(line)[0]] = number
    file.seek(0)
    with atomic_write(path) as whole:
        for number, line in enumerate(file):
            name, status = _read_line(line)
            if status == "ok" or last[name] == number:
                whole.write(line)


def _known(path: Path, file: IO[bytes]) -> Known:
    """Return the pictures in the file, and remove an incomplete last line.

    Raises InputError if the file has lines of another format.
    """
    known = Known()
    number, end = 1, 0
    while line := file.readline(_LONGEST_LINE):
        picture, status = _read_line(line)
        if picture is None:
            if _is_cut(line):
                file.truncate(end)
                break
            msg = f"{printable(path)} line {number} was not written by emotify predict; give another file"
            raise InputError(msg)
        if status == "ok":
            known.done.add(picture)
        else:
            known.failed[picture] = status
        number, end = number + 1, end + len(line)
        if not line.endswith(b"\n"):
            file.write(b"\n")
    file.seek(0, os.SEEK_END)
    for picture in known.done:
        known.failed.pop(picture, None)
    return known


def _is_cut(line: bytes) -> bool:
    """Return whether a crash left these bytes at the end of the file: the start of a line, or zero bytes."""
    begun = line[: len(_BEGIN)] == _BEGIN[: len(line)] or not line.strip(b"\0")
    return begun and not line.endswith(b"\n") and len(line) < _LONGEST_LINE


def _read_line(line: bytes) -> tuple[str | None, str]:
    """Return the path and the status in a line; the path is None if emotify did not write the line."""
    try:
        document = parse_json(line)
        return str(document["path"]), str(document.get("status", "ok"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, ""
