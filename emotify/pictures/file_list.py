"""Names of pictures and folders from a list, as `find` and `ls` write them."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from emotify.errors import InputError

_BLOCK: Final = 2**16  # bytes
_LONGEST: Final = 2**16  # bytes; no system has longer paths


def read_names(file: IO[bytes], *, null: bool = False) -> Iterator[Path]:
    """Yield the paths of a list, one a line, or ended by NUL with `null`; empty ones are skipped.

    Bytes that are no text in the system's encoding survive. Raises InputError for what is no list of names.
    """
    for number, name in enumerate(_split(file, b"\0" if null else b"\n"), 1):
        if number == 1:
            name = _without_mark(name)
        if len(name) > _LONGEST:
            msg = f"--files-from: name {number} is longer than any path; with -0 the names must end in NUL"
            raise InputError(msg)
        if not null:
            name = name.removesuffix(b"\r")
            if b"\0" in name:
                msg = f"--files-from: line {number} holds a NUL; say -0 if the names end in it"
                raise InputError(msg)
        if name:
            yield Path(os.fsdecode(name))


def _split(file: IO[bytes], end: bytes) -> Iterator[bytes]:
    rest = b""
    # read1 gives what is there: a list that comes through a pipe is worked on while it grows.
    while block := (file.read1 if hasattr(file, "read1") else file.read)(_BLOCK):
        *names, rest = (rest + block).split(end)
        yield from names
        if len(rest) > _LONGEST:
            break
    if rest:
        yield rest


def _without_mark(name: bytes) -> bytes:
    if name.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        msg = "--files-from: the list is UTF-16; save it as UTF-8"
        raise InputError(msg)
    return name.removeprefix(codecs.BOM_UTF8)
