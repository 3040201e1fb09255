"""The table of predicted faces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from emotify.files import printable

if TYPE_CHECKING:
    from emotify.prediction.predictor import PictureResult

_COLOURS = {
    "angry": "red",
    "disgust": "green",
    "fear": "magenta",
    "happy": "yellow",
    "sad": "blue",
    "surprise": "cyan",
    "neutral": "white",
}
_BAR = 8  # characters


def faces_table(results: Sequence[PictureResult]) -> Table:
    """Show a row a face: the picture, its expression, how sure that is, what came second, where it is."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("picture", overflow="fold")
    table.add_column("expression", no_wrap=True)
    table.add_column("probability", no_wrap=True)
    table.add_column("then", no_wrap=True)
    table.add_column("face", justify="right", no_wrap=True)
    for result in results:
        name = Text(printable(result.path))
        if not result.ok:
            table.add_row(name, Text(result.status, style="red"), Text(printable(result.message), style="dim"))
        elif not result.faces:
            table.add_row(name, Text("no face", style="dim"))
        for number, face in enumerate(result.faces):
            colour = _COLOURS[face.label]
            filled = round(face.probability * _BAR)
            bar = Text.assemble(("━" * filled, colour), ("─" * (_BAR - filled), "dim"), f" {face.probability:4.0%}")
            share, second = sorted(zip(face.probabilities, _COLOURS, strict=True))[-2]
            x0, y0, x1, y1 = face.box
            where = "whole" if face.detection is None else f"{x1 - x0:.0f}x{y1 - y0:.0f} at {x0:.0f},{y0:.0f}"
            then = Text(f"{second} {share:.0%}", style="dim")
            table.add_row(name if not number else "", Text(face.label, style=f"bold {colour}"), bar, then, where)
    return table
