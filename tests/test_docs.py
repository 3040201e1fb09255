"""The documentation agrees with the program and the tests."""

from __future__ import annotations

import io
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

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


def test_every_link_in_the_documents_has_a_target():
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
    assert {entry.partition("\n")[0] for entry in entries if entry[:2] != "20"} == {"Open questions"}
    for entry in entries[: len(dates)]:
        assert re.match(r"\d{4}-\d\d-\d\d: ", entry)
        assert "\n|---|" in entry, entry.partition("\n")[0]


def test_every_guarantee_names_an_existing_test():
    """Each row of docs/guarantees.md names a file below tests/, or a function in it."""
    tests = Path(__file__).parent
    rows = runpy.run_path(str(DOCS / "check_guarantees.py"))["rows"]((DOCS / "guarantees.md").read_text())
    assert len(rows) > 80
    for row in rows:
        for test in row.tests:
            file, _, function = test.partition("::")
            assert (tests / file).is_file(), row
            assert not function or re.search(rf"^def {function}\(", (tests / file).read_text(), re.MULTILINE), row


GUARANTEES = """# Guarantees

## Files

| what happens | what emotify does | test |
|---|---|---|
| a `full` disk | exit 6 | `test_files.py::test_full`, `::test_several` |
| a quota is used up | exit 6 | the same; `test_files.py::test_wrong` |

| no guarantee | at all |
|---|---|
| a disk | `test_files.py` |

## Surroundings

| what happens | what emotify does | test |
|---|---|---|
| no browser | it is said | `test_browser.py` |
| no disk | it is said | `test_files.py::test_that_was_renamed` |
| no Python | it is said | `test_broken.py::test_import` |
"""
TESTS_OF_GUARANTEES = {
    "test_files.py": """
import pytest

def test_full():
    pass

@pytest.mark.parametrize("number", [1, 2, 3])
def test_several(number):
    if number == 2:
        pytest.skip("two is too much")

def test_wrong():
    assert 6 == 5

def test_that_no_row_names():
    assert False
""",
    "test_browser.py": "import pytest\npytest.importorskip('no_browser', reason='no browser is installed')",
    "test_broken.py": "import no_such_module",
}


@pytest.fixture
def check_guarantees(tmp_path):
    """A function that runs docs/check_guarantees.py beside a page and tests of its own."""
    for folder in ("docs", "tests"):
        (tmp_path / folder).mkdir()
    shutil.copy(DOCS / "check_guarantees.py", tmp_path / "docs")
    (tmp_path / "docs" / "guarantees.md").write_text(GUARANTEES)
    for name, text in TESTS_OF_GUARANTEES.items():
        (tmp_path / "tests" / name).write_text(text)

    def run(*words):
        command = [sys.executable, tmp_path / "docs" / "check_guarantees.py", *words]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        lines = [re.sub(r"\d+\.\d$|\d+(?= s$)", "-", line.strip()) for line in ended.stdout.splitlines()]
        return ended.returncode, lines, ended.stderr

    return run


def test_the_results_of_guarantees_are_printed_with_reasons_and_a_total(check_guarantees):
    """Each test that a row names is printed with its result; one that fails or is not there makes the exit code 1."""
    code, lines, _ = check_guarantees()
    words = [" ".join(line.split()) for line in lines if line]
    assert words[0] == "what happens, and its tests result tests seconds"
    assert words[2:] == [
        "Files",
        "a full disk",
        "test_files.py::test_full passed 1 -",
        "test_files.py::test_several passed 3 -",
        "1 skipped: two is too much",
        "a quota is used up",
        "test_files.py::test_full passed 1 -",
        "test_files.py::test_several passed 3 -",
        "1 skipped: two is too much",
        "test_files.py::test_wrong failed 1 -",
        "1 failed: assert 6 == 5",
        "Surroundings",
        "no browser",
        "test_browser.py skipped 1 -",
        "1 skipped: no browser is installed",
        "no disk",
        "test_files.py::test_that_was_renamed not run 0 -",
        "there is no such test",
        "no Python",
        "test_broken.py::test_import failed 1 -",
        "1 failed: ModuleNotFoundError: No module named 'no_such_module'",
        "rows: 1 passed, 2 failed, 1 not run, 1 skipped",
        "tests: 3 passed, 2 failed, 2 skipped, in - s",
    ]
    assert code == 1


def test_the_results_of_guarantees_fit_a_terminal():
    """On a narrow terminal a situation is cut to one line, and a test's name is folded between its words."""
    script = runpy.run_path(str(DOCS / "check_guarantees.py"))
    row = script["Row"]("Files", "a disk so full that nothing fits", ("a/test_b.py::test_it_is_said",))
    script["show"]([row], script["Recorder"](frozenset(row.tests)), Console(width=51, file=(out := io.StringIO())))
    lines = out.getvalue().splitlines()
    assert [" ".join(line.split()) for line in lines[5:8]] == [
        "a disk so full that not…",
        "a/test_b.py::test_it_ not run 0 0.0",
        "is_said",
    ]
    assert max(map(len, lines)) == 51


def test_guarantees_are_chosen_by_words(check_guarantees):
    """The tests of the rows that have all words run, and no others; words that no row has are an error."""
    code, lines, _ = check_guarantees("Disk", "full")
    assert code == 0
    assert lines[-2:] == ["rows: 1 passed", "tests: 3 passed, 1 skipped, in - s"]
    code, lines, errors = check_guarantees("quota", "browser")
    assert (code, lines) == (2, [])
    assert errors == "no row of guarantees.md has the words: quota browser\n"


def test_guarantees_whose_tests_were_interrupted_have_not_run(check_guarantees, tmp_path):
    """After Ctrl-C the table is printed. A test that did not finish has not passed."""
    stopping = "def test_a(): pass\ndef test_b(): raise KeyboardInterrupt\ndef test_c(): pass\n"
    (tmp_path / "tests" / "test_browser.py").write_text(stopping)
    code, lines, _ = check_guarantees("browser")
    assert code == 1
    assert "2 not run: pytest stopped before it" in lines
    assert lines[-2:] == ["rows: 1 not run", "tests: 1 passed, 2 not run, in - s"]


def test_a_guarantee_without_a_test_is_refused():
    """A row that names no test, or a function without a file, is no guarantee."""
    rows = runpy.run_path(str(DOCS / "check_guarantees.py"))["rows"]
    for named in ("by hand", "`::test_full`", "`test_files`"):
        with pytest.raises(ValueError, match="no test is named in: "):
            rows(GUARANTEES.replace("`test_browser.py`", named))


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


def test_names_of_tests_contain_no_issue_numbers():
    """Neither do their docstrings: both describe the tested behaviour in words."""
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
