"""Atomic writes, locks, digests, and foreign text made safe to print."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import re
import shutil
import stat
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

from emotify.errors import UsageError, WriteError
from emotify.stopping import unwinding

_STRAY: Final = re.compile(r"\.emotify\.[0-9a-f]{8}\.tmp")
_ATTEMPTS: Final = 100


def printable(text: str | os.PathLike[str]) -> str:
    r"""Return `text` with control, bidirectional and undecodable characters escaped as `\x1b`, `\u202e`, `\udce9`.

    The one place that makes file names, metadata and other foreign text safe for a terminal. What Rich reads as
    markup is not touched: print the result without markup.
    """
    text = os.fspath(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if _is_shown(character) else _escape(character) for character in text)


def _is_shown(character: str) -> bool:
    return character == " " or (character.isprintable() and unicodedata.category(character) not in {"Cf", "Cs", "Co"})


def _escape(character: str) -> str:
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def safe_stem(text: str) -> str:
    """Return the letters, digits, `.`, `-` and `_` of a text, to name a file by on any system."""
    kept = "".join(character if character.isalnum() or character in "._-" else "_" for character in text)
    return kept.lstrip(".-")[:50] or "_"


@contextlib.contextmanager
def atomic_write(path: Path, *, overwrite: bool = True) -> Iterator[IO[bytes]]:
    """Give a binary file that becomes `path` when the block ends without an error, and vanishes otherwise.

    The file is made beside `path` under a random name, exclusively and without following links; it is synced before it
    takes its place. Where `path` is a link, it stays one and the file that it leads to is replaced. A file that is
    replaced keeps its permissions. Raises WriteError naming the path.
    """
    with unwinding(), _atomic_write(path, overwrite=overwrite) as file:
        yield file


@contextlib.contextmanager
def _atomic_write(path: Path, *, overwrite: bool) -> Iterator[IO[bytes]]:
    if not overwrite and os.path.lexists(path):  # a link that leads nowhere is something, too
        raise exists_error(path)
    named, path = path, Path(os.path.realpath(path)) if path.is_symlink() else path
    _remove_strays_of_the_dead(path.parent)
    with explain_write_errors(named):
        temporary, descriptor = _make_temporary(path)
    try:
        with explain_write_errors(named), os.fdopen(descriptor, "wb") as file:  # closing writes too
            yield file
            file.flush()
            _keep_permissions(file.fileno(), path)
            os.fsync(file.fileno())
        with explain_write_errors(named):
            temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # what went wrong first is what is told
            temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _keep_permissions(descriptor: int, path: Path) -> None:
    with contextlib.suppress(OSError, AttributeError):  # there is no such file; or no fchmod, on Windows
        os.fchmod(descriptor, stat.S_IMODE(path.stat().st_mode))


def is_standard_output(path: Path) -> bool:
    """Tell whether a file to write is standard output: `-`, or a name of what that is, such as /dev/stdout."""
    if str(path) == "-":
        return True
    try:
        return os.path.samestat(path.stat(), os.fstat(1))
    except OSError:
        return False


def _make_temporary(path: Path) -> tuple[Path, int]:
    """Make a file beside `path` that is locked while it is open, so that it can be told from those of the dead."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    for _ in range(_ATTEMPTS):
        temporary = _temporary(path)
        descriptor = os.open(temporary, flags, 0o666)
        if sys.platform == "win32":
            break  # files that are open cannot be removed there
        try:
            take_lock(descriptor)
        except BlockingIOError:  # another process looks whether its owner is dead, and is about to remove it
            os.close(descriptor)
            continue
        except OSError:  # no locks on this file system; nobody removes it then
            break
        if os.fstat(descriptor).st_nlink:
            break
        os.close(descriptor)
    return temporary, descriptor


@functools.lru_cache(maxsize=1024)
def _remove_strays_of_the_dead(folder: Path) -> None:
    """Remove what `atomic_write` and `write_folder` of killed processes left in a folder, once for each folder."""
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError), os.scandir(folder) as entries:  # what writing there meets is told by itself
        for path in [Path(entry.path) for entry in entries if _STRAY.fullmatch(entry.name)]:
            with contextlib.suppress(OSError):
                _remove_if_dead(path)


def _remove_if_dead(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        take_lock(descriptor)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            shutil.rmtree(path)
        else:
            path.unlink()
    finally:
        os.close(descriptor)


def remove_strays(folder: Path) -> None:
    """Remove the unfinished files of `atomic_write` in `folder`, where nobody is writing. Raises WriteError.

    Only a process that was killed leaves them.
    """
    for path in folder.glob(f".emotify.{'[0-9a-f]' * 8}.tmp"):
        with explain_write_errors(path):
            path.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, *, overwrite: bool = True) -> None:
    """Write `content` to `path` atomically."""
    with atomic_write(path, overwrite=overwrite) as file:
        file.write(content)


def write_folder(path: Path, contents: Mapping[str, bytes], *, overwrite: bool = False) -> None:
    """Write a folder of files, by name, that appears whole or not at all. Raises WriteError.

    With `overwrite` it may exist: files of these names are replaced, each of them atomically, and others left alone.
    """
    check_folder(path, overwrite=overwrite)
    path = path.resolve()
    make_folder(path.parent, exist_ok=True)
    temporary = _temporary(path)
    _remove_strays_of_the_dead(path.parent)
    with unwinding(), contextlib.ExitStack() as stack:
        try:
            make_folder(temporary)
            stack.enter_context(_locked_folder(temporary))
            for name, content in contents.items():
                write_bytes(temporary / name, content)
            with explain_write_errors(path):
                if path.exists():
                    for name in contents:
                        (temporary / name).replace(path / name)
                else:
                    temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    _sync_folder(path.parent)


@contextlib.contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    descriptor = -1
    with contextlib.suppress(OSError):  # no locks there, or Windows, where folders cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        take_lock(descriptor)
    try:
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def write_json(path: Path, document: object) -> None:
    """Write `document` to `path` atomically as indented JSON; NaN and infinities are refused with ValueError."""
    write_bytes(path, (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:  # noqa: ANN401 - a JSON document is anything
    """Read a JSON document. Raises OSError, or ValueError when it is no JSON."""
    return parse_json(path.read_bytes())


def parse_json(
    content: str | bytes,
    object_from: Callable[[list[tuple[str, Any]]], object] | None = None,
) -> Any:  # noqa: ANN401 - a JSON document is anything
    """Return the document in `content`. Raises ValueError when it is no JSON, or nested deeper than Python can read.

    object_from: makes an object of its keys and values, which else become a dict.
    """
    try:
        return json.loads(content, object_pairs_hook=object_from)
    except RecursionError as error:
        msg = "nested too deeply"
        raise ValueError(msg) from error


def exists_error(path: Path) -> WriteError:
    return WriteError(f"{printable(path)} already exists; choose another name, or overwrite it with --force")


def check_folder(path: Path, *, overwrite: bool, extend: bool = False) -> None:
    """Raise WriteError when `path` exists and may not be written into, is no folder or a link, or cannot be made.

    And UsageError for `-`, as for a file.

    extend: files may be added to a folder that exists; overwrite: and replaced, where a link leads to, too.
    """
    _check_named(path)
    status = look_at_output(path)
    if path.is_symlink() and not overwrite:
        raise WriteError(f"{printable(path)} is a link; name the folder that it leads to, or say --force")
    if status is not None and not stat.S_ISDIR(status.st_mode):
        raise WriteError(f"cannot write {printable(path)}: it is a file; name a folder")
    if status is not None and not (overwrite or extend):
        raise exists_error(path)


def not_a_file_error(path: Path) -> WriteError:
    return WriteError(f"cannot write {printable(path)}: it is a folder or a device; name a file")


def check_output(path: Path, *, overwrite: bool) -> None:
    """Raise WriteError when `path` exists and may not be replaced, is no file, or cannot be written.

    And UsageError for `-`, which must not become a file of that name.
    """
    _check_named(path)
    status = look_at_output(path)
    if status is not None and not stat.S_ISREG(status.st_mode):
        raise not_a_file_error(path)
    if not overwrite and (status is not None or path.is_symlink()):
        raise exists_error(path)


def _check_named(path: Path) -> None:
    if str(path) == "-":
        msg = "- is standard output, which this cannot be written to; name a place"
        raise UsageError(msg)


def is_same_file(one: Path, other: Path) -> bool:
    """Tell whether two names are of one file that is there."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def look_at_output(path: Path) -> os.stat_result | None:
    """Return what is at `path`, None for nothing. Raises WriteError when that cannot be told, or nothing be put there.

    To ask before any work what would else fail after it.
    """
    with explain_write_errors(path):
        try:
            status = path.stat()
        except FileNotFoundError:
            status = None
        place = path.absolute()
        folder = next((folder for folder in (place, *place.parents) if folder.is_dir()), None)
        if folder is None:  # a drive that is not there
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return status


@contextlib.contextmanager
def explain_write_errors(path: Path, *, again: str = "run the command again") -> Iterator[None]:
    """Turn an OSError inside the block into a WriteError that says what is wrong with `path`.

    again: what to do once the disk has room.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno == errno.EDQUOT:
            reason = f"your quota on that disk is used up; free some space and {again}"
        elif error.errno == errno.ENOSPC:
            reason = f"the disk is full ({_free_space(path)} free); free some space and {again}"
        elif error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            reason = "no permission to write there; choose another place, or change the permissions"
        else:
            reason = error.strerror or str(error)
        raise WriteError(f"cannot write {printable(path)}: {reason}") from error


def make_folder(path: Path, *, exist_ok: bool = False) -> None:
    """Create a folder and its parents. Raises WriteError."""
    with explain_write_errors(path):
        try:
            path.mkdir(parents=True, exist_ok=exist_ok)
        except FileExistsError:
            raise exists_error(path) from None


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; the lock is gone with its process, however that ends.

    Raises WriteError with the holder's process id when another process holds it.
    """
    with contextlib.ExitStack() as stack:
        with explain_write_errors(path):  # and not errors of the block: they are about other files
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            file = stack.enter_context(os.fdopen(descriptor, "r+b", buffering=0))  # closing has nothing left to write
            try:
                take_lock(file.fileno())
            except (BlockingIOError, PermissionError):
                holder = file.read().decode(errors="replace").strip() or "unknown"
                msg = f"{printable(path.parent)} is in use by process {holder}; wait for it to end"
                raise WriteError(msg) from None
            file.truncate(0)
            file.write(str(os.getpid()).encode())
        yield


def take_lock(descriptor: int) -> None:
    """Lock an open file for this process. Raises BlockingIOError or PermissionError when another has it."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # a byte nobody reads: locked bytes cannot be read on Windows
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def check_temporary_folder() -> None:
    """Raise WriteError where no folder for temporary files can be written, before any work: libraries want one."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        msg = "no folder for temporary files can be written, such as /tmp; name one that can in the variable TMPDIR"
        raise WriteError(msg) from error


def _free_space(path: Path) -> str:
    for folder in (path, *path.absolute().parents):
        if folder.exists():
            return f"{shutil.disk_usage(folder).free / 1e6:.1f} MB"
    return "unknown space"


def _sync_folder(folder: Path) -> None:
    # Without this a power cut may forget the rename; folders cannot be opened on Windows.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _temporary(path: Path) -> Path:
    """Return a random hidden name beside `path`, of few bytes however long and foreign its own name is."""
    return path.with_name(f".emotify.{os.urandom(4).hex()}.tmp")
