"""Show predictions on a terminal: one row per face while they arrive, and a summary table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Final

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.table import Table
from rich.text import Text

from emotify.files import printable
from emotify.palette import colour_of
from emotify.prediction.faces import UNCERTAIN
from emotify.reports.names import clock

if TYPE_CHECKING:
    from emotify.prediction.faces import FaceResult
    from emotify.prediction.results import PictureResult
    from emotify.prediction.summary import Summary

_GAP: Final = 2
_LABEL, _BAR, _PER_CENT, _THEN = 10, 8, 5, 12  # columns
_WHERE, _SIZE = 22, 9  # columns of `1280x1280 at 1000,1000`, and of `1280x1280`
_NAME_LEAST, _NAME_MOST = 8, 34
_ROOM_FOR_FACE: Final = 15  # columns of `1:02:03 face 12`
_ROOM_FOR_WHERE, _ROOM_FOR_THEN = 96, 64
_SUMMARY_BAR = 24
_STRONG: Final = 0.7  # lowest probability of a bold label
_WEAK: Final = 0.5  # a label below this probability is dim


@dataclass
class FaceRows:
    """Layout of results in columns. It depends only on the terminal's width, so rows can be printed as they arrive.

    Pictures are grouped by folder.
    top: the number of expressions to show per face, each on its own row. 0: the first, with the second beside it.
    plain: use only ASCII characters, for terminals without Unicode.
    """

    width: int
    top: int = 0
    plain: bool = False
    _folder: Path | None = None

    def __post_init__(self) -> None:
        self._then = not self.top and self.width >= _ROOM_FOR_THEN
        self._where = _WHERE if self.width >= _ROOM_FOR_WHERE else _SIZE if self.width >= _ROOM_FOR_THEN else 0
        columns = [_LABEL, _BAR + _PER_CENT, *([_THEN] if self._then else []), *([self._where] if self._where else [])]
        room = self.width - 1 - _GAP - sum(columns) - _GAP * len(columns)
        self._name = max(_NAME_LEAST, min(_NAME_MOST, room))

    def rows(self, result: PictureResult) -> Iterator[Text]:
        """Yield the rows of one picture. A row with its folder comes first when the folder changes."""
        yield from map(self._fit, self._rows(result))

    def _rows(self, result: PictureResult) -> Iterator[Text]:
        if self._folder is None:
            yield Text(self._heading(), style="dim")
        # The frames of a clip are grouped under its name.
        folder = result.path.parent if result.time is None else result.path
        if folder != self._folder:
            self._folder = folder
            shown = _folder_name(folder) if result.time is None else printable(folder)
            yield Text(self._shorten(shown, self.width - 1, tail=0.8), style="bold")
        called = printable(result.path.name or "-") if result.time is None else clock(result.time)
        name = Text(" " * _GAP + self._cell(self._shorten(called, self._name), self._name))
        if not result.ok:
            bare = name.copy()
            bare.rstrip()
            yield from self._failure_rows(bare, result)
        elif not result.faces:
            yield Text.assemble(name, ("no face", "dim"))
        for number, face in enumerate(result.faces):
            row_name = name if number == 0 else Text(" " * len(name))
            if face.track is not None:
                row_name = self._with_track(row_name, face.track)
            yield from self._face_rows(row_name, face)
        if result.frames > 1:
            yield Text(" " * 2 * _GAP + f"only the first of its {result.frames} frames was read", style="dim")

    def _failure_rows(self, name: Text, result: PictureResult) -> Iterator[Text]:
        """Yield the complete message of an unreadable picture: beside the name, or below it when it is too long."""
        begun = Text.assemble(name, " " * _GAP, (f"{result.status}:", "red"))
        message, indent = printable(result.message), " " * 2 * _GAP
        if begun.cell_len + 1 + cell_len(message) < self.width:
            yield begun.append(f" {message}")
            return
        yield begun
        for line in wrap(message, max(self.width - 1 - len(indent), _NAME_LEAST), break_on_hyphens=False):
            yield Text(indent + line)

    def _heading(self) -> str:
        names = [("picture", self._name), ("expression", _LABEL), ("probability", _BAR + _PER_CENT)]
        names += [("then", _THEN)] if self._then else []
        names += [("face", 0)] if self._where else []
        return " " * _GAP + "".join(self._cell(name, width) for name, width in names).rstrip()

    def _face_rows(self, name: Text, face: FaceResult) -> Iterator[Text]:
        for rank, (expression, share) in enumerate(face.ranked(max(self.top, 1))):
            label = face.label if rank == 0 and not self.top else expression
            colour = colour_of(label)
            row = Text.assemble(name if rank == 0 else " " * len(name))
            # Only the bar is coloured, because coloured letters are not readable on every background.
            row.append(self._cell(label, _LABEL), style=_strength(share) if rank == 0 and not face.uncertain else "")
            row.append(bar(share, _BAR, "" if label == UNCERTAIN else colour, plain=self.plain))
            row.append(self._cell(f"{share:{_PER_CENT}.0%}", _PER_CENT))
            if self._then:
                row.append(self._cell(_second(face), _THEN), style="dim")
            if self._where and rank == 0:
                row.append(self._place(face))
            if rank == 0 and self.top and face.uncertain:
                row.append("  uncertain", style="dim")
            row.rstrip()
            yield row

    def _with_track(self, name: Text, track: int) -> Text:
        """Put the number of a face at the end of the name's cell, behind the time."""
        number = f" face {track}" if self._name >= _ROOM_FOR_FACE else f" #{track}"
        room = self._name - len(number)
        return Text(" " * _GAP + self._shorten(name.plain.strip(), room).ljust(room) + number + " " * _GAP)

    def _place(self, face: FaceResult) -> str:
        if face.detection is None:
            return "whole"
        x0, y0, x1, y1 = face.box
        size = f"{x1 - x0:.0f}x{y1 - y0:.0f}"
        return f"{size} at {x0:.0f},{y0:.0f}" if self._where == _WHERE else size

    def _fit(self, row: Text) -> Text:
        row.no_wrap = True
        row.truncate(self.width - 1, overflow="crop" if self.plain else "ellipsis")
        return row

    def _shorten(self, text: str, width: int, *, tail: float = 0.5) -> str:
        return shorten(text, width, tail=tail, mark="~" if self.plain else "…")

    @staticmethod
    def _cell(text: str, width: int) -> str:
        return text + " " * (max(0, width - cell_len(text)) + _GAP)


def _strength(share: float) -> str:
    """Return the style of a label: bold for a high probability, dim for a low one."""
    return "bold" if share >= _STRONG else "" if share >= _WEAK else "dim"


def shorten(text: str, width: int, *, tail: float = 0.5, mark: str = "…") -> str:
    """Replace the middle of a text wider than `width` columns by `mark`. `tail` is the share of its end (0..1)."""
    if cell_len(text) <= width:
        return text
    end = int((width - 1) * tail)
    return set_cell_size(text, width - 1 - end).rstrip() + mark + set_cell_size(text[::-1], end)[::-1].lstrip()


def bar(share: float, width: int, colour: str, *, plain: bool = False) -> Text:
    """Return a bar of `width` columns for a share in 0..1."""
    filled = round(share * width)
    full, empty = ("#", ".") if plain else ("━", "─")
    return Text.assemble((full * filled, colour), (empty * (width - filled), "dim"))


def summary_table(summary: Summary, *, caption: str, plain: bool = False) -> Table:
    """Return a table of the number of faces per expression, the most frequent first."""
    table = Table(title="By expression", box=box.SIMPLE_HEAD, title_style="bold", title_justify="left")
    table.add_column("expression", no_wrap=True)
    table.add_column("faces", justify="right", no_wrap=True)
    table.add_column("share", no_wrap=True)
    for label, count in summary.expressions.most_common():
        # The colour of uncertain is for pictures, and invisible on a light terminal.
        share, colour = count / summary.faces, "" if label == UNCERTAIN else colour_of(label)
        drawn = bar(share, _SUMMARY_BAR, colour, plain=plain).append(f" {share:4.0%}")
        table.add_row(label, f"{count:,}", drawn)
    table.caption, table.caption_justify = caption, "left"
    return table


def _folder_name(folder: Path) -> str:
    return printable(folder) + ("" if str(folder).endswith(os.sep) else os.sep)


def _second(face: FaceResult) -> str:
    """Return the second expression with its probability, or the first one when the face is uncertain."""
    name, share = face.ranked(2)[0 if face.uncertain else 1]
    return f"{name} {share:.0%}"
