"""Run the tests that docs/guarantees.md names, and print their results beside what each row says.

python docs/check_guarantees.py            # all rows; many of their tests are slow
python docs/check_guarantees.py full disk  # the rows with both words

pytest's own output goes to stderr. Exits with 1 if a test fails or does not run, and with 2 if no row has the words.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

PAGE: Final = Path(__file__).with_name("guarantees.md")
TESTS: Final = PAGE.parent.parent / "tests"
_COLOURS: Final = {"passed": "green", "failed": "red", "not run": "red", "skipped": "yellow"}
_ENDS: Final = ("failed", "not run", "passed", "skipped")  # the worst first
_REASONS: Final = 3  # of one test that are shown
_PIPE_WIDTH: Final = 1000  # no line of a file is folded or cut


class Row(NamedTuple):
    """One row of a table of guarantees. tests: below tests/, each a file or a function as `file.py::test_name`."""

    section: str
    happens: str
    tests: tuple[str, ...]


@dataclass
class Result:
    """How one test ended: passed, failed, skipped or not run, and why."""

    outcome: str = "not run"
    reason: str = "pytest stopped before it"
    seconds: float = 0.0


@dataclass(eq=False)  # pytest puts its plugins into sets
class Recorder:
    """A plugin of pytest that runs the `wanted` tests alone and keeps the result of each, by its name in a row."""

    wanted: frozenset[str]
    results: dict[str, Result] = field(default_factory=dict)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if any(_covers(name, _name(item.nodeid)) for name in self.wanted)]
        self.results |= {item.nodeid: Result() for item in items}

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if not report.passed:
            self._keep(report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._keep(report).seconds += report.duration

    def _keep(self, report: pytest.CollectReport | pytest.TestReport) -> Result:
        result = self.results.setdefault(report.nodeid, Result())
        if not report.passed and result.outcome != "failed":
            result.outcome, result.reason = report.outcome, _reason(report)
        elif report.when == "teardown" and result.outcome == "not run":
            result.outcome = "passed"
        return result

    def of(self, test: str) -> list[Result]:
        """Return the results of a test of a row: one for each parameter, or for each test of a file."""
        names = ((_name(node), result) for node, result in self.results.items())
        return [result for name, result in names if _covers(test, name) or _covers(name, test)]


def _name(node: str) -> str:
    """Return the name in a row of a test or a file that pytest calls `tests/file.py::test_name[parameters]`."""
    return node.partition("[")[0].removeprefix(f"{TESTS.name}/")


def _covers(one: str, other: str) -> bool:
    return other == one or other.startswith(f"{one}::")


def _reason(report: pytest.CollectReport | pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):  # of a skip: file, line and text
        return report.longrepr[2].removeprefix("Skipped: ")
    errors = [line[1:].strip() for line in report.longreprtext.splitlines() if line.startswith("E ")]
    return errors[0] if errors else report.longreprtext.strip().rpartition("\n")[2]


def rows(page: str) -> list[Row]:
    """Return the rows of the tables of a page whose last column is `test`.

    `::test_name` without a file is in the file that the row names before it; `the same` is all tests of the row above.
    Raises ValueError if a row names no test.
    """
    found: list[Row] = []
    section, inside = "", False
    for line in page.splitlines():
        if line.startswith("## "):
            section = line[3:]
        if not line.startswith("|") or line.endswith("| test |"):
            inside = line.startswith("|")
        elif inside and line.strip("|-"):
            happens, *_, named = (cell.strip() for cell in line.strip("|").split("|"))
            tests = list(found[-1].tests) if named.startswith("the same") else []
            file = ""
            for path, function in re.findall(r"`([\w/]+\.py)?(?:::(test_\w+))?`", named):
                file = path or file
                tests.append(f"{file}::{function}" if function else file)
            if not tests or any(not test.partition("::")[0] for test in tests):
                msg = f"no test is named in: {line}"
                raise ValueError(msg)
            found.append(Row(section, happens.replace("`", ""), tuple(tests)))
    return found


def run(tests: Iterable[str]) -> Recorder:
    """Run tests in this process, and return their results."""
    recorder = Recorder(frozenset(tests))
    files = dict.fromkeys(str(TESTS / test.partition("::")[0]) for test in tests)
    there = [file for file in files if Path(file).exists()]  # pytest would run nothing if one is not there
    options = [f"--rootdir={TESTS.parent}", "--continue-on-collection-errors", "--tb=short", "-q", "-rN", "-m", ""]
    if there:
        with contextlib.redirect_stdout(sys.stderr):
            pytest.main([*options, *there], plugins=[recorder])
    return recorder


def show(chosen: Sequence[Row], recorder: Recorder, console: Console) -> bool:
    """Print a table of rows and results with a total, and return whether no test failed and all ran."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("what happens, and its tests", overflow="fold")
    table.add_column("result", width=7)
    table.add_column("tests", width=5, justify="right")
    table.add_column("seconds", width=7, justify="right")
    room = console.width - 7 - 5 - 7 - 8 - 2  # what the other columns, the gaps and the indent leave
    section, ends = "", Counter[str]()
    for row in chosen:
        if row.section != section:
            table.add_row(Text(f"\n{row.section}" if section else row.section, style="bold"))
            section = row.section
        table.add_row(Text(row.happens, no_wrap=True, overflow="ellipsis"))
        outcomes = set()
        for test in row.tests:
            results = recorder.of(test)
            outcome = _worst({result.outcome for result in results})
            seconds = sum(result.seconds for result in results)
            name = Padding(Text(_folded(test, room), style="dim"), (0, 0, 0, 2))
            table.add_row(name, Text(outcome, style=_COLOURS[outcome]), f"{len(results):,}", f"{seconds:,.1f}")
            for reason in _reasons(results):
                table.add_row(Padding(Text(reason, style=_COLOURS[outcome]), (0, 0, 0, 4)))
            outcomes.add(outcome)
        ends[_worst(outcomes)] += 1
    console.print(table)
    console.print(f"rows: {_counted(ends)}", soft_wrap=True)
    tests = Counter(result.outcome for result in recorder.results.values())
    seconds = sum(result.seconds for result in recorder.results.values())
    console.print(f"tests: {_counted(tests)}, in {seconds:,.0f} s", soft_wrap=True)
    return not ends["not run"] and not ends["failed"]


def _folded(name: str, width: int) -> str:
    """Return the name of a test in lines of a width that end between its words."""
    return "\n".join(re.findall(rf".{{1,{width}}}$|.{{1,{width}}}(?<=[_/:])|.{{1,{width}}}", name))


def _worst(outcomes: set[str]) -> str:
    """Return how several tests ended together: skipped only if all are, and not run if there are none."""
    return next((end for end in _ENDS if end in outcomes), "not run")


def _reasons(results: Sequence[Result]) -> list[str]:
    if not results:
        return ["there is no such test"]
    reasons = Counter((result.outcome, result.reason) for result in results if result.outcome != "passed")
    shown = [f"{number} {end}: {reason}" for (end, reason), number in reasons.most_common(_REASONS)]
    return shown + [f"and {len(reasons) - _REASONS} other reasons"] * (len(reasons) > _REASONS)


def _counted(ends: Counter[str]) -> str:
    return ", ".join(f"{ends[end]:,} {end}" for end in _COLOURS if ends[end]) or "none"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="only the rows with all of them in section, situation or tests")
    words = [word.lower() for word in parser.parse_args().words]
    every = rows(PAGE.read_text(encoding="utf-8"))
    chosen = [row for row in every if all(word in " ".join([*row[:2], *row.tests]).lower() for word in words)]
    if not chosen:
        print(f"no row of {PAGE.name} has the words: {' '.join(words)}", file=sys.stderr)
        return 2
    recorder = run(dict.fromkeys(test for row in chosen for test in row.tests))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    return 0 if show(chosen, recorder, console) else 1


if __name__ == "__main__":
    sys.exit(main())
