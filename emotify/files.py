"""Atomic writes, file locks, file digests, and escaping of foreign text for the terminal."""

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
from emotify.stopping import raising_interrupts

_TEMPORARY: Final = re.compile(r"\.emotify\.[0-9a-f]{8}\.tmp")


def printable(text: str | os.PathLike[str]) -> str:
    r"""Return `text` with control, bidirectional and undecodable characters escaped as `\x1b`, `\u202e`, `\udce9`.

    This makes file names, metadata and other foreign text safe for a terminal. It keeps Rich's markup characters, so
    print the result without markup.
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
    """Return a text as a file name for any system: characters other than letters, digits and `.-_` become `_`."""
    kept = "".join(character if character.isalnum() or character in "._-" else "_" for character in text)
    return kept.lstrip(".-")[:50] or "_"


@contextlib.contextmanager
def atomic_write(path: Path, *, overwrite: bool = True) -> Iterator[IO[bytes]]:
    """Open a binary file that replaces `path` when the block ends without an error. After an error, remove the file.

    The file is created beside `path` under a random name, exclusively and without following links. It is synced to
    the disk before it is renamed. When `path` is a link, the link stays and its target is replaced. A replaced file
    keeps its permissions. Raises WriteError that names the path.
    """
    with raising_interrupts(), _atomic_write(path, overwrite=overwrite) as file:
        yield file


@contextlib.contextmanager
def _atomic_write(path: Path, *, overwrite: bool) -> Iterator[IO[bytes]]:
    if not overwrite and os.path.lexists(path):  # a broken link counts as existing
        raise exists_error(path)
    named, path = path, Path(os.path.realpath(path)) if path.is_symlink() else path
    _remove_abandoned_files(path.parent)
    with explain_write_errors(named):
        temporary, descriptor = _make_temporary(path)
    try:
        with explain_write_errors(named), os.fdopen(descriptor, "wb") as file:  # closing the file writes, too
            yield file
            file.flush()
            _keep_permissions(file.fileno(), path)
            os.fsync(file.fileno())
        with explain_write_errors(named):
            temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # report the first error, not this one
            temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _keep_permissions(descriptor: int, path: Path) -> None:
    with contextlib.suppress(OSError, AttributeError):  # the file is new, or Windows has no fchmod
        os.fchmod(descriptor, stat.S_IMODE(path.stat().st_mode))


def is_standard_output(path: Path) -> bool:
    """Return whether an output path is standard output: `-`, or a name of the same file, such as /dev/stdout."""
    if str(path) == "-":
        return True
    try:
        return os.path.samestat(path.stat(), os.fstat(1))
    except OSError:
        return False


def _make_temporary(path: Path) -> tuple[Path, int]:
    """Create a file beside `path` that stays locked while it is open. Files of killed processes are unlocked."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    while True:
        temporary = _temporary(path)
        descriptor = os.open(temporary, flags, 0o666)
        if sys.platform == "win32":
            break  # Windows does not remove open files
        try:
            take_lock(descriptor)
        except BlockingIOError:  # another process took the file for an abandoned one and is about to remove it
            os.close(descriptor)
            continue
        except OSError:  # the file system has no locks, so no process removes the file
            break
        if temporary.exists():
            break
        os.close(descriptor)
    return temporary, descriptor


@functools.lru_cache(maxsize=1024)
def _remove_abandoned_files(folder: Path) -> None:
    """Remove temporary files and folders that killed processes left in `folder`. The cache makes this run once."""
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError), os.scandir(folder) as entries:  # writing there reports its own errors
        for path in [Path(entry.path) for entry in entries if _TEMPORARY.fullmatch(entry.name)]:
            with contextlib.suppress(OSError):
                _remove_if_abandoned(path)


def _remove_if_abandoned(path: Path) -> None:
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
    """Remove the unfinished files of `atomic_write` in `folder`. No process may be writing there. Raises WriteError.

    Only a killed process leaves such files.
    """
    for path in folder.glob(f".emotify.{'[0-9a-f]' * 8}.tmp"):
        with explain_write_errors(path):
            path.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, *, overwrite: bool = True) -> None:
    """Write `content` to `path` atomically."""
    with atomic_write(path, overwrite=overwrite) as file:
        file.write(content)


def write_folder(path: Path, contents: Mapping[str, bytes], *, overwrite: bool = False) -> None:
    """Write files (name -> content) to a new folder, either all files or none. Raises WriteError.

    With `overwrite`, the folder may exist. Then each file is replaced atomically, and other files stay.
    """
    check_folder(path, overwrite=overwrite)
    path = path.resolve()
    make_folder(path.parent, exist_ok=True)
    temporary = _temporary(path)
    _remove_abandoned_files(path.parent)
    with raising_interrupts(), contextlib.ExitStack() as stack:
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
    with contextlib.suppress(OSError):  # the file system has no locks, or Windows cannot open folders
        descriptor = os.open(folder, os.O_RDONLY)
        take_lock(descriptor)
    try:
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def write_json(path: Path, document: object) -> None:
    """Write `document` to `path` atomically as indented JSON. Raises ValueError for NaN and infinities."""
    write_bytes(path, (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:  # noqa: ANN401 - a JSON document is anything
    """Read a JSON document. Raises OSError, or ValueError when the file is not JSON."""
    return parse_json(path.read_bytes())


def parse_json(
    content: str | bytes,
    object_from: Callable[[list[tuple[str, Any]]], object] | None = None,
) -> Any:  # noqa: ANN401 - a JSON document is anything
    """Return the document in `content`. Raises ValueError when it is not JSON, or nested too deeply for Python.

    object_from: builds each object from its (key, value) pairs; by default a dict.
    """
    try:
        return json.loads(content, object_pairs_hook=object_from)
    except RecursionError as error:
        msg = "nested too deeply"
        raise ValueError(msg) from error


def exists_error(path: Path) -> WriteError:
    return WriteError(f"{printable(path)} already exists; choose another name, or overwrite it with --force")


def check_folder(path: Path, *, overwrite: bool, extend: bool = False) -> None:
    """Raise WriteError when `path` is not a folder that may be written to or created. Raise UsageError for `-`.

    extend: allow a folder that exists; files may only be added.
    overwrite: allow a folder that exists or a link to a folder; files may also be replaced.
    """
    _check_named(path)
    status = output_status(path)
    if path.is_symlink() and not overwrite:
        raise WriteError(f"{printable(path)} is a link; name its target folder, or add --force")
    if status is not None and not stat.S_ISDIR(status.st_mode):
        raise WriteError(f"cannot write {printable(path)}: it is a file; name a folder")
    if status is not None and not (overwrite or extend):
        raise exists_error(path)


def not_a_file_error(path: Path) -> WriteError:
    return WriteError(f"cannot write {printable(path)}: it is a folder or a device; name a file")


def check_output(path: Path, *, overwrite: bool) -> None:
    """Raise WriteError when `path` exists and may not be replaced, is not a file, or cannot be written.

    Raise UsageError for `-`, which must not become a file called `-`.
    """
    _check_named(path)
    status = output_status(path)
    if status is not None and not stat.S_ISREG(status.st_mode):
        raise not_a_file_error(path)
    if not overwrite and (status is not None or path.is_symlink()):
        raise exists_error(path)


def _check_named(path: Path) -> None:
    if str(path) == "-":
        msg = "- means standard output, which cannot be used here; name a file or folder"
        raise UsageError(msg)


def is_same_file(one: Path, other: Path) -> bool:
    """Return whether two paths name the same existing file."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def output_status(path: Path) -> os.stat_result | None:
    """Return the status of `path`, or None when it does not exist. Call this before long work, to fail early.

    Raises WriteError when `path` cannot be examined, or nothing can be written there.
    """
    with explain_write_errors(path):
        try:
            status = path.stat()
        except FileNotFoundError:
            status = None
        place = path.absolute()
        folder = next((folder for folder in (place, *place.parents) if folder.is_dir()), None)
        if folder is None:  # a missing drive
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return status


@contextlib.contextmanager
def explain_write_errors(path: Path, *, again: str = "run the command again") -> Iterator[None]:
    """Turn an OSError in the block into a WriteError that explains what is wrong with `path`.

    again: advice for a full disk, after "free some space and".
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
    """Hold the lock file `path` during the block. The system releases the lock when the process ends.

    Raises WriteError with the other process's id when another process holds the lock.
    """
    with contextlib.ExitStack() as stack:
        with explain_write_errors(path):  # errors of the block are about other files, so it is outside
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            file = stack.enter_context(os.fdopen(descriptor, "r+b", buffering=0))  # closing writes nothing
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
    """Lock an open file for this process. Raises BlockingIOError or PermissionError when another process holds it."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # Windows cannot read locked bytes, so lock one past the end
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def check_temporary_folder() -> None:
    """Raise WriteError when no folder for temporary files is writable. Libraries need one, so check before any work."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        msg = "no folder for temporary files, such as /tmp, is writable; set the variable TMPDIR to a writable folder"
        raise WriteError(msg) from error


def _free_space(path: Path) -> str:
    for folder in (path, *path.absolute().parents):
        if folder.exists():
            return f"{shutil.disk_usage(folder).free / 1e6:.1f} MB"
    return "unknown space"


def _sync_folder(folder: Path) -> None:
    # Without this, a power cut may undo the rename. Windows cannot open folders.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _temporary(path: Path) -> Path:
    """Return a random hidden path beside `path`. Its name is short, even when the name of `path` is long."""
    return path.with_name(f".emotify.{os.urandom(4).hex()}.tmp")
