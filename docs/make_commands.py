"""Write docs/commands.md from the commands' own help; tests/test_docs.py fails when it is stale.

python docs/make_commands.py
"""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from emotify.cli import app

PAGE = Path(__file__).with_name("commands.md")
COMMANDS = ("train", "evaluate", "ensemble", "export", "predict")


def page() -> str:
    """Return the page."""
    parts = ["# Commands", "From the commands' own `--help`, by `python docs/make_commands.py`."]
    for command in ((), *((name,) for name in COMMANDS)):
        shown = CliRunner().invoke(app, [*command, "--help"], prog_name="emotify", terminal_width=100).stdout
        parts += [f"## emotify {' '.join(command)}".rstrip(), f"```text\n{shown.strip()}\n```"]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
