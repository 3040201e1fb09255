"""Find the pictures below files and folders, in a fixed order and in little memory."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias, cast

from emotify.pictures.formats import IMAGE_EXTENSIONS
from emotify.waiting import waiting_for

# Folders that other programs and systems keep thumbnails and deleted files in, in small letters.
_OF_OTHER_PROGRAMS: Final = frozenset([
    "@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "@sharesnap", "@tmp", "@transcode", "__macosx",
    "$recycle.bin", "recycler", "system volume information", "lost+found", ".thumbnails", ".thumb", ".@__thumb",
    ".trash", ".trashes", ".picasaoriginals", ".ipynb_checkpoints",
])  # fmt: skip

# Clips are taken only where they are named.
VIDEO_EXTENSIONS: Final = frozenset([
    ".mp4", ".m4v", ".mov", ".qt", ".3gp", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv",
    ".asf", ".flv", ".ogv",
])  # fmt: skip

Place: TypeAlias = str | os.PathLike[str]
Identity: TypeAlias = tuple[int, int]  # of a folder: device and inode


@dataclass
class Tally:
    """What a walk, or several that go on with each other, passed over."""

    ignored: int = 0  # files without an image extension
    clips: int = 0  # videos
    links: int = 0  # links inside folders that were not followed
    again: int = 0  # folders that had been walked
    folders: Counter[str] = field(default_factory=Counter)  # that other programs keep, by name
    walked: set[Identity] = field(default_factory=set)  # folders

    def counts(self) -> dict[str, int]:
        """Return how much was passed over, by kind."""
        return {"files": self.ignored + self.clips, "links": self.links, "folders": self.folders.total() + self.again}


class _AsGiven(type(Path())):  # type: ignore[misc] # Path itself cannot be made on Python 3.11
    """A path that is written as it was given."""

    given = ""

    def __str__(self) -> str:
        return self.given or str(super().__str__())

    def __fspath__(self) -> str:
        return str(self)


def path_as_given(place: Place) -> Path:
    """Return a path that is written as it was given also where that is an address: Path makes https:/ of https://."""
    if not isinstance(place, str) or "://" not in place:
        return Path(place)
    path = _AsGiven(place)
    path.given = place
    return cast("Path", path)


def identity(folder: Path) -> Identity:
    """Return what tells a folder from every other, whatever its name. Raises OSError."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def find_pictures(
    places: Place | Iterable[Place],
    tally: Tally | None = None,
    *,
    without: Collection[Identity] = (),
    follow_links: bool = False,
) -> Iterator[Path]:
    """Yield the pictures in files and folders, in that order; folders are walked with their names sorted.

    A named file is always yielded, missing or not, and so is a folder that cannot be listed: reading it says what is
    wrong. In folders, files without an image extension are counted in `tally`, hidden ones are not even that, links
    are not followed unless `follow_links` says so, no folder is walked twice, and those in `without` not at all, nor
    those that other programs keep thumbnails and deleted files in, which are counted.
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
    # A stack instead of recursion: the depth of a tree is not ours to limit. Only names are kept, so that a folder
    # of a million files costs some tens of bytes a file, and no folder stays open.
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
    names: list[str]  # of pictures and folders, the next one last
    folders: set[str]


def _list(folder: Path, rules: _Rules) -> _Listing | None:
    """List a folder, or return None when `folder` is none or cannot be read."""
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
    if is_of_other_programs(entry.name) and _is_folder(entry, follow_links=rules.follow_links):
        rules.tally.folders[entry.name] += 1
        return
    if is_left_out(entry.name):
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


def is_of_other_programs(name: str) -> bool:
    """Whether a folder is one that other programs keep thumbnails or deleted files in."""
    return name.casefold() in _OF_OTHER_PROGRAMS


def is_left_out(name: str) -> bool:
    """Whether a file or folder in a folder is passed over without being counted: hidden, or a system's own."""
    return name.startswith(".") or name.casefold() in {"thumbs.db", "desktop.ini"}


def is_picture_name(name: str) -> bool:
    """Whether a file is taken for a picture by its name."""
    return os.path.splitext(name)[1].casefold() in IMAGE_EXTENSIONS  # noqa: PTH122 - a Path per file costs more


def is_clip_name(name: str) -> bool:
    """Whether a file is taken for a video by its name."""
    return os.path.splitext(name)[1].casefold() in VIDEO_EXTENSIONS  # noqa: PTH122 - a Path per file costs more


def _is_folder(entry: os.DirEntry[str], *, follow_links: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow_links)
    except OSError:  # a link to itself, or below a file: no folder, and no reason to leave out the others here
        return False
