"""Results go to stdout, messages to stderr. A terminal gets colour and progress bars, a pipe plain lines."""

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

_PIPE_WIDTH = 1000  # columns, so that rows in a pipe are not wrapped
_LINE = json.JSONEncoder(allow_nan=False)  # kept, as json.dumps would make one per line


@dataclass(frozen=True)
class Messages:
    """The options --quiet and --verbose of every command, and the messages that they allow."""

    quiet: bool = declare(False, "Print results and errors only.", OUTPUT, also="-q")
    verbose: bool = declare(False, "Print more details on stderr.", OUTPUT, also="-v")

    @cached_property
    def out(self) -> Console:
        """Rich's console for stdout."""
        from rich.console import Console

        return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)

    @cached_property
    def err(self) -> Console:
        """Rich's console for stderr."""
        from rich.console import Console

        return Console(stderr=True, highlight=False)

    @property
    def plain(self) -> bool:
        """Whether stdout's encoding has only ASCII characters."""
        return self.out.options.ascii_only

    def show(self, content: Table | Text, *, aside: bool = False) -> None:
        """Print a table or a text and a blank line on stdout, or with `aside` on stderr; a pipe gets no borders."""
        stream, console = (sys.stderr, self.err) if aside else (sys.stdout, self.out)
        if stream.isatty():
            console.print(content)
            console.print()
            return
        from rich.box import Box
        from rich.table import Table

        if isinstance(content, Table):
            # A box of spaces: Rich replaces other boxes by + and | if the encoding has no line characters.
            content.box, content.pad_edge = Box("    \n" * 8, ascii=True), False
        with console.capture() as capture:
            console.print(content)
        lines = [line.rstrip() for line in capture.get().splitlines() if line.strip()]
        print(*lines, sep="\n", end="\n\n", file=stream)

    def notice(self, text: str) -> None:
        """Print a note on stderr, unless --quiet."""
        if not self.quiet:
            print_lines(text)

    def error(self, text: str) -> None:
        """Print on stderr that a part of the work failed, even with --quiet."""
        print_lines(text)

    def detail(self, text: str) -> None:
        """Print a detail on stderr, only with --verbose."""
        if self.verbose:
            self.notice(text)


def next_command(*words: object, data: object = None, classes: Iterable[str] = ()) -> str:
    """Return an emotify command for the user to copy, quoted for a shell, with --data and the options of its classes.

    classes: words of the command line, such as --class-order affectnet.
    """
    command = ["emotify", *map(str, words), *([] if data is None else ["--data", str(data)]), *classes]
    if sys.platform == "win32":  # where the shell knows only double quotes
        return " ".join(word if re.fullmatch(r"[\w\\/:.-]+", word) else f'"{word}"' for word in command)
    return shlex.join(command)


def print_json(document: object) -> None:
    """Print one JSON document, ASCII only, on stdout."""
    print(json.dumps(document, indent=2, allow_nan=False))


def print_json_line(document: object) -> None:
    """Print one JSON document on one line of stdout, ASCII only."""
    print(_LINE.encode(document))


def print_error(text: str) -> None:
    """Print an error on stderr: one line, and details below it if there are any."""
    print_lines(text, label="\x1b[1;31merror:\x1b[0m " if _has_colour() else "error: ")


def print_wait(doing: str, what: str | os.PathLike[str], seconds: int) -> None:
    """Print on stderr what the command is waiting for."""
    print_lines(f"still {doing} {printable(what)} after {seconds} s")


def print_lines(text: str, *, label: str = "") -> None:
    """Print lines on stderr, with control characters escaped."""
    try:
        print(label + "\n".join(map(printable, text.split("\n"))), file=sys.stderr, flush=True)
    except BrokenPipeError:
        # The reader of stderr has gone; the work goes on.
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - for the rest of the process


def _has_colour() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
