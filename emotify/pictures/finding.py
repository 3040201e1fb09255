"""Find the pictures in files and folders, in a fixed order and with little memory."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias, cast

from emotify.pictures.formats import IMAGE_EXTENSIONS
from emotify.waiting import waiting_for

# Folders in which other programs and systems keep thumbnails and deleted files, in lower case.
_PROGRAM_FOLDERS: Final = frozenset([
    "@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "@sharesnap", "@tmp", "@transcode", "__macosx",
    "$recycle.bin", "recycler", "system volume information", "lost+found", ".thumbnails", ".thumb", ".@__thumb",
    ".trash", ".trashes", ".picasaoriginals", ".ipynb_checkpoints",
])  # fmt: skip

# Clips are read only if they are named, not when they are found in folders.
VIDEO_EXTENSIONS: Final = frozenset([
    ".mp4", ".m4v", ".mov", ".qt", ".3gp", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv",
    ".asf", ".flv", ".ogv",
])  # fmt: skip

Place: TypeAlias = str | os.PathLike[str]
Identity: TypeAlias = tuple[int, int]  # of a folder: device and inode


@dataclass
class Tally:
    """Counts of files and folders that were skipped while walking folders; several walks can share one."""

    ignored: int = 0  # files without an image extension
    clips: int = 0  # video files
    links: int = 0  # links inside folders, if links are not followed
    again: int = 0  # folders that were walked before
    folders: Counter[str] = field(default_factory=Counter)  # folders of other programs, by name
    walked: set[Identity] = field(default_factory=set)  # folders walked so far

    def counts(self) -> dict[str, int]:
        """Return the number of skipped files, links and folders."""
        return {"files": self.ignored + self.clips, "links": self.links, "folders": self.folders.total() + self.again}


class _AsGiven(type(Path())):  # type: ignore[misc] # Path itself cannot be subclassed on Python 3.11
    """A path whose text is exactly the one that was given."""

    given = ""

    def __str__(self) -> str:
        return self.given or str(super().__str__())

    def __fspath__(self) -> str:
        return str(self)


def path_as_given(place: Place) -> Path:
    """Return a path that keeps the text of an address; Path would change https:// to https:/."""
    if not isinstance(place, str) or "://" not in place:
        return Path(place)
    path = _AsGiven(place)
    path.given = place
    return cast("Path", path)


def identity(folder: Path) -> Identity:
    """Return the device and inode of a folder, which identify it under any name. Raises OSError."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def find_pictures(
    places: Place | Iterable[Place],
    tally: Tally | None = None,
    *,
    without: Collection[Identity] = (),
    follow_links: bool = False,
) -> Iterator[Path]:
    """Yield the pictures in the given files and folders, in the given order. Names in folders are sorted.

    A named file is always yielded, even if it is missing. A folder that cannot be listed is yielded too: reading it
    then reports the error. In folders these are skipped, and counted in `tally`: files without an image extension,
    links unless `follow_links` is set, folders that were walked before, and folders in which other programs keep
    thumbnails or deleted files. Hidden files and the folders in `without` are skipped without being counted.
    """
    tally = tally if tally is not None else Tally()
    for place in [places] if isinstance(places, str | os.PathLike) else places:
        yield from _find(path_as_given(place), _Rules(tally, without, follow_links))


@dataclass(frozen=True)
class _Rules:
    tally: Tally
    without: Collection[Identity]
    follow_links: bool


def _find(path: Path, rules: _Rules) -> Iterator[Path]:
    # A stack instead of recursion, so that the depth of folders is not limited. It keeps only names, so that a folder
    # of a million files takes some tens of bytes per file, and no folder stays open.
    folders = [_list(path, rules)]
    if folders[0] is None:
        yield path
    while folders:
        listing = folders[-1]
        if listing is None or not listing.names:
            folders.pop()
            continue
        name = listing.names.pop()
        below = listing.folder / name
        if name not in listing.folders:
            yield below
            continue
        folders.append(_list(below, rules))
        if folders[-1] is None:
            yield below


@dataclass(frozen=True, slots=True)
class _Listing:
    folder: Path
    names: list[str]  # names of pictures and folders; the next one is last
    folders: set[str]  # those names that are folders


def _list(folder: Path, rules: _Rules) -> _Listing | None:
    """List a folder. Return None if `folder` is not a folder or cannot be read."""
    listing = _Listing(folder, [], set())
    try:
        with waiting_for("listing", folder), os.scandir(folder) as entries:
            itself = identity(folder)
            if itself in rules.without:
                return listing
            if itself in rules.tally.walked:
                rules.tally.again += 1
                return listing
            rules.tally.walked.add(itself)
            for entry in entries:
                _sort_in(entry, listing, rules)
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return None
    listing.names.sort(reverse=True)
    return listing


def _sort_in(entry: os.DirEntry[str], listing: _Listing, rules: _Rules) -> None:
    if is_program_folder(entry.name) and _is_folder(entry, follow_links=rules.follow_links):
        rules.tally.folders[entry.name] += 1
        return
    if is_hidden(entry.name):
        return
    if entry.is_symlink() and not rules.follow_links:
        rules.tally.links += 1
        return
    if _is_folder(entry, follow_links=rules.follow_links):
        listing.names.append(entry.name)
        listing.folders.add(entry.name)
        return
    if is_picture_name(entry.name):
        listing.names.append(entry.name)
    else:
        clip = is_clip_name(entry.name)
        rules.tally.clips += clip
        rules.tally.ignored += not clip


def is_program_folder(name: str) -> bool:
    """Return whether other programs keep thumbnails or deleted files in a folder with this name."""
    return name.casefold() in _PROGRAM_FOLDERS


def is_hidden(name: str) -> bool:
    """Return whether a name is of a hidden or system file, which is skipped without being counted."""
    return name.startswith(".") or name.casefold() in {"thumbs.db", "desktop.ini"}


def is_picture_name(name: str) -> bool:
    """Return whether a file's name has an image extension."""
    return os.path.splitext(name)[1].casefold() in IMAGE_EXTENSIONS  # noqa: PTH122 - a Path per file costs more


def is_clip_name(name: str) -> bool:
    """Return whether a file's name has a video extension."""
    return os.path.splitext(name)[1].casefold() in VIDEO_EXTENSIONS  # noqa: PTH122 - a Path per file costs more


def _is_folder(entry: os.DirEntry[str], *, follow_links: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow_links)
    except OSError:  # such as a link to itself; the other files here are still read
        return False
