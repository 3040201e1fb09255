"""The folder that rows are written to: one Parquet file a part, each there whole or not at all.

A worker writes a part below `_unfinished`, and the command alone moves it to its place. So what a worker does after the
command was killed changes nothing, and a part that is worked on twice is there once.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from emotify.engines.filesystems import is_address, open_filesystem, shown_address
from emotify.errors import InputError, UsageError, WriteError
from emotify.files import explain_write_errors, locked, parse_json, printable

_UNFINISHED: Final = "_unfinished"  # readers of Parquet folders pass over names that begin with _
_JOB: Final = "_job.json"
_LOCK: Final = "_lock"
_OURS: Final = frozenset((_UNFINISHED, _JOB, _LOCK))  # what a job leaves that ended before its first part
_DIGEST: Final = 16  # bytes, of a picture's path


class Done:
    """The pictures that have rows, in 16 bytes each."""

    def __init__(self, paths: Iterable[bytes] = ()) -> None:
        # A digest that ends in zeros is compared without them, and is still like no other of 16 bytes.
        self._digests = np.sort(np.frombuffer(b"".join(map(_digest, paths)), f"S{_DIGEST}"))

    def holds(self, path: str) -> bool:
        """Tell whether the picture with this path, as rows name it, has its rows."""
        wanted = np.frombuffer(_digest(os.fsencode(path)), self._digests.dtype)
        place = int(np.searchsorted(self._digests, wanted)[0])
        return place < len(self._digests) and bool(self._digests[place] == wanted[0])


def _digest(path: bytes) -> bytes:
    return hashlib.blake2b(path, digest_size=_DIGEST).digest()


class Output:
    """A folder of parts, here or at an address."""

    def __init__(self, place: str, run: str) -> None:
        self.place = shown_address(place) if is_address(place) else place
        self._here = not is_address(place)
        self._filesystem, folder = open_filesystem(place)
        self._folder = folder.rstrip("/")
        # Of this command alone: what workers of one before may still write is not mixed with its parts.
        self._unfinished = f"{self._folder}/{_UNFINISHED}/{run}"

    @contextlib.contextmanager
    def begin(self, settings: Mapping[str, Any], *, append: bool, overwrite: bool) -> Iterator[None]:
        """Make the folder, and hold it while the block runs; what is unfinished is gone before and after.

        append: go on with what is there, which must have been made with the same settings. overwrite: remove what an
        earlier job wrote there. Raises WriteError when something is in the way, UsageError for other settings.
        """
        with contextlib.ExitStack() as stack:
            with self._explained():
                self._check_free(append=append, overwrite=overwrite)
                self._filesystem.create_dir(self._folder)
                if self._here:  # elsewhere there are no locks
                    stack.enter_context(locked(Path(self._folder, _LOCK)))
                if append:
                    self._check_settings(settings)
                else:
                    for path in self._parts():
                        self._filesystem.delete_file(path)
                with self._filesystem.open_output_stream(f"{self._folder}/{_JOB}") as file:
                    file.write(json.dumps({"schema": 1, **settings}, indent=2).encode() + b"\n")
                self._remove_unfinished()
                self._filesystem.create_dir(self._unfinished)
            try:
                yield
            finally:
                with contextlib.suppress(OSError):  # what went wrong first is what is told
                    self._remove_unfinished()

    def _check_free(self, *, append: bool, overwrite: bool) -> None:
        from pyarrow.fs import FileSelector, FileType

        kind = self._filesystem.get_file_info(self._folder).type
        if kind == FileType.File:
            msg = f"{printable(self.place)} is a file; with --engine ray name a folder for the Parquet files"
            raise WriteError(msg)
        if kind == FileType.NotFound or append or overwrite:
            return
        if {info.base_name for info in self._filesystem.get_file_info(FileSelector(self._folder))} - _OURS:
            msg = f"{printable(self.place)} is not empty; go on with it with --append, or overwrite it with --force"
            raise WriteError(msg)

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        from pyarrow.fs import FileType

        path = f"{self._folder}/{_JOB}"
        if self._filesystem.get_file_info(path).type == FileType.NotFound:
            return
        with self._filesystem.open_input_stream(path) as file:
            try:
                before = dict(parse_json(file.read()))
            except (ValueError, TypeError):
                msg = f"{printable(self.place)}/{_JOB} is damaged; delete it, if the options are those of before"
                raise InputError(msg) from None
        for name, value in settings.items():
            if before.get(name) != value:
                msg = (
                    f"{printable(self.place)} was begun with {name} {printable(str(before.get(name)))}, not "
                    f"{printable(str(value))}; give the options of before, or name another folder"
                )
                raise UsageError(msg)

    def _parts(self) -> list[str]:
        from pyarrow.fs import FileSelector

        infos = self._filesystem.get_file_info(FileSelector(self._folder, allow_not_found=True))
        return [info.path for info in infos if info.base_name.startswith("part-") and info.extension == "parquet"]

    def _remove_unfinished(self) -> None:
        from pyarrow.fs import FileType

        folder = f"{self._folder}/{_UNFINISHED}"
        if self._filesystem.get_file_info(folder).type == FileType.Directory:
            self._filesystem.delete_dir(folder)

    def done(self) -> Done:
        """Return which pictures have their rows. Raises InputError for a part that cannot be read."""
        return Done(path for part in self._parts() for path in self._paths(part))

    def _paths(self, part: str) -> Iterator[bytes]:
        import pyarrow.parquet as pq
        from pyarrow import ArrowException

        try:
            table = pq.read_table(part, columns=["path", "path_b64"], filesystem=self._filesystem)
        except (ArrowException, OSError) as error:
            msg = f"{printable(part)} cannot be read ({printable(str(error)[:100])}); delete it, to have it made again"
            raise InputError(msg) from None
        before = None
        for path, coded in zip(table["path"].to_pylist(), table["path_b64"].to_pylist(), strict=True):
            if (path, coded) != before:  # one row a face
                try:
                    yield path.encode() if coded is None else base64.b64decode(coded)
                except (AttributeError, TypeError, ValueError):
                    msg = f"{printable(part)} has rows that emotify did not write; delete it, to have it made again"
                    raise InputError(msg) from None
            before = path, coded

    @contextlib.contextmanager
    def new_part(self, name: str) -> Iterator[Any]:
        """Give a binary file for the rows of a part. Raises WriteError."""
        with self._explained(), self._filesystem.open_output_stream(f"{self._unfinished}/{name}") as file:
            yield file

    def count_try(self, name: str) -> int:
        """Return the how manieth time it is, from 1, that this command works on a part. Raises WriteError."""
        from pyarrow.fs import FileType

        with self._explained():
            number = 1
            while self._filesystem.get_file_info(f"{self._unfinished}/{name}.{number}").type != FileType.NotFound:
                number += 1
            self._filesystem.open_output_stream(f"{self._unfinished}/{name}.{number}").close()
        return number

    def finish_part(self, name: str) -> None:
        """Move a part to its place. Raises WriteError."""
        with self._explained():
            self._filesystem.move(f"{self._unfinished}/{name}", f"{self._folder}/{name}")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        with explain_write_errors(Path(self.place)):
            yield
