"""Read a csv in a .zip, .tar.gz, .tar or .csv.gz as a stream, without writing to the disk."""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Final, Protocol, TypeVar

from emotify.data.foreign import describe_foreign
from emotify.data.lines import has_columns
from emotify.errors import InputError
from emotify.files import printable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_BYTES: Final = 2 << 30  # unpacked; FER-2013 has 0.3e9
MAX_RATIO: Final = 400  # unpacked to packed size; FER-2013 has 3, one line repeated many times has 200
MAX_MEMBERS: Final = 65_000  # a zip's member count stops at 65,535, which can also mean more
_PEEK: Final = 4096  # bytes to recognize the format
_SMALL: Final = 64 << 20  # bytes; less is harmless at any ratio
_ZIP_END: Final = 22 + 0xFFFF  # bytes of a zip's last record with the longest possible comment
CSV_NAMES: Final = ("fer2013.csv", "icml_face_data.csv")
_DAMAGE: Final = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError),
    *(EOFError, NotImplementedError),
)

Member = TypeVar("Member")


@contextlib.contextmanager
def open_csv(path: Path, columns: Sequence[str]) -> Iterator[io.BufferedReader]:
    """Open a csv, or the csv in an archive whose header has these columns. FER-2013's own file names come first.

    The first bytes of a file decide its format, not its name. Raises InputError, also in the block, when reading the
    stream fails.
    """
    name = printable(path)
    try:
        chosen = _choose(path, columns)
        with contextlib.closing(_members(path)) as members:
            yield next(stream for place, (_, stream) in enumerate(members) if place == chosen)
    except _DAMAGE as error:
        raise InputError(
            f"{name} is damaged, or its compression is unsupported: {error}; unpack it yourself"
        ) from error


def holds_csv(path: Path, columns: Sequence[str]) -> bool:
    """Return whether a file or archive has a csv with these columns in its header. Raises OSError."""
    try:
        with contextlib.closing(_members(path)) as members:
            return any(has_columns(stream, name, columns) for name, stream in members)
    except (InputError, *_DAMAGE):
        return False


def _choose(path: Path, columns: Sequence[str]) -> int:
    """Return the index of the csv file to read among those in `path`."""
    names, fitting = [], []
    with contextlib.closing(_members(path)) as members:
        for place, (name, stream) in enumerate(members):
            names.append(name)
            if has_columns(stream, name, columns):
                fitting.append((_rank(name), place))
                if _rank(name) == 0:
                    break
    if fitting:
        return min(fitting)[1]
    if len(names) == 1:
        return 0  # its reader explains the problem
    found = f"only {printable(', '.join(names[:5]))}" if names else "no csv; unpack it if it has folders of images"
    raise InputError(f"{printable(path)} has no csv with the columns {', '.join(columns)}: {found}")


def _rank(name: str) -> int:
    basename = PurePosixPath(name).name.casefold()
    return CSV_NAMES.index(basename) if basename in CSV_NAMES else len(CSV_NAMES)


def _members(path: Path) -> Generator[tuple[str, io.BufferedReader], None, None]:
    """Yield (name, stream) of each csv in an archive, or of the file itself. A stream is valid until the next one."""
    name = printable(path)
    with path.open("rb") as file:
        head = file.peek(_PEEK)
        if words := describe_foreign(head):
            raise InputError(f"{name} is {words}")
        if head.startswith(b"PK"):
            yield from _zip_members(file, name)
            return
        packed = gzip.GzipFile(fileobj=file) if head.startswith(b"\x1f\x8b") else file
        stream = _limited(packed, name, path.stat().st_size)
        if stream.peek(512)[257:262] == b"ustar":
            yield from _tar_members(stream, name)
        elif stream is not file and (words := describe_foreign(stream.peek(_PEEK))):
            raise InputError(f"{name} contains {words}")
        else:
            yield name, stream


def _zip_members(file: IO[bytes], name: str) -> Iterator[tuple[str, io.BufferedReader]]:
    # Check the number of members first, because ZipFile reads the whole table of members, which may be huge.
    file.seek(-min(os.fstat(file.fileno()).st_size, _ZIP_END), os.SEEK_END)
    _, signature, record = file.read().rpartition(b"PK\5\6")
    if signature and int.from_bytes(record[6:8], "little") > MAX_MEMBERS:
        raise _too_many_members(name)
    with zipfile.ZipFile(file) as archive:
        for member in _counted(archive.infolist(), name):
            if member.filename == "xl/workbook.xml":
                raise InputError(f"{name} is an Excel workbook; save its table as csv")
            if not _is_csv(member.filename):
                continue
            if member.flag_bits & 1:
                raise InputError(f"{name} is encrypted; unpack it with its password first")
            with archive.open(member) as stream:
                yield member.filename, _limited(stream, name, member.compress_size)


def _tar_members(file: IO[bytes], name: str) -> Iterator[tuple[str, io.BufferedReader]]:
    with tarfile.open(fileobj=file, mode="r|") as archive:
        for member in _counted(archive, name):
            if _is_csv(member.name) and member.isreg():  # not a link or a device
                stream = archive.extractfile(member)
                assert isinstance(stream, io.BufferedReader)
                yield member.name, stream


def _counted(members: Iterable[Member], name: str) -> Iterator[Member]:
    for count, member in enumerate(members, 1):
        if count > MAX_MEMBERS:
            raise _too_many_members(name)
        yield member


def _too_many_members(name: str) -> InputError:
    return InputError(f"{name} has more than {MAX_MEMBERS:,} members; unpack it and name the csv inside")


def _is_csv(name: str) -> bool:
    basename = PurePosixPath(name).name
    return basename.casefold().endswith(".csv") and not basename.startswith(".")  # ._x.csv holds macOS metadata


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _limited(stream: _Readable, name: str, packed_size: int) -> io.BufferedReader:
    return io.BufferedReader(_Limited(stream, name, packed_size), 1 << 16)


class _Limited(io.RawIOBase):
    """A stream that raises InputError when it unpacks to far more bytes than a data set or its packed size."""

    def __init__(self, stream: _Readable, name: str, packed_size: int) -> None:
        self._stream = stream
        self._name = name
        self._limit = min(MAX_BYTES, max(_SMALL, MAX_RATIO * packed_size))
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        with memoryview(buffer) as view:
            chunk = self._stream.read(len(view))
            view[: len(chunk)] = chunk
        self._count += len(chunk)
        if self._count > self._limit:
            raise InputError(f"{self._name} unpacks to more than {self._limit:,} bytes, too large for FER-2013")
        return len(chunk)
