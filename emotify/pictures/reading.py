"""Open one picture safely: upright pixels, or a status that says what is wrong with the file."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt
from PIL import Image

from emotify.pictures.decoding import Failure, Picture, Status, decode, from_array, from_image
from emotify.pictures.formats import RAW_EXTENSIONS
from emotify.pictures.memory import Share
from emotify.waiting import waiting_for

__all__ = ["MAX_BYTES", "Failure", "Picture", "Source", "Status", "is_source", "open_file", "read_picture"]

MAX_BYTES: Final = 64 * 2**20
_BLOCK: Final = 2**20  # bytes
# Two slashes or one: a Path has dropped the second.
_ADDRESS: Final = re.compile(r"(?:https?|ftps?|sftp|ssh|s3|gs|az|hdfs|hf):/|data:image/|www\.", re.IGNORECASE)
_PATTERN: Final = re.compile(r"[*?]|\[[^\]]+\]|\{[^}]*,[^}]*\}")

# A file's path or content, an open file, pixels (grey HxW or RGB HxWx3), or an image of Pillow's.
Source: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | npt.NDArray[np.uint8] | Image.Image


def is_source(given: object) -> TypeGuard[Source]:
    """Tell one picture from several: text, bytes, arrays and open files could be iterated over, too."""
    return isinstance(given, str | os.PathLike | bytes | np.ndarray | Image.Image) or hasattr(given, "read")


def read_picture(source: Source, *, enough_side: int | None = None, share: Share | None = None) -> Picture | Failure:
    """Read the first frame of a picture from wherever it is; an open file may never end.

    A JPEG file is read at a fraction of its size where that leaves it `enough_side` pixels on its longer side.
    share: of the memory of all pictures at once; the picture keeps it, and others wait for what it does not leave.
    Pipes, devices and sockets are refused without reading them; so is what is too large, before it is decoded.
    Nothing in a file raises: whatever is wrong becomes a Failure. Raises TypeError for what is no Source.
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
    elif isinstance(source, Path | str | os.PathLike):  # Path is there because asking for PathLike is slow
        try:
            content = _file_content(source)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            content = explain_read_error(os.fspath(source), error)
    else:
        content = _stream_content(source)
    if isinstance(content, Failure):
        return content
    if not content:
        return Failure("empty", "the file holds nothing; get the picture again")
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
    """Open a regular file to read bytes from; pipes, devices, folders and what cannot be read are Failures."""
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
        return _read(file, size + 1)  # with the limit instead, Python would set aside as much for each file
    finally:
        os.close(file)


def _open_regular(path: str | os.PathLike[str]) -> int | Failure:
    # Opening some devices acts on them, so a look comes first; the file may be exchanged after it, so the open
    # descriptor is looked at again. O_NONBLOCK: a pipe without a writer must not hold us up.
    mode = os.stat(path).st_mode  # noqa: PTH116 - a path may be given as text
    if stat.S_ISDIR(mode):
        os.scandir(path).close()  # raises for a folder that a walk could not list
    if not stat.S_ISREG(mode):
        return _not_regular(mode)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    file = os.open(path, flags)
    if not stat.S_ISREG(mode := os.fstat(file).st_mode):
        os.close(file)
        return _not_regular(mode)
    return file


def _read(file: int, size: int) -> bytes:
    """Read a file of `size` - 1 bytes, without a file object of Python's: making one takes as long as a small file.

    Some systems, as that behind /proc, say that a file has no bytes before they are asked for them.
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
    return Failure("not_regular", f"a {kind}, not a file; name a picture file")


def explain_read_error(path: str, error: OSError | ValueError) -> Failure:
    """Return what an error of opening or reading a file is to its user."""
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


def _missing_hint(text: str) -> str:
    if os.path.islink(text):  # noqa: PTH114 - Path.is_symlink raises for names too long
        return "a link that leads nowhere; mend the link, or name the file itself"
    if text.startswith("file:"):
        return "no such file; write its path without file://"
    if _ADDRESS.match(text):
        return "an address, not a file; download the picture first"
    if text.startswith("~"):
        return "no such file; the shell did not replace ~, write the folder's full path"
    if "$" in text or text.count("%") > 1:
        return "no such file; the shell did not replace the variable in its name, write out the path"
    if _PATTERN.search(text):
        return "no such file; the pattern was not expanded: nothing matches it, or it is in quotes"
    if "\\" in text and os.sep == "/":
        return "no such file; this looks like a Windows path, write it with / as this system does"
    if text != text.strip():
        return "no such file; its name begins or ends with a blank, check the path"
    return "no such file; check the path"
