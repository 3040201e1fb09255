"""The output files of predict."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple, Protocol, cast

from emotify.cli.predict.inputs import Inputs
from emotify.cli.predict.settings import TABLES
from emotify.errors import UsageError
from emotify.files import (
    atomic_write,
    check_folder,
    check_output,
    check_temporary_folder,
    explain_write_errors,
    is_standard_output,
    make_folder,
    printable,
)
from emotify.settings import option
from emotify.words import amount

if TYPE_CHECKING:
    from PIL.Image import Image

    from emotify.pictures.memory import Share
    from emotify.prediction.outputs.clips import ClipCopies
    from emotify.prediction.outputs.lines import LinesWriter
    from emotify.prediction.results import PictureResult

_ENOUGH_SIDE: Final = 640  # pixels of the longer side, enough for a thumbnail
_MOST_THREADS: Final = 4  # each may hold a picture of full size, up to 150 MB
_PAGE_ENDINGS: Final = (".html", ".htm")
_LINES_ENDINGS: Final = (".jsonl", ".ndjson", ".json")
_ENDINGS: Final = {*_PAGE_ENDINGS, *_LINES_ENDINGS, ".csv", ".parquet", ".xlsx", ".xls", ".ods", ".pdf"}


class ResultWithThumbnail(NamedTuple):
    """A result, its thumbnail if wanted, and whether its annotated copy was saved."""

    result: PictureResult
    thumbnail: bytes | None = None
    changed: bool = False  # the file could not be read again
    saved: bool = False  # the annotated copy was written
    kept: bool = False  # an annotated copy existed already and was kept


Sink = Callable[[ResultWithThumbnail], object]


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """The wanted output files. Raises UsageError for options that conflict."""

    lines: Path | None = None
    append: bool = False
    tables: Mapping[str, Path] = field(default_factory=dict)  # by the names in TABLES
    csv_raw: bool = False
    report: Path | None = None
    thumbnails: bool = False
    annotate: Path | None = None
    top: int = 0
    force: bool = False

    def __post_init__(self) -> None:
        needed = (
            ("--append", self.append, "--jsonl-file", self.lines),
            ("--csv-raw", self.csv_raw, "--csv", self.tables.get("csv")),
            ("--thumbnails", self.thumbnails, "--report", self.report),
        )
        for name, given, other, path in needed:
            if given and path is None:
                msg = f"{name} needs {other}; add that"
                raise UsageError(msg)
        if len(self.printed) > 1:
            msg = f"{' and '.join(self.printed)} cannot both be written to standard output; name a file for one of them"
            raise UsageError(msg)
        if self.printed == ["--parquet"] and sys.stdout.isatty():
            msg = "--parquet -: Parquet is binary and a terminal cannot show it; redirect it to a file or a program"
            raise UsageError(msg)
        self._check_endings()
        files = [os.path.realpath(path) for path in self.files]
        if len(set(files)) < len(files):
            msg = f"two outputs have the same name, {printable(max(files, key=files.count))}; name different files"
            raise UsageError(msg)

    def _check_endings(self) -> None:
        """Raise UsageError for a name that another program would open as something else."""
        wanted = {"--jsonl-file": (self.lines, _LINES_ENDINGS), "--report": (self.report, _PAGE_ENDINGS)}
        wanted |= {option(name): (path, (f".{name}",)) for name, path in self.tables.items()}
        for name, (path, endings) in wanted.items():
            ending = "" if path is None else path.suffix.casefold()
            if ending in _ENDINGS and ending not in endings:
                msg = f"{name} {printable(str(path))}: this option writes a {endings[0]} file; name it so"
                raise UsageError(msg)

    @property
    def printed(self) -> list[str]:
        """The options whose output goes to standard output, where nothing else is then printed."""
        named = {**self.tables, **({"report": self.report} if self.report else {})}
        return [option(name) for name, path in named.items() if is_standard_output(path)]

    @property
    def files(self) -> list[Path]:
        """The paths of the wanted output files."""
        return [path for path in (self.lines, *self.tables.values(), self.report) if path]

    def check(self) -> None:
        """Raise WriteError before any work if a file cannot be written; UnavailableError if pyarrow is missing."""
        for path in self.files:
            if not (self.append if path == self.lines else is_standard_output(path)):
                check_output(path, overwrite=self.force)
        if "--report" in self.printed:
            check_temporary_folder()
        if self.annotate is not None:
            check_folder(self.annotate, overwrite=self.force, extend=True)
        if "parquet" in self.tables:
            from emotify.prediction.outputs.parquet import require_pyarrow

            require_pyarrow()

    @contextmanager
    def open(self, inputs: Inputs, *, model: str, meaning: str, threads: int, timeout: float) -> Iterator[Opened]:
        """Open all files. They are complete when the block ends; if it fails, only the file of --jsonl-file stays."""
        opened = Opened(self, inputs, threads, timeout)
        with ExitStack() as stack:
            if self.annotate is not None:
                make_folder(self.annotate, exist_ok=True)
            for path, file in self._files(opened, model, meaning):
                opened.sinks.append(_naming(path, stack.enter_context(file)))
            if self.annotate is not None:
                opened.sinks.append(stack.enter_context(self._clips_sink(self.annotate, opened)))
            yield opened

    def _files(self, opened: Opened, model: str, meaning: str) -> Iterator[tuple[Path, AbstractContextManager[Sink]]]:
        if self.lines is not None:
            yield self.lines, self._lines_sink(self.lines, opened)
        for name, path in self.tables.items():
            yield path, self._table_sink(name, path)
        if self.report is not None:
            yield self.report, self._report_sink(self.report, opened.inputs, model, meaning)

    @contextmanager
    def _lines_sink(self, path: Path, opened: Opened) -> Iterator[Sink]:
        from emotify.prediction.outputs.lines import lines_file

        with lines_file(path, append=self.append, overwrite=self.force, top=self.top) as writer:
            opened.lines = writer
            yield lambda seen: writer.write(seen.result)

    @contextmanager
    def _clips_sink(self, folder: Path, opened: Opened) -> Iterator[Sink]:
        """Yield the writer of annotated clips, which loads PyAV only when there is a clip."""
        with ExitStack() as stack:
            copies: list[ClipCopies] = []

            def write(seen: ResultWithThumbnail) -> None:
                if seen.result.time is not None and not copies:
                    from emotify.prediction.outputs.clips import ClipCopies

                    copies.append(stack.enter_context(ClipCopies(place, overwrite=self.force)))
                for writer in copies:
                    writer.add(seen.result)
                    opened.clips = writer.clips

            def place(clip: Path) -> Path:
                from emotify.prediction.outputs.copies import clip_copy_path

                opened.inputs.check_elsewhere(clip, folder, "--annotate")
                return clip_copy_path(folder, place_below(clip, opened.inputs.base))

            yield write

    @contextmanager
    def _table_sink(self, name: str, path: Path) -> Iterator[Sink]:
        with _opened(path) as file:
            raw = {"raw": True} if name == "csv" and self.csv_raw else {}
            writer = _table_writer(name)(file, top=self.top, **raw)
            try:
                yield lambda seen: writer.write(seen.result)
                writer.close()
            except BaseException:
                writer.abandon()
                raise

    @contextmanager
    def _report_sink(self, path: Path, inputs: Inputs, model: str, meaning: str) -> Iterator[Sink]:
        from emotify.reports.prediction_page import new_gallery

        folder = None if is_standard_output(path) else path.parent
        with _opened(path) as file, new_gallery(folder, top=self.top, thumbnails=self.thumbnails) as gallery:
            yield lambda seen: gallery.add(seen.result, shown_place(seen.result.path, inputs.base), seen.thumbnail)
            gallery.write(file, model=model, meaning=meaning, source=inputs.shown)


class _TableWriter(Protocol):
    """A writer of rows to an open file."""

    def write(self, result: PictureResult) -> None:
        """Write the rows of one picture."""

    def close(self) -> None:
        """Write the remaining rows; the file stays open."""

    def abandon(self) -> None:
        """Write nothing more, after an error."""


def _table_writer(name: str) -> Callable[..., _TableWriter]:
    """Return the writer class that an option declares. It takes the open file and `top`; that of --csv also `raw`."""
    module, _, kind = TABLES[name].partition(":")
    writer: Callable[..., _TableWriter] = getattr(importlib.import_module(module), kind)
    return writer


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Yield the open output file, or standard output for `-`."""
    if not is_standard_output(path):
        with atomic_write(path) as file:
            yield file
        return
    printed = _Printed()
    yield cast("IO[bytes]", printed)
    printed.flush()


class _Printed(io.RawIOBase):
    """Standard output as a file that can be closed, while standard output stays open."""

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:  # noqa: ANN401 - any buffer
        return sys.stdout.buffer.write(content)

    def flush(self) -> None:
        if not self.closed:
            sys.stdout.flush()


def _naming(path: Path, sink: Sink) -> Sink:
    """Let the errors of a writer name its own file, as several files are open at once."""

    def write(seen: ResultWithThumbnail) -> None:
        with explain_write_errors(path):
            sink(seen)

    return write


@dataclass
class Opened:
    """The output files while they are open."""

    outputs: Outputs
    inputs: Inputs
    threads: int
    timeout: float  # seconds to wait for one picture; 0 for ever
    sinks: list[Sink] = field(default_factory=list)
    changed: int = 0  # pictures that could not be read again
    copies: int = 0  # annotated pictures that were written
    clips: int = 0  # annotated clips that were written
    kept: int = 0  # annotated copies that existed already and were kept
    lines: LinesWriter | None = None
    _copied: dict[PurePath, Path] = field(default_factory=dict)  # place of an annotated copy -> picture

    @property
    def any(self) -> bool:
        """Whether any file is written."""
        return bool(self.sinks or self.outputs.annotate)

    @property
    def done(self) -> set[str]:
        """The paths of pictures that an earlier command has done."""
        return self.lines.done if self.lines is not None else set()

    def written(self) -> Iterator[str]:
        """Yield one line per output option: the files that were written, and where."""
        outputs = self.outputs
        for path in (outputs.lines, *outputs.tables.values()):
            if path is not None and not is_standard_output(path):
                yield printable(path)
        if outputs.report is not None and not is_standard_output(outputs.report):
            hint = "" if outputs.thumbnails else "; it shows boxes only, --thumbnails adds small pictures"
            yield f"{printable(outputs.report)}{hint}"
        if outputs.annotate is not None:
            kinds = [amount(self.copies, "annotated picture")] if self.copies or not self.clips else []
            kinds += [amount(self.clips, "annotated clip")] if self.clips else []
            yield f"{' and '.join(kinds)} to {printable(outputs.annotate)}"

    def reread(self, results: Iterator[PictureResult]) -> Iterator[ResultWithThumbnail]:
        """Yield each result with its thumbnail if wanted, and save annotated copies, in threads.

        This reads the pictures again: they are too large to keep until their faces are known.
        """
        if not (self.outputs.thumbnails or self.outputs.annotate):
            yield from map(ResultWithThumbnail, results)
            return
        from emotify.prediction.reading_ahead import map_in_order

        threads = min(self.threads, _MOST_THREADS)
        several_at_once = map_in_order(
            self._see,
            results,
            threads=threads,
            ahead=2 * threads,
            late=lambda result: ResultWithThumbnail(result, changed=True),
            timeout=self.timeout,
        )
        with closing(several_at_once):
            for several in several_at_once:
                self.changed += sum(seen.changed for seen in several)
                self.kept += sum(seen.kept for seen in several)
                self.copies += sum(seen.saved for seen in several)
                yield from several

    def _see(self, result: PictureResult) -> ResultWithThumbnail:
        from emotify.pictures.memory import Share

        if not result.ok or result.time is not None:  # clips have other writers
            return ResultWithThumbnail(result)
        with Share() as share:
            return self._see_picture(result, share)

    def _see_picture(self, result: PictureResult, share: Share) -> ResultWithThumbnail:
        from emotify.pictures.reading import Failure, read_picture

        folder = self.outputs.annotate
        enough = None if folder else _ENOUGH_SIDE
        picture = read_picture(self.inputs.source(result.path), enough_side=enough, share=share)
        if isinstance(picture, Failure):  # the result of the first reading stays
            return ResultWithThumbnail(result, changed=True)
        saved = folder is not None and self._save_copy(result, picture.image, folder)
        kept = folder is not None and not saved
        if not self.outputs.thumbnails:
            return ResultWithThumbnail(result, kept=kept, saved=saved)
        from emotify.reports.prediction_page import thumbnail

        return ResultWithThumbnail(result, thumbnail(picture.image), kept=kept, saved=saved)

    def _save_copy(self, result: PictureResult, image: Image, folder: Path) -> bool:
        """Save the annotated copy. Return False if --append keeps an existing file instead."""
        from emotify.prediction.annotated import draw_faces
        from emotify.prediction.outputs.copies import copy_path, save_copy

        self.inputs.check_elsewhere(result.path, folder, "--annotate")
        place = place_below(result.path, self.inputs.base)
        if self._copied.setdefault(place, result.path) is not result.path:
            return True  # the same picture was named twice
        path = copy_path(folder, place)
        if self.outputs.append and not self.outputs.force and os.path.lexists(path):
            return False
        save_copy(draw_faces(image, result.faces), path, overwrite=self.outputs.force)
        return True


def place_below(path: Path, base: Path) -> PurePath:
    """Return the path of a picture relative to `base`, or to the root of its drive if it is outside `base`."""
    absolute = Path(os.path.normpath(path.absolute()))
    return absolute.relative_to(base if absolute.is_relative_to(base) else absolute.anchor)


def shown_place(path: Path, base: Path) -> str:
    """Return a picture's path relative to `base`, with slashes, for a page that is passed on; else its name alone."""
    absolute = Path(os.path.normpath(path.absolute()))
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home() raises where there is none
    inside = absolute.is_relative_to(base) and not (home.is_relative_to(base) and home != base)
    return absolute.relative_to(base).as_posix() if inside else path.name
