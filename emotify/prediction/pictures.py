"""Open one picture safely: upright RGB pixels, or a status that says what is wrong with the file."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

from emotify.prediction.decoding import Failure, Picture, Status, decode

__all__ = ["MAX_BYTES", "Failure", "Picture", "Status", "read_picture"]

MAX_BYTES: Final = 64 * 2**20


def read_picture(source: Path | bytes | BinaryIO, *, full_size: bool = False) -> Picture | Failure:
    """Read the first frame of a picture from a file, from bytes, or from a stream that may never end.

    A large JPEG file is read at a fraction of its size, unless the `full_size` is asked for.

    Pipes, devices and sockets are refused without reading them; so is what is too large, before it is decoded.
    Nothing in a file raises: whatever is wrong becomes a Failure.
    """
    try:
        content = _content(source)
        return content if isinstance(content, Failure) else decode(content, full_size=full_size)
    except MemoryError:
        return Failure("memory", "not enough memory to open it; close other programs, or make the picture smaller")


def _content(source: Path | bytes | BinaryIO) -> bytes | Failure:
    if isinstance(source, Path):
        try:
            content = _file_content(source)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            return _file_failure(source, error)
        if isinstance(content, Failure):
            return content
    else:
        content = source if isinstance(source, bytes) else source.read(MAX_BYTES + 1)
    if not content:
        return Failure("empty", "the file holds nothing; get the picture again")
    if len(content) > MAX_BYTES:
        return _too_many_bytes()
    return content


def _file_content(path: Path) -> bytes | Failure:
    # Opening some devices acts on them, so a look comes first; the file may be exchanged after it, so the open
    # descriptor is looked at again. O_NONBLOCK: a pipe without a writer must not hold us up.
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        os.scandir(path).close()  # raises for a folder that a walk could not list
    if not stat.S_ISREG(mode):
        return _not_regular(mode)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            return _not_regular(status.st_mode)
        if status.st_size > MAX_BYTES:
            return _too_many_bytes()
        return file.read(status.st_size + 1)  # with the limit instead, Python would set aside as much for each file


def _too_many_bytes() -> Failure:
    return Failure("too_large", f"more than {MAX_BYTES // 2**20} MiB; make the picture smaller")


def _not_regular(mode: int) -> Failure:
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    kind = kinds.get(stat.S_IFMT(mode), "device")
    return Failure("not_regular", f"a {kind}, not a file; name a picture file")


def _file_failure(path: Path, error: OSError | ValueError) -> Failure:
    code = error.errno if isinstance(error, OSError) else errno.ENOENT
    if code in {errno.EACCES, errno.EPERM}:
        return Failure("permission", "no permission to read it; change its permissions, or run as its owner")
    if code in {errno.ENXIO, errno.ENODEV, errno.EISDIR}:
        return _not_regular(0)
    if code in {errno.ENOMEM, errno.EMFILE, errno.ENFILE}:
        return Failure("memory", f"the system is short of memory or files ({os.strerror(code)}); close other programs")
    if code in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL}:
        return Failure("not_found", _missing_hint(path))
    return Failure("corrupt", f"cannot be read from the disk ({error}); copy it again")


def _missing_hint(path: Path) -> str:
    text = str(path)
    if os.path.islink(path):  # noqa: PTH114 - Path.is_symlink raises for names too long
        return "a link that leads nowhere; mend the link, or name the file itself"
    if text.startswith("~"):
        return "no such file; the shell did not replace ~, write the folder's full path"
    if "$" in text or text.count("%") > 1:
        return "no such file; the shell did not replace the variable in its name, write out the path"
    if "\\" in text and os.sep == "/":
        return "no such file; this looks like a Windows path, write it with / as this system does"
    return "no such file; check the path"
