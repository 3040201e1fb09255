"""List the pictures to predict, in chunks of 16 to 1000."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from emotify.engines.filesystems import find_files, is_address, open_filesystem, shown_address
from emotify.engines.output import Done
from emotify.errors import InputError
from emotify.files import printable
from emotify.pictures.file_list import read_names
from emotify.pictures.finding import Tally, find_pictures
from emotify.prediction.sharding import Shard

_FOLDERS = "folders/"  # prefix of the counts of folders of other programs
_FEWEST, _MOST = 16, 1_000  # pictures in a chunk


@dataclass(frozen=True)
class Sources:
    """The pictures that the command line names."""

    words: Sequence[str]  # local paths of files and folders, and addresses
    files_from: str | None = None  # file with a list of paths
    null: bool = False  # whether the paths in this list end in NUL
    follow_links: bool = False
    shard: Shard | None = None
    folder: str = "."  # relative paths are relative to this folder

    def enter(self) -> None:
        """Change to the command's working folder, so that relative paths are valid in a process on any machine.

        Raises InputError if the folder does not exist on this machine.
        """
        paths = [word for word in self.words if not is_address(word)]
        if self.files_from is None and all(map(os.path.isabs, paths)):
            return
        try:
            os.chdir(self.folder)
        except OSError as error:
            msg = (
                f"{printable(self.folder)}: {error.strerror} on {os.uname().nodename}; "
                "use a folder that all machines share"
            )
            raise InputError(msg) from error


@dataclass
class Chunk:
    """Some pictures, and counts of the files that were skipped while finding them."""

    number: int
    base: str = ""  # the address below which they were found; empty for local files
    names: list[bytes] = field(default_factory=list)  # paths to open
    addresses: list[str] = field(default_factory=list)  # paths to write in rows; empty for local files
    counts: Counter[str] = field(default_factory=Counter)  # found, skipped, other_shards, and those of a Tally

    @property
    def part(self) -> str:
        """The name of the file for the rows. It has a hash of the pictures, so other pictures give another name."""
        digest = hashlib.blake2b("\0".join([self.base, *map(os.fsdecode, self.names)]).encode(errors="surrogateescape"))
        return f"part-{self.number:07d}-{digest.hexdigest()[:16]}.parquet"


def list_chunks(sources: Sources, done: Done) -> Iterator[Chunk]:
    """Yield chunks of all pictures that are not `done`. The last chunk may have counts only, and no pictures.

    The first chunks are small, so that every worker gets some. Each later chunk has 1 % of the pictures before it.
    """
    tally, chunk, counted = Tally(), Chunk(0), Counter[str]()
    listed = 0
    for base, name, address in _found(sources, tally):
        if chunk.names and (base != chunk.base or len(chunk.names) >= min(max(listed // 100, _FEWEST), _MOST)):
            yield _counted(chunk, tally, counted)
            chunk = Chunk(chunk.number + 1)
        chunk.counts["found"] += 1
        if sources.shard is not None and not sources.shard.holds(Path(address)):
            chunk.counts["other_shards"] += 1
        elif done.holds(address):
            chunk.counts["skipped"] += 1
        else:
            chunk.base = base
            chunk.names.append(os.fsencode(name))
            chunk.addresses += [address] if base else []
            listed += 1
    yield _counted(chunk, tally, counted)


def add_skipped(tally: Tally, counts: Counter[str]) -> None:
    """Add the counts of skipped files in a chunk to a tally."""
    tally.ignored += counts["ignored"]
    tally.links += counts["links"]
    tally.again += counts["again"]
    for name, count in counts.items():
        if name.startswith(_FOLDERS):
            tally.folders[name.removeprefix(_FOLDERS)] += count


def _counted(chunk: Chunk, tally: Tally, counted: Counter[str]) -> Chunk:
    """Add to a chunk the counts of files skipped since the previous chunk, and return it."""
    skipped = Counter(ignored=tally.ignored, links=tally.links, again=tally.again)
    skipped.update({_FOLDERS + name: count for name, count in tally.folders.items()})
    chunk.counts.update(skipped - counted)
    counted.update(skipped - counted)
    return chunk


def _found(sources: Sources, tally: Tally) -> Iterator[tuple[str, str, str]]:
    """Yield for each picture its base address ('' for local files), its path to open, and its path in rows."""
    for word in sources.words:
        if not is_address(word):
            yield from _local(find_pictures(word, tally, follow_links=sources.follow_links))
            continue
        filesystem, root = open_filesystem(word)
        shown = shown_address(word)
        try:
            for path in find_files(filesystem, root, tally):
                yield word, path, shown + path[len(root.rstrip("/")) :]
        except OSError as error:
            msg = f"cannot list {printable(shown)}: {printable(str(error)[:200])}"
            raise InputError(msg) from error
    if sources.files_from is not None:
        try:
            file = Path(sources.files_from).open("rb")  # noqa: SIM115 - closed below, outside of this `try`
        except OSError as error:
            msg = f"cannot read the list {printable(sources.files_from)}: {error.strerror}; name a file"
            raise InputError(msg) from error
        with file:
            names = read_names(file, null=sources.null)
            yield from _local(find_pictures(names, tally, follow_links=sources.follow_links))


def _local(paths: Iterable[Path]) -> Iterator[tuple[str, str, str]]:
    for path in paths:
        yield "", str(path), str(path)
