"""What the documentation says is what the program does."""

from __future__ import annotations

import re
import runpy
import subprocess
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def test_r9_the_commands_page_is_not_stale():
    """R9: docs/commands.md is what `python docs/make_commands.py` writes."""
    made = runpy.run_path(str(DOCS / "make_commands.py"))["page"]()
    assert (DOCS / "commands.md").read_text() == made


def test_links_lead_somewhere():
    """Every relative link of README and docs names a file that is there."""
    for page in (DOCS.parent / "README.md", DOCS.parent / "CHANGELOG.md", *DOCS.glob("*.md")):
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_r10_the_test_command_of_readme_is_what_ci_runs():
    """R10: what .ci/run takes out of README is the one command that stands there."""
    readme = (DOCS.parent / "README.md").read_text()
    (command,) = re.findall(r"<!-- tests -->\n```sh\n(.+)\n```", readme)
    (extract,) = re.findall(r"^tests=\$\((.+)\)$", (DOCS.parent / ".ci" / "run").read_text(), re.MULTILINE)
    found = subprocess.run(["bash", "-c", extract], cwd=DOCS.parent, capture_output=True, text=True, check=True).stdout
    assert found.strip() == command
    assert command.endswith(".venv/bin/pytest")


def test_r10_the_guides_python_runs(monkeypatch, capsys):
    """R10: the examples print what the text around them says."""
    monkeypatch.chdir(DOCS.parent)
    short, long = re.findall(r"```python\n(.+?)```", (DOCS / "guide.md").read_text(), re.DOTALL)
    pictures = sorted(path.name for path in (DOCS.parent / "samples").glob("*.jpg"))
    exec(short, {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"samples/{name}" for name in pictures]
    exec(long, {})
    first, *others = capsys.readouterr().out.splitlines()
    assert first.startswith("ok [('happy', ")
    assert others[0] == "<ndarray> ok  []"
    assert others[1].startswith("none.jpg not_found ")
    assert len(others) == 2 + len(pictures)
