"""What is to be predicted, in parts of some hundred pictures."""

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

_FOLDERS = "folders/"  # begins the counts of folders that other programs keep
_FEWEST, _MOST = 16, 1_000  # pictures in a part


@dataclass(frozen=True)
class Sources:
    """What the command line names; `folder` is where its relative paths begin."""

    words: Sequence[str]  # paths of files and folders here, and addresses
    files_from: str | None = None
    null: bool = False
    follow_links: bool = False
    shard: Shard | None = None
    folder: str = "."

    def enter(self) -> None:
        """Make relative paths mean what they mean to the command, in a process on any machine.

        Raises InputError where there is no such folder.
        """
        paths = [word for word in self.words if not is_address(word)]
        if self.files_from is None and all(map(os.path.isabs, paths)):
            return
        try:
            os.chdir(self.folder)
        except OSError as error:
            msg = f"{printable(self.folder)}: {error.strerror} on {os.uname().nodename}; every machine must see it"
            raise InputError(msg) from error


@dataclass
class Chunk:
    """Some pictures, and what was passed over on the way to them."""

    number: int
    base: str = ""  # the address that they were found below; empty for files here
    names: list[bytes] = field(default_factory=list)  # as they are opened
    addresses: list[str] = field(default_factory=list)  # as rows name them, where that is something else
    counts: Counter[str] = field(default_factory=Counter)  # found, skipped, other_shards, and as a Tally

    @property
    def part(self) -> str:
        """The name of the file of its rows; a later command with other pictures gives no file the same name."""
        digest = hashlib.blake2b("\0".join([self.base, *map(os.fsdecode, self.names)]).encode(errors="surrogateescape"))
        return f"part-{self.number:07d}-{digest.hexdigest()[:16]}.parquet"


def list_chunks(sources: Sources, done: Done) -> Iterator[Chunk]:
    """Yield all that is to be predicted but what is `done`; the last chunk may hold no pictures, only counts.

    The first chunks are small, so that all workers have some; later ones hold a hundredth of what came before.
    """
    tally, chunk, told = Tally(), Chunk(0), Counter[str]()
    listed = 0
    for base, name, address in _found(sources, tally):
        if chunk.names and (base != chunk.base or len(chunk.names) >= min(max(listed // 100, _FEWEST), _MOST)):
            yield _counted(chunk, tally, told)
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
    yield _counted(chunk, tally, told)


def add_passed_over(tally: Tally, counts: Counter[str]) -> None:
    """Add to a tally what the counts of a chunk say."""
    tally.ignored += counts["ignored"]
    tally.links += counts["links"]
    tally.again += counts["again"]
    for name, count in counts.items():
        if name.startswith(_FOLDERS):
            tally.folders[name.removeprefix(_FOLDERS)] += count


def _counted(chunk: Chunk, tally: Tally, told: Counter[str]) -> Chunk:
    """Give a chunk what was passed over since the one before."""
    passed = Counter(ignored=tally.ignored, links=tally.links, again=tally.again)
    passed.update({_FOLDERS + name: count for name, count in tally.folders.items()})
    chunk.counts.update(passed - told)
    told.update(passed - told)
    return chunk


def _found(sources: Sources, tally: Tally) -> Iterator[tuple[str, str, str]]:
    """Yield each picture: the address that it was found below, its path there, and what its rows call it."""
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
            file = Path(sources.files_from).open("rb")  # noqa: SIM115 - closed below; its errors are not the block's
        except OSError as error:
            msg = f"cannot read the list {printable(sources.files_from)}: {error.strerror}; name a file"
            raise InputError(msg) from error
        with file:
            names = read_names(file, null=sources.null)
            yield from _local(find_pictures(names, tally, follow_links=sources.follow_links))


def _local(paths: Iterable[Path]) -> Iterator[tuple[str, str, str]]:
    for path in paths:
        yield "", str(path), str(path)
