"""Write results as a CSV file in which no cell can start a formula in a spreadsheet."""

from __future__ import annotations

import csv
import io
from typing import IO, Final

from emotify.emotions import EMOTIONS
from emotify.prediction.faces import FaceResult
from emotify.prediction.results import PictureResult

COLUMNS: Final = (
    "path", "status", "message", "face", "x0", "y0", "x1", "y1", "detection", "label", "probability", *EMOTIONS,
    "time", "track",
)  # fmt: skip
# Some readers would split an unquoted cell at these characters, and the rest might be a formula. Spreadsheets of some
# languages split at semicolons, and Python before 3.12.3 does not quote a carriage return.
_SPLITTING: Final = frozenset(";\t\r")
# Includes the full-width forms, which East Asian spreadsheets read as the same characters.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class CsvWriter:
    """Writes one row per face, or a single row for a picture without faces, to a binary file.

    `top` adds columns for the second to the `top`-th most probable expression. A cell that a spreadsheet would run as
    a formula gets an apostrophe in front, unless `raw` is set.
    """

    def __init__(self, file: IO[bytes], *, top: int = 0, raw: bool = False) -> None:
        self._top, self._raw = top, raw
        self._text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="", write_through=True)
        self._rows = csv.writer(self._text, lineterminator="\n")
        self._quoted_rows = csv.writer(self._text, lineterminator="\n", quoting=csv.QUOTE_ALL)
        more = [f"{name}_{rank}" for rank in range(2, top + 1) for name in ("label", "probability")]
        self._columns = (*COLUMNS, *more)
        self._rows.writerow(self._columns)

    def write(self, result: PictureResult) -> None:
        """Write the rows of one picture."""
        head = [self._cell(str(result.path)), result.status, self._cell(result.message or result.note)]
        rows = self._rows if _SPLITTING.isdisjoint("".join(head)) else self._quoted_rows
        for number, face in enumerate(result.faces, 1):
            rows.writerow([*head, number, *self._face(face, result.time)])
        if not result.faces:
            cells = dict.fromkeys(self._columns, "") | {"time": _seconds(result.time)}
            rows.writerow([*head, *list(cells.values())[len(head) :]])

    def _face(self, face: FaceResult, time: float | None) -> list[str]:
        box = [f"{edge:.1f}" for edge in face.box]
        detection = "" if face.detection is None else f"{face.detection:.4f}"
        shares = [f"{value:.4f}" for value in face.probabilities]
        more = [cell for name, value in face.ranked(self._top)[1:] for cell in (name, f"{value:.4f}")]
        track = [_seconds(time), "" if face.track is None else str(face.track)]
        return [*box, detection, face.label, f"{face.probability:.4f}", *shares, *track, *more]

    def _cell(self, text: str) -> str:
        # A spreadsheet runs a cell that begins like a formula; the apostrophe makes it text (OWASP, "CSV injection").
        return f"'{text}" if not self._raw and text.startswith(_FORMULA) else text

    def close(self) -> None:
        """Detach from the file, which stays open; all rows are already written."""
        self._text.detach()

    def abandon(self) -> None:
        """Leave the file as it is."""


def _seconds(time: float | None) -> str:
    return "" if time is None else f"{time:.3f}"
