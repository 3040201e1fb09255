"""Read the paths of pictures and folders from a list, such as the output of `find` or `ls`."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from emotify.errors import SHOWN, InputError, list_mistakes
from emotify.pictures.finding import path_as_given
from emotify.waiting import waiting_for

_BLOCK: Final = 2**16  # bytes
_LONGEST: Final = 2**16  # bytes; no system has longer paths


def read_names(file: IO[bytes], *, null: bool = False) -> Iterator[Path]:
    """Yield the paths of a list: one per line, or with `null` ended by NUL. Empty lines are skipped.

    Bytes that are invalid in the system's encoding are kept. At the first invalid line, the rest of the list is checked
    too. Then InputError is raised with the first five invalid lines and their number.
    """
    names = enumerate(_split(file, b"\0" if null else b"\n"), 1)
    for number, name in names:
        path = _read(number, name, null=null)
        if isinstance(path, str):
            others = (_read(*each, null=null) for each in names)
            first, count = [path], 1
            for other in others:
                if isinstance(other, str):
                    count += 1
                    if count <= SHOWN:
                        first.append(other)
            raise InputError(list_mistakes("--files-from", first, count=count))
        if path is not None:
            yield path


def _read(number: int, name: bytes, *, null: bool) -> Path | str | None:
    """Return the path in a line, None for an empty line, or a message about an invalid one.

    Raises InputError for UTF-16.
    """
    if number == 1:
        name = _without_mark(name)
    if len(name) > _LONGEST:
        return f"name {number} is longer than any path; with -0 the names must end in NUL"
    if not null:
        name = name.removesuffix(b"\r")
        if b"\0" in name:
            return f"line {number} has a NUL byte; use -0 if names end in NUL"
        if number == 1 and b"\r" in name:
            return "the lines end in CR only, as on old Macs; save the list with LF"
    return path_as_given(os.fsdecode(name)) if name else None


def _split(file: IO[bytes], end: bytes) -> Iterator[bytes]:
    rest = b""
    # read1 returns what is available, so a list from a pipe is processed while it is being written.
    while block := _read_block(file):
        *names, rest = (rest + block).split(end)
        yield from names
        if len(rest) > _LONGEST:
            break
    if rest:
        yield rest


def _read_block(file: IO[bytes]) -> bytes:
    with waiting_for("reading", "the list of --files-from"):
        return (file.read1 if hasattr(file, "read1") else file.read)(_BLOCK)


def _without_mark(name: bytes) -> bytes:
    if name.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        msg = "--files-from: the list is UTF-16; save it as UTF-8"
        raise InputError(msg)
    return name.removeprefix(codecs.BOM_UTF8)
