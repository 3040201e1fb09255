"""Results to stdout, talk to stderr; a terminal gets colour and progress, a pipe gets plain lines."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from emotify.files import printable
from emotify.settings import OUTPUT, declare

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_PIPE_WIDTH = 1000  # columns: nothing is folded there
_LINE = json.JSONEncoder(allow_nan=False)  # json.dumps would make one for each line


@dataclass(frozen=True)
class Messages:
    """How much a command says, and where: two options of every command, and what they decide."""

    quiet: bool = declare(False, "Print results and errors only.", OUTPUT, also="-q")
    verbose: bool = declare(False, "Print more details on stderr.", OUTPUT, also="-v")

    @cached_property
    def out(self) -> Console:
        """Rich's view of stdout."""
        from rich.console import Console

        return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)

    @cached_property
    def err(self) -> Console:
        """Rich's view of stderr."""
        from rich.console import Console

        return Console(stderr=True, highlight=False)

    @property
    def plain(self) -> bool:
        """Whether stdout's encoding may have nothing but ASCII."""
        return self.out.options.ascii_only

    def show(self, content: Table | Text, *, aside: bool = False) -> None:
        """Print a table or a text on stdout, or `aside` on stderr, and a blank line; a pipe gets no borders."""
        stream, console = (sys.stderr, self.err) if aside else (sys.stdout, self.out)
        if stream.isatty():
            console.print(content)
            console.print()
            return
        from rich.box import Box
        from rich.table import Table

        if isinstance(content, Table):
            # Rules of nothing: other boxes become + and | where the encoding has no lines.
            content.box, content.pad_edge = Box("    \n" * 8, ascii=True), False
        with console.capture() as capture:
            console.print(content)
        lines = [line.rstrip() for line in capture.get().splitlines() if line.strip()]
        print(*lines, sep="\n", end="\n\n", file=stream)

    def notice(self, text: str) -> None:
        """Tell on stderr what the user would want to know, unless --quiet."""
        if not self.quiet:
            _print_lines(text)

    def error(self, text: str) -> None:
        """Tell on stderr what went wrong with a part of the work, --quiet or not."""
        _print_lines(text)

    def detail(self, text: str) -> None:
        """Tell on stderr what only --verbose asks for."""
        if self.verbose:
            self.notice(text)


def next_command(*words: object, data: object = None, classes: Iterable[str] = ()) -> str:
    """Return an emotify command to show, quoted for a shell, with the --data that was given, and what its classes mean.

    classes: words of the command line.
    """
    command = ["emotify", *map(str, words), *([] if data is None else ["--data", str(data)]), *classes]
    if sys.platform == "win32":  # where single quotes are no quotes
        return " ".join(word if re.fullmatch(r"[\w\\/:.-]+", word) else f'"{word}"' for word in command)
    return shlex.join(command)


def print_json(document: object) -> None:
    """Print one JSON document, ASCII only, on stdout."""
    print(json.dumps(document, indent=2, allow_nan=False))


def print_json_line(document: object) -> None:
    """Print one JSON document on one line of stdout, ASCII only."""
    print(_LINE.encode(document))


def print_error(text: str) -> None:
    """Print an error on stderr: one line, and the details that some have below it."""
    _print_lines(text, label="\x1b[1;31merror:\x1b[0m " if _has_colour() else "error: ")


def print_wait(doing: str, what: str | os.PathLike[str], seconds: int) -> None:
    """Tell on stderr what a command has been waiting for."""
    _print_lines(f"still {doing} {printable(what)} after {seconds} s")


def _print_lines(text: str, *, label: str = "") -> None:
    try:
        print(label + "\n".join(map(printable, text.split("\n"))), file=sys.stderr, flush=True)
    except BrokenPipeError:
        # Nobody listens any more; the work itself goes on.
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - for the rest of the process


def _has_colour() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
