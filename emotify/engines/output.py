"""The output folder: one Parquet file per part, each of which is complete or missing.

A worker writes a part below `_unfinished`, and only the command moves it to the output folder. So a worker that goes on
after the command was killed changes nothing, and a part that is predicted twice appears once.
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

_UNFINISHED: Final = "_unfinished"  # readers of Parquet folders ignore names that begin with _
_JOB: Final = "_job.json"
_LOCK: Final = "_lock"
_OURS: Final = frozenset((_UNFINISHED, _JOB, _LOCK))  # all that a job without a finished part leaves
_WRITTEN_AGAIN: Final = "delete it, and the next run writes it again"
_DIGEST: Final = 16  # bytes of the hash of a picture's path


class Done:
    """The set of pictures that have rows, in 16 bytes per picture."""

    def __init__(self, paths: Iterable[bytes] = ()) -> None:
        # NumPy strips trailing zeros from digests, which stay unique since all have 16 bytes.
        self._digests = np.sort(np.frombuffer(b"".join(map(_digest, paths)), f"S{_DIGEST}"))

    def holds(self, path: str) -> bool:
        """Return whether the picture with this path, as written in rows, has its rows."""
        wanted = np.frombuffer(_digest(os.fsencode(path)), self._digests.dtype)
        place = int(np.searchsorted(self._digests, wanted)[0])
        return place < len(self._digests) and bool(self._digests[place] == wanted[0])


def _digest(path: bytes) -> bytes:
    return hashlib.blake2b(path, digest_size=_DIGEST).digest()


class Output:
    """A folder of parts, local or at an address."""

    def __init__(self, place: str, run: str) -> None:
        self.place = shown_address(place) if is_address(place) else place
        self._here = not is_address(place)
        self._filesystem, folder = open_filesystem(place)
        self._folder = folder.rstrip("/")
        # Only this command uses the folder, so that workers of an earlier command cannot write among its parts.
        self._unfinished = f"{self._folder}/{_UNFINISHED}/{run}"

    @contextlib.contextmanager
    def begin(self, settings: Mapping[str, Any], *, append: bool, overwrite: bool) -> Iterator[None]:
        """Create the folder and lock it during the block. Unfinished parts are removed before and after.

        append: resume the job in the folder, which must have the same settings. overwrite: remove the parts of an
        earlier job. Raises WriteError if the folder cannot be written or is not empty, UsageError if `append` finds
        other settings, and InputError if the file of settings is damaged.
        """
        with contextlib.ExitStack() as stack:
            with self._explained():
                self._check_free(append=append, overwrite=overwrite)
                self._filesystem.create_dir(self._folder)
                if self._here:  # other filesystems have no locks
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
                with contextlib.suppress(OSError):  # the first error is the one to report
                    self._remove_unfinished()

    def _check_free(self, *, append: bool, overwrite: bool) -> None:
        from pyarrow.fs import FileSelector, FileType

        kind = self._filesystem.get_file_info(self._folder).type
        if kind == FileType.File:
            msg = f"{printable(self.place)} is a file; with --engine ray, give a folder for the Parquet files"
            raise WriteError(msg)
        if kind == FileType.NotFound or append or overwrite:
            return
        if {info.base_name for info in self._filesystem.get_file_info(FileSelector(self._folder))} - _OURS:
            msg = f"{printable(self.place)} is not empty; resume with --append, or overwrite it with --force"
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
                msg = f"{printable(self.place)}/{_JOB} is damaged; delete it if the options have not changed"
                raise InputError(msg) from None
        for name, value in settings.items():
            if before.get(name) != value:
                msg = (
                    f"{printable(self.place)} was begun with {name} {printable(str(before.get(name)))}, not "
                    f"{printable(str(value))}; use the same options as before, or give another folder"
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
        """Return the pictures that have rows. Raises InputError if a part cannot be read."""
        return Done(path for part in self._parts() for path in self._paths(part))

    def _paths(self, part: str) -> Iterator[bytes]:
        import pyarrow.parquet as pq
        from pyarrow import ArrowException

        try:
            table = pq.read_table(part, columns=["path", "path_b64"], filesystem=self._filesystem)
        except (ArrowException, OSError) as error:
            reason = printable(str(error)[:100])
            msg = f"{printable(part)} cannot be read ({reason}); {_WRITTEN_AGAIN}"
            raise InputError(msg) from None
        before = None
        for path, coded in zip(table["path"].to_pylist(), table["path_b64"].to_pylist(), strict=True):
            if (path, coded) != before:  # a picture has one row per face
                try:
                    yield path.encode() if coded is None else base64.b64decode(coded)
                except (AttributeError, TypeError, ValueError):
                    msg = f"{printable(part)} has rows that emotify did not write; {_WRITTEN_AGAIN}"
                    raise InputError(msg) from None
            before = path, coded

    @contextlib.contextmanager
    def new_part(self, name: str) -> Iterator[Any]:
        """Open a binary file for the rows of a part. Raises WriteError."""
        with self._explained(), self._filesystem.open_output_stream(f"{self._unfinished}/{name}") as file:
            yield file

    def count_try(self, name: str) -> int:
        """Record that this command starts to predict a part, and return the number of tries so far, from 1.

        Raises WriteError if the record cannot be written.
        """
        from pyarrow.fs import FileType

        with self._explained():
            number = 1
            while self._filesystem.get_file_info(f"{self._unfinished}/{name}.{number}").type != FileType.NotFound:
                number += 1
            self._filesystem.open_output_stream(f"{self._unfinished}/{name}.{number}").close()
        return number

    def finish_part(self, name: str) -> None:
        """Move a finished part to the output folder. Raises WriteError."""
        with self._explained():
            self._filesystem.move(f"{self._unfinished}/{name}", f"{self._folder}/{name}")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        with explain_write_errors(Path(self.place)):
            yield
