"""Results as a csv file that a spreadsheet can open without being told what to run."""

from __future__ import annotations

import csv
import io
from typing import IO, Final

from emotify.emotions import EMOTIONS
from emotify.prediction.predictor import PictureResult

COLUMNS: Final = (
    "path", "status", "message", "face", "x0", "y0", "x1", "y1", "detection", "label", "probability", *EMOTIONS
)  # fmt: skip


class CsvWriter:
    """Writes one row a face, and one for a picture without any, to a binary file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="", write_through=True)
        self._rows = csv.writer(self._text, lineterminator="\n")
        self._rows.writerow(COLUMNS)

    def write(self, result: PictureResult) -> None:
        """Write the rows of one picture."""
        head = [_safe(str(result.path)), result.status, _safe(result.message)]
        for number, face in enumerate(result.faces, 1):
            box = [f"{edge:.1f}" for edge in face.box]
            detection = "" if face.detection is None else f"{face.detection:.4f}"
            shares = [f"{value:.4f}" for value in face.probabilities]
            self._rows.writerow([*head, number, *box, detection, face.label, f"{face.probability:.4f}", *shares])
        if not result.faces:
            self._rows.writerow([*head, *[""] * (len(COLUMNS) - len(head))])

    def close(self) -> None:
        """Hand everything to the file, which stays open."""
        self._text.detach()


def _safe(text: str) -> str:
    # A spreadsheet runs a cell that begins like a formula; the apostrophe makes it text (OWASP, "CSV injection").
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
