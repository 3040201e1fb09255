"""Results to stdout, talk to stderr; a terminal gets colour and progress, a pipe gets plain lines."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from emotify.files import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_PIPE_WIDTH = 200  # columns: nothing is folded there


@dataclass(frozen=True)
class Talk:
    """How much a command says, and where."""

    quiet: bool = False
    verbose: bool = False
    debug: bool = False

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

    def show(self, table: Table) -> None:
        """Print a table on stdout; without borders and padding where no terminal is."""
        if sys.stdout.isatty():
            self.out.print(table)
            return
        from rich import box

        table.box, table.pad_edge = box.SIMPLE, False
        with self.out.capture() as capture:
            self.out.print(table)
        print(*(line.rstrip() for line in capture.get().splitlines() if line.strip(" ─━")), sep="\n", end="\n\n")

    def notice(self, text: str) -> None:
        """Tell on stderr what the user would want to know, unless --quiet."""
        if not self.quiet:
            print(printable(text), file=sys.stderr, flush=True)

    def error(self, text: str) -> None:
        """Tell on stderr what went wrong with a part of the work, --quiet or not."""
        print(printable(text), file=sys.stderr, flush=True)

    def detail(self, text: str) -> None:
        """Tell on stderr what only --verbose asks for."""
        if self.verbose:
            self.notice(text)


def print_json(document: object) -> None:
    """Print one JSON document, ASCII only, on stdout."""
    print(json.dumps(document, indent=2, allow_nan=False))


def print_json_line(document: object) -> None:
    """Print one JSON document on one line of stdout, ASCII only."""
    print(json.dumps(document, allow_nan=False))


def print_error(text: str) -> None:
    """Print an error's one line on stderr."""
    label = "\x1b[1;31merror:\x1b[0m" if _has_colour() else "error:"
    print(label, printable(text), file=sys.stderr, flush=True)


def _has_colour() -> bool:
    import os

    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
