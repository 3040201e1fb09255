"""The pictures that predict reads: from arguments, a list of names or standard input, all or one shard."""

from __future__ import annotations

import glob
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from emotify.errors import InputError, UsageError
from emotify.files import is_same_file, printable
from emotify.waiting import waiting_for

if TYPE_CHECKING:
    from emotify.pictures.finding import Tally
    from emotify.prediction.content import Content
    from emotify.prediction.sharding import Shard

STDIN: Final = "-"
_NAMES_SHOWN: Final = 3  # on the report page
_CAMERA: Final = re.compile(r"/dev/video\d*|\d")
_STREAM: Final = re.compile(r"(?:rtsps?|rtmps?|rtp|srt|udp|mms)://", re.IGNORECASE)
_ADDRESS: Final = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass
class Inputs:
    """The inputs that the command line names. Raises UsageError if they conflict."""

    words: Sequence[str]  # the arguments; as Paths `./-` and `-` would be equal
    files_from: str | None = None
    null: bool = False
    follow_links: bool = False
    shard: Shard | None = None
    every: float = 0.5  # seconds from one frame of a clip to the next
    without_clips: str = ""  # the option that does not accept clips
    found: int = 0  # pictures, including the two kinds below
    other_shards: int = 0
    skipped: int = 0  # pictures that an earlier command has done
    _written: set[str] = field(default_factory=set)  # existing files that will be overwritten

    def __post_init__(self) -> None:
        if not self.words and self.files_from is None:
            msg = "no input; name pictures or folders, or a list of them with --files-from; see emotify predict --help"
            if _is_piped():
                msg = "no input; to read a picture from standard input: emotify predict - < face.jpg"
            raise UsageError(msg)
        self.words = [name for word in self.words for name in _expanded(word)]
        if self.null and self.files_from is None:
            msg = "-0 needs a list; name it with --files-from"
            raise UsageError(msg)
        wanted = (*self.words, *([self.files_from] if self.files_from else [])).count(STDIN)
        if wanted > 1:
            msg = "- means standard input, which can be read only once; name it once"
            raise UsageError(msg)
        if wanted and sys.stdin.isatty():
            msg = "- reads standard input, but that is a terminal; redirect a file to it: emotify predict - < face.jpg"
            raise UsageError(msg)
        for word in self.words:
            _refuse_stream(word)
            if is_clip(word):
                self._check_clip(word)

    def _check_clip(self, name: str) -> None:
        """Raise UsageError if an option conflicts with clips, UnavailableError without PyAV."""
        from emotify.prediction.video import import_av

        if self.without_clips:
            msg = (
                f"{printable(name)}: {self.without_clips} works on pictures, not on video clips; leave one of them out"
            )
            raise UsageError(msg)
        import_av()

    def pictures(self, tally: Tally, *, done: set[str], without: Sequence[Path]) -> Iterator[Path | Content]:
        """Yield the pictures to predict, in order, except those in `done` and those in the folders `without`."""
        from emotify.prediction.content import Content

        for path in self._found(tally, without):
            name = path or Path(STDIN)
            if self._written and path is not None and os.path.realpath(path) in self._written:
                raise _written_error(path)  # only names in a list get this far
            self.found += 1
            if self.shard is not None and not self.shard.holds(name):
                self.other_shards += 1
            elif path is not None and str(name) in done:
                self.skipped += 1
            elif path is None:
                yield Content(name, self.stdin_content)
            elif is_clip(str(path)):
                yield from self._frames(path)
            else:
                yield path

    def _frames(self, path: Path) -> Iterator[Content]:
        from emotify.prediction.video import clip_frames

        self._check_clip(str(path))
        yield from clip_frames(path, every=self.every)

    def source(self, path: Path) -> Path | bytes:
        """Return the file or the bytes of a picture."""
        return self.stdin_content if STDIN in self.words and str(path) == STDIN else path

    def check_elsewhere(self, path: Path, folder: Path, option: str) -> None:
        """Raise UsageError if a picture lies in the folder that `option` writes to."""
        source = self.source(path)
        if isinstance(source, Path) and source.resolve().is_relative_to(folder.resolve()):
            msg = f"{printable(path)} lies in the output folder of {option}; name another folder"
            raise UsageError(msg)  # --force must never overwrite an original

    def check_not_written(self, outputs: Sequence[Path], *, models: Sequence[Path]) -> None:
        """Raise UsageError if an output file is also an input; even --force must not overwrite inputs."""
        from emotify.pictures.formats import IMAGE_EXTENSIONS

        listed = [] if self.files_from in {None, STDIN} else [Path(str(self.files_from))]
        named = [*(Path(word) for word in self.words if word != STDIN), *listed, *models]
        for output in outputs:
            if not os.path.exists(output):  # noqa: PTH110 - Path.exists raises where it may not look
                continue
            inside = output.suffix.casefold() in IMAGE_EXTENSIONS and any(
                output.resolve().is_relative_to(place.resolve()) for place in named
            )
            if inside or any(is_same_file(output, place) for place in named):
                raise _written_error(output)
            self._written.add(os.path.realpath(output))

    @cached_property
    def stdin_content(self) -> bytes:
        """The bytes on standard input, up to one more than a picture may have."""
        from emotify.pictures.reading import MAX_BYTES

        with waiting_for("reading", "standard input"):
            return sys.stdin.buffer.read(MAX_BYTES + 1)

    @cached_property
    def base(self) -> Path:
        """The common folder of all arguments; with a list of names the current folder."""
        places = [Path(word).absolute() for word in self.words if word != STDIN]
        if self.files_from is not None or not places:
            return Path.cwd()
        # os.path.isdir, as Path.is_dir() raises PermissionError; such a picture gets a row with its own status.
        folders = [os.path.normpath(place if _look(os.path.isdir, place) else place.parent) for place in places]
        return Path(os.path.commonpath(folders)) if len({Path(folder).anchor for folder in folders}) == 1 else Path()

    @cached_property
    def count(self) -> int | None:
        """The number of pictures and frames, if known without walking folders or reading lists."""
        if self.files_from is not None or not self.are_countable:
            return None
        counts = [self._count(word) for word in self.words]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    def count_all(self, without: Sequence[Path]) -> int:
        """Return the number of pictures and frames, by walking all folders. Any thread can call this."""
        from emotify.pictures.finding import Tally

        names = (str(path) for path in self._found(Tally(), without))
        return sum((self._count(name) or 0) if is_clip(name) else 1 for name in names)

    @property
    def are_countable(self) -> bool:
        """Whether `count_all` counts the pictures to predict: all are wanted, and no name comes from a pipe."""
        listed = self.files_from is None or os.path.isfile(self.files_from)  # noqa: PTH113 - Path.is_file raises
        return self.shard is None and STDIN not in {*self.words, self.files_from} and listed

    def _count(self, word: str) -> int | None:
        if _look(os.path.isdir, word):
            return None
        if not is_clip(word):
            return 1
        from emotify.prediction.video import frame_count

        return frame_count(Path(word), every=self.every)

    @property
    def shown(self) -> str:
        """The names of the arguments without their parent folders, for a page that is passed on."""
        home = os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where there is none
        given = [*self.words, *([self.files_from] if self.files_from else [])]
        places = [os.path.abspath(word) for word in given if word != STDIN]  # noqa: PTH100 - `..` goes, links stay
        names = [printable(os.path.basename(place)) for place in places if place != home]  # noqa: PTH119
        some = names[:_NAMES_SHOWN] if len(names) > _NAMES_SHOWN + 1 else names
        return ", ".join([*some, *([f"{len(names) - len(some)} more"] if len(names) > len(some) else [])])

    def __str__(self) -> str:
        return ", ".join(printable(word) for word in (*self.words, *([self.files_from] if self.files_from else [])))

    def _found(self, tally: Tally, without: Sequence[Path]) -> Iterator[Path | None]:
        """Yield the path of each picture, None for standard input. Raises UsageError if an argument is in `without`."""
        from emotify.pictures.finding import find_pictures, identity

        left_out = {identity(folder) for folder in without}
        for word in self.words:
            if word == STDIN:
                yield None
            elif left_out and _look(os.path.isdir, word) and identity(Path(word)) in left_out:
                msg = f"{printable(word)} is an output folder of --annotate or --explain; name another output folder"
                raise UsageError(msg)
            else:
                yield from find_pictures(word, tally, without=left_out, follow_links=self.follow_links)
        if self.files_from is not None:
            listed = self._listed(self.files_from)
            yield from find_pictures(listed, tally, without=left_out, follow_links=self.follow_links)

    def _listed(self, name: str) -> Iterator[Path]:
        from emotify.pictures.file_list import read_names

        if name == STDIN:
            yield from read_names(sys.stdin.buffer, null=self.null)
            return
        with _open_list(Path(name)) as file:
            yield from read_names(file, null=self.null)


def _written_error(path: Path) -> UsageError:
    return UsageError(f"{printable(path)} would be read and written by the same command; name another file to write")


def _open_list(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        msg = f"cannot read the list {printable(path)}: {error.strerror}; name a file with --files-from"
        raise InputError(msg) from error


def _is_piped() -> bool:
    """Return whether standard input is a pipe or a file."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def _look(test: Callable[[str | Path], bool], word: str | Path) -> bool:
    """Return the result of a function of `os.path`, with a message on stderr while the disk does not answer."""
    with waiting_for("listing", word):
        return test(word)


def _expanded(word: str) -> list[str]:
    """Return the files that a quoted pattern matches; without a match, or for any other word, the word itself."""
    if not glob.has_magic(word) or _look(os.path.lexists, word):
        return [word]
    return sorted(glob.glob(word, recursive=True)) or [word]  # noqa: PTH207 - absolute patterns too


def is_clip(name: str) -> bool:
    """Return whether a file has the extension of a video."""
    from emotify.pictures.finding import is_clip_name

    return is_clip_name(name)


def _refuse_stream(word: str) -> None:
    """Raise UsageError for a camera, a stream, or the address of a clip, unless a file has that name."""
    if not (_CAMERA.fullmatch(word) or _STREAM.match(word) or _ADDRESS.match(word)):
        return
    if _look(os.path.isfile, word) or _look(os.path.isdir, word):
        return
    shown = printable(word)
    if _CAMERA.fullmatch(word):
        msg = f"{shown}: cameras are not supported; record a clip with another program, and name its file"
        raise UsageError(msg)
    if _STREAM.match(word):
        msg = f"{shown}: streams are not supported; save a part as a clip first: ffmpeg -i {shown} -t 60 clip.mp4"
        raise UsageError(msg)
    if _ADDRESS.match(word) and (is_clip(word) or word.endswith((".m3u8", ".mpd"))):
        msg = f"{shown}: emotify downloads nothing; download the clip, then name its file"
        raise UsageError(msg)
