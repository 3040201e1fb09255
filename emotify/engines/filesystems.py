"""Find and read files at addresses such as s3://bucket/photos with pyarrow's filesystems."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from emotify.errors import UsageError
from emotify.files import printable
from emotify.pictures.finding import Tally, is_hidden, is_picture_name, is_program_folder
from emotify.pictures.reading import MAX_BYTES, Failure, explain_read_error


def is_address(text: str) -> bool:
    """Return whether a text is an address, `scheme://...`, rather than a local path."""
    return "://" in text


def open_filesystem(place: str) -> tuple[Any, str]:
    """Return pyarrow's filesystem for an address or a local path, and the path in it.

    Raises UsageError if pyarrow cannot open the address.
    """
    from pyarrow import ArrowException
    from pyarrow.fs import FileSystem, LocalFileSystem

    if not is_address(place):
        return LocalFileSystem(), str(Path(place).absolute())
    try:
        filesystem, path = FileSystem.from_uri(place)
    except (ArrowException, ImportError, OSError) as error:
        msg = f"{printable(shown_address(place))}: {printable(str(error)[:200])}; give a folder that pyarrow can read"
        raise UsageError(msg) from None
    return filesystem, path


def shown_address(place: str) -> str:
    """Return an address without its password and settings, since other people may read rows and messages."""
    parts = urlsplit(place)
    user, _, host = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{host if ':' in user else parts.netloc}{unquote(parts.path)}".rstrip("/")


def find_files(filesystem: Any, root: str, tally: Tally) -> Iterator[str]:  # noqa: ANN401 - pyarrow has no types
    """Yield the paths of pictures below `root`, sorted within each folder, or `root` itself if it is not a folder.

    Files are skipped by the rules of `find_pictures`. One folder is listed at a time. Raises OSError if a folder
    cannot be listed.
    """
    from pyarrow.fs import FileType

    root = root.rstrip("/")
    if filesystem.get_file_info(root).type != FileType.Directory:
        yield root
        return
    waiting = [_names(filesystem, root, tally)]
    while waiting:
        if not waiting[-1]:
            waiting.pop()
            continue
        path, is_folder = waiting[-1].pop()
        if is_folder:
            waiting.append(_names(filesystem, path, tally))
        else:
            yield path


def _names(filesystem: Any, folder: str, tally: Tally) -> list[tuple[str, bool]]:  # noqa: ANN401
    """Return the paths in a folder in reverse order, each with whether it is a folder."""
    from pyarrow.fs import FileSelector, FileType

    found = []
    for info in filesystem.get_file_info(FileSelector(folder)):
        if is_program_folder(info.base_name) and info.type == FileType.Directory:
            tally.folders[info.base_name] += 1
        elif is_hidden(info.base_name):
            continue
        elif info.type == FileType.Directory:
            found.append((info.path.rstrip("/"), True))
        elif is_picture_name(info.base_name):
            found.append((info.path, False))
        else:
            tally.ignored += 1
    return sorted(found, reverse=True)


def fetch(filesystem: Any, path: str) -> bytes | Failure:  # noqa: ANN401
    """Return the content of a file, at most MAX_BYTES + 1 bytes, or the reason why it cannot be read."""
    try:
        with filesystem.open_input_stream(path) as stream:
            content: bytes = stream.read(MAX_BYTES + 1)
    except MemoryError:
        return Failure("memory", "not enough memory to open it; close other programs, or make the picture smaller")
    except (OSError, ValueError) as error:
        if "ACCESS_DENIED" in str(error):  # S3's error has no errno
            error = PermissionError(13, os.strerror(13))
        return explain_read_error(path, error)
    return content
