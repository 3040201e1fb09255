"""Read one picture safely: return upright pixels, or a status with the reason why it cannot be read."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt
from PIL import Image

from emotify.paths import explain_missing
from emotify.pictures.decoding import Failure, Picture, Status, decode, from_array, from_image
from emotify.pictures.formats import RAW_EXTENSIONS
from emotify.pictures.memory import Share
from emotify.waiting import waiting_for

__all__ = ["MAX_BYTES", "Failure", "Picture", "Source", "Status", "is_source", "open_file", "read_picture"]

MAX_BYTES: Final = 64 * 2**20
_BLOCK: Final = 2**20  # bytes

# A file's path or content, an open file, uint8 pixels (grey HxW or RGB HxWx3), or a Pillow image.
Source: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | npt.NDArray[np.uint8] | Image.Image


def is_source(given: object) -> TypeGuard[Source]:
    """Return whether an object is one picture, not an iterable of several. Text, bytes and arrays are iterable too."""
    return isinstance(given, str | os.PathLike | bytes | np.ndarray | Image.Image) or hasattr(given, "read")


def read_picture(source: Source, *, enough_side: int | None = None, share: Share | None = None) -> Picture | Failure:
    """Read the first frame of a picture.

    enough_side: a JPEG file may be decoded at a fraction of its size if its longer side keeps this many pixels.
    share: the picture's share of the memory for all pictures in progress; other pictures wait until enough is free.

    Pipes, devices and sockets are refused unread, and files that are too large are refused before decoding. At most
    MAX_BYTES + 1 bytes are read from an open file, which may be endless. Faults of a file never raise; they become a
    Failure. Raises TypeError if `source` is not a Source.
    """
    try:
        if isinstance(source, np.ndarray):
            return from_array(source)
        if isinstance(source, Image.Image):
            return from_image(source)
        with waiting_for("reading", source if isinstance(source, str | os.PathLike) else "a picture"):
            content = _content(source)
            if isinstance(content, Failure):
                return content
            if share is not None:
                share.content = len(content)
            return decode(content, enough_side=enough_side, named_raw=_is_named_raw(source), share=share)
    except MemoryError:
        return Failure("memory", "not enough memory to open it; close other programs, or make the picture smaller")


def _content(source: str | os.PathLike[str] | bytes | BinaryIO) -> bytes | Failure:
    if isinstance(source, bytes):
        content: bytes | Failure = source
    elif isinstance(source, Path | str | os.PathLike):  # Path comes first, since the check for PathLike is slow
        try:
            content = _file_content(source)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            content = explain_read_error(os.fspath(source), error)
    else:
        content = _stream_content(source)
    if isinstance(content, Failure):
        return content
    if not content:
        return Failure("empty", "the file is empty; get the picture again")
    if len(content) > MAX_BYTES:
        return _too_many_bytes()
    return content


def _is_named_raw(source: object) -> bool:
    if not isinstance(source, Path | str | os.PathLike):
        return False
    return os.path.splitext(os.fspath(source))[1].casefold() in RAW_EXTENSIONS  # noqa: PTH122 - as in finding.py


def _stream_content(stream: BinaryIO) -> bytes:
    content = stream.read(MAX_BYTES + 1) if hasattr(stream, "read") else None
    if not isinstance(content, bytes):
        msg = f"not a picture: {type(stream).__name__}; give a path, bytes, a file opened in binary mode, or pixels"
        raise TypeError(msg)
    return content


def open_file(path: str | os.PathLike[str]) -> BinaryIO | Failure:
    """Open a regular file in binary mode. Return a Failure for pipes, devices, folders and unreadable files."""
    try:
        file = _open_regular(path)
    except (OSError, ValueError) as error:
        return explain_read_error(os.fspath(path), error)
    return file if isinstance(file, Failure) else os.fdopen(file, "rb")


def _file_content(path: str | os.PathLike[str]) -> bytes | Failure:
    file = _open_regular(path)
    if isinstance(file, Failure):
        return file
    try:
        size = os.fstat(file).st_size
        if size > MAX_BYTES:
            return _too_many_bytes()
        return _read(file, size + 1)  # not MAX_BYTES, since Python allocates the size that is requested
    finally:
        os.close(file)


def _open_regular(path: str | os.PathLike[str]) -> int | Failure:
    # Opening some devices has effects, so the type is checked first. The file may be replaced after this check, so the
    # open descriptor is checked again. O_NONBLOCK prevents waiting for a pipe without a writer.
    mode = os.stat(path).st_mode  # noqa: PTH116 - a path may be given as text
    if stat.S_ISDIR(mode):
        os.scandir(path).close()  # raises an error if the folder cannot be listed
    if not stat.S_ISREG(mode):
        return _not_regular(mode)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    file = os.open(path, flags)
    if not stat.S_ISREG(mode := os.fstat(file).st_mode):
        os.close(file)
        return _not_regular(mode)
    return file


def _read(file: int, size: int) -> bytes:
    """Read a file whose reported size is `size` - 1 bytes.

    No Python file object is used, since creating one takes as long as reading a small file. Some file systems, such as
    /proc, report a size of 0, so reading goes on until the file ends.
    """
    content = os.read(file, size)
    while content and len(content) != size - 1 and len(content) <= MAX_BYTES and (more := os.read(file, _BLOCK)):
        content += more
    return content


def _too_many_bytes() -> Failure:
    return Failure("too_large", f"more than {MAX_BYTES // 2**20} MiB; make the picture smaller")


def _not_regular(mode: int) -> Failure:
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    kind = kinds.get(stat.S_IFMT(mode), "device")
    return Failure("not_regular", f"a {kind}, not a file; give a picture file")


def explain_read_error(path: str, error: OSError | ValueError) -> Failure:
    """Return the Failure for an error from opening or reading a file."""
    code = error.errno if isinstance(error, OSError) else errno.ENOENT
    if code in {errno.EACCES, errno.EPERM}:
        return Failure("permission", "no permission to read it; change its permissions, or run as its owner")
    if code in {errno.ENXIO, errno.ENODEV, errno.EISDIR}:
        return _not_regular(0)
    if code in {errno.ENOMEM, errno.EMFILE, errno.ENFILE}:
        return Failure("memory", f"the system is short of memory or files ({os.strerror(code)}); close other programs")
    if code in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL}:
        return Failure("not_found", f"no such file: {explain_missing(path) or 'check the path'}")
    return Failure("corrupt", f"cannot be read from the disk ({error}); copy it again")
