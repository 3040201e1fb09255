"""Run a command in a terminal of its own and draw what it shows as SVG.

python docs/capture.py docs/images/predict.svg emotify predict samples/
"""

from __future__ import annotations

import os
import pty
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS = 92


def run_in_terminal(command: list[str]) -> str:
    """Return what `command` writes to a terminal of COLUMNS columns, stdout and stderr together."""
    process, terminal = pty.fork()
    if process == 0:
        os.environ.update(COLUMNS=str(COLUMNS), LINES="60", TERM="xterm-256color", COLORTERM="truecolor")
        os.execvp(command[0], command)  # noqa: S606 - the command of whoever called
    shown = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # how Linux says that the terminal was closed
            break
        if not part:
            break
        shown += part
    os.waitpid(process, 0)
    return shown.decode(errors="replace").replace("\r\n", "\n")


def what_stays(shown: str) -> str:
    """Return what is left on the terminal when a progress display was drawn and wiped between the lines."""
    lines, row = [""], 0
    for part in re.split(r"(\x1b\[\?25[lh]|\x1b\[2K|\x1b\[1A|\r|\n)", shown):
        if part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif part == "\x1b[1A":
            row -= 1
        elif part == "\x1b[2K":
            lines[row] = ""
        elif not part.startswith(("\r", "\x1b[?25")):
            lines[row] += part
    return "\n".join(lines)


def main() -> None:
    """Draw the command named on the command line."""
    picture, *command = sys.argv[1:]
    shown = what_stays(run_in_terminal(command))
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True, color_system="truecolor")
        console.print(Text(f"$ {' '.join(command)}", style="bold"))
        console.print(Text.from_ansi(shown.strip("\n")))
        svg = console.export_svg(title="emotify", unique_id=Path(picture).stem)
    Path(picture).write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n")


if __name__ == "__main__":
    main()
