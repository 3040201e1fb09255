"""Save copies of pictures, each at its own path, under file names that are valid on every system."""

from __future__ import annotations

import hashlib
import io
import os
import re
from pathlib import Path, PurePath
from typing import Final

from PIL.Image import Image

from emotify.files import make_folder, printable, write_bytes
from emotify.pictures.formats import IMAGE_EXTENSIONS

_KINDS: Final = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_LARGEST_NAME: Final = 120  # bytes; every file system allows this length
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # on Windows


def copy_path(folder: Path, place: PurePath) -> Path:
    """Return the path in `folder` for the copy of a picture at the relative path `place`, with safe names.

    JPEG and PNG files keep their format; `x.gif` becomes `x.gif.jpg`.
    """
    return folder.joinpath(*(safe_name(part) for part in place.parts[:-1]), _file_name(place.name))


def clip_copy_path(folder: Path, place: PurePath) -> Path:
    """Return the path in `folder` for the copy of a clip: `x.mp4` keeps its name, `x.mov` becomes `x.mov.mp4`."""
    name = safe_name(place.name)
    suffix = "" if PurePath(name).suffix == ".mp4" else ".mp4"
    return folder.joinpath(*(safe_name(part) for part in place.parts[:-1]), name + suffix)


def save_copy(image: Image, path: Path, *, overwrite: bool = False) -> None:
    """Save a picture at its `copy_path`, without EXIF data.

    Raises WriteError if it cannot be written, or if the file exists and `overwrite` is not set.
    """
    kind = _KINDS[path.suffix.lower()]
    make_folder(path.parent, exist_ok=True)
    content = io.BytesIO()
    # No chroma subsampling, which would blur thin lines and small letters.
    options = {"quality": 92, "subsampling": 0} if kind == "JPEG" else {"compress_level": 3}
    image.save(content, kind, **options)
    write_bytes(path, content.getvalue(), overwrite=overwrite)


def safe_name(name: str) -> str:
    """Return a file name that is safe on every system, shell and terminal. A changed name gets a digest."""
    safe = re.sub(r'[<>:"/\\|?*]', "_", printable(name)).strip(". ").lstrip("-~")
    fits = len(os.fsencode(name)) <= _LARGEST_NAME and not _RESERVED.fullmatch(name)
    return name if safe == name and fits else _with_digest(safe, name)


def _file_name(name: str) -> str:
    safe = safe_name(name)
    inner, suffix = os.path.splitext(safe)  # noqa: PTH122 - names, not paths, here and below
    if suffix.lower() not in _KINDS:
        copy = f"{safe}.jpg"
        return (
            copy if suffix.lower() in IMAGE_EXTENSIONS else _with_digest(copy, name)
        )  # differs from the copy of `x.jpg`
    if os.path.splitext(inner)[1].lower() in IMAGE_EXTENSIONS - set(_KINDS):  # noqa: PTH122
        return _with_digest(safe, name)  # differs from the copy of `x.gif`
    return safe


def _with_digest(safe: str, name: str) -> str:
    digest = hashlib.blake2b(os.fsencode(name), digest_size=4).hexdigest()
    stem, suffix = os.path.splitext(safe)  # noqa: PTH122
    short = os.fsencode(stem)[: _LARGEST_NAME - 20].decode(errors="ignore")
    return f"{short}-{digest}{suffix if len(os.fsencode(suffix)) <= 8 else ''}".lstrip("-")
