"""The documentation agrees with the program and the tests."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from emotify import Predictor
from emotify.opening import packaged_models

DOCS = Path(__file__).parent.parent / "docs"


def test_the_commands_page_is_up_to_date():
    """docs/commands.md equals the output of `python docs/make_commands.py`."""
    made = runpy.run_path(str(DOCS / "make_commands.py"))["page"]()
    assert (DOCS / "commands.md").read_text() == made


def anchors(page):
    """Return GitHub's anchors of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_have_targets():
    """Every relative link in the repository's pages names an existing file and heading."""
    root = DOCS.parent
    for page in (*root.glob("*.md"), *DOCS.glob("*.md"), *root.glob("research/*.md"), *root.glob("emotify/**/*.md")):
        for target, heading in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", page.read_text()):
            place = page.parent / target if target else page
            assert target.startswith("https://") or place.exists(), f"{page.name}: {target}"
            assert not heading or target.startswith("https://") or heading in anchors(place), f"{page.name}: #{heading}"


def test_the_research_log_is_dated_and_newest_first():
    """Each entry of research/log.md starts with its date and has at least one table; the newest is first."""
    _, *entries = (DOCS.parent / "research" / "log.md").read_text().split("\n## ")
    dates = [entry[:10] for entry in entries if entry[:2] == "20"]
    assert dates == sorted(dates, reverse=True)
    assert {entry.partition("\n")[0] for entry in entries if entry[:2] != "20"} == {"Not asked yet"}
    for entry in entries[: len(dates)]:
        assert re.match(r"\d{4}-\d\d-\d\d: ", entry)
        assert "\n|---|" in entry, entry.partition("\n")[0]


def test_every_guarantee_names_an_existing_test():
    """Each row of docs/guarantees.md names a test. `::test_name` without a file is in the last named file."""
    tests, rows = (
        Path(__file__).parent,
        re.findall(r"^\| .* \| (.*) \|$", (DOCS / "guarantees.md").read_text(), re.MULTILINE),
    )
    for row in rows:
        file = ""
        if row == "test":
            continue
        assert row.startswith(("`", "the same")), row
        for named, function in re.findall(r"`([\w/]+\.py)?(?:::(test_\w+))?`", row):
            file = named or file
            assert (tests / file).is_file(), row
            assert not function or re.search(rf"^def {function}\(", (tests / file).read_text(), re.MULTILINE), row


def test_the_results_page_agrees_with_the_model_card():
    """The model card has every accuracy and file size of the packaged models in docs/results.md."""
    card = (DOCS.parent / "emotify" / "assets" / "MODEL_CARD.md").read_text()
    rows = re.findall(r"^\| (?:emotify, )?`(?:default|fast)` \|.*$", (DOCS / "results.md").read_text(), re.MULTILINE)
    assert len(rows) == 4
    for row in rows:
        numbers = re.findall(r"\d+\.\d+(?= %|\** \()|\d+\.\d+ MB", row)
        assert len(numbers) == 3
        for number in numbers:
            assert number in card, number


def test_ci_runs_the_test_command_of_the_readme():
    """.ci/run reads its test command from README, which has only one."""
    readme = (DOCS.parent / "README.md").read_text()
    (command,) = re.findall(r"<!-- tests -->\n```sh\n(.+)\n```", readme)
    (extract,) = re.findall(r"^tests=\$\((.+)\)$", (DOCS.parent / ".ci" / "run").read_text(), re.MULTILINE)
    found = subprocess.run(["bash", "-c", extract], cwd=DOCS.parent, capture_output=True, text=True, check=True).stdout
    assert found.strip() == command
    assert command.endswith(".venv/bin/pytest")


def test_the_python_examples_of_the_guide_run(monkeypatch, capsys):
    """The examples print what the guide says."""
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


def test_names_of_tests_are_words():
    """Names and docstrings of tests describe the tested behaviour in words, without issue numbers."""
    for path in Path(__file__).parent.rglob("*.py"):
        for line in re.findall(r"^def test_[a-z]\d+_.*|^ *\x22{3}[A-Z]\d{1,2}[:,] .*", path.read_text(), re.MULTILINE):
            raise AssertionError(f"{path.name}: {line}")


def test_the_onnx_recipe_gives_the_same_answer_as_predict(tmp_path, monkeypatch, capsys):
    """The recipe uses the box of the sample, and the same square and grey border as `emotify predict`."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(packaged_models()["default"], "model.onnx")
    shutil.copy(DOCS.parent / "samples" / "happy.jpg", "photo.jpg")
    recipe = re.search(r"```python\n(import json.+?)```", (DOCS / "formats.md").read_text(), re.DOTALL)
    assert recipe is not None
    names: dict[str, Any] = {}
    exec(recipe[1], names)
    (face,) = Predictor().predict("photo.jpg").faces
    assert face.box == pytest.approx([names[edge] for edge in ("x0", "y0", "x1", "y1")], abs=0.1)
    assert list(face.probabilities) == pytest.approx(names["probabilities"][0].tolist(), abs=0.02)
    assert capsys.readouterr().out == f"{face.label} {face.probability:.0%}\n"


def test_every_row_of_a_table_is_one_line():
    """A line break inside a row ends the table on the page."""
    root = DOCS.parent
    for page in (*root.glob("*.md"), *DOCS.glob("*.md"), *root.glob("research/*.md"), *root.glob("emotify/**/*.md")):
        for line in page.read_text().splitlines():
            assert not line.startswith("|") or line.rstrip().endswith("|"), (page.name, line)
