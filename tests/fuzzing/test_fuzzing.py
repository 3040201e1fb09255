"""Fuzz each target with at most MOST inputs, for $EMOTIFY_FUZZ_SECONDS seconds (4 by default).

The inputs are the same each time, also on a fast computer. `just fuzz` finds new faults; a test does not find them by
chance.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.fuzzing.targets import CORPUS, TARGETS, Target, seeds

SECONDS = float(os.environ.get("EMOTIFY_FUZZ_SECONDS", "4"))
MOST = 1000  # inputs

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")]


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> dict[str, str]:
    """Fuzz all targets in one command, and return the report of each."""
    out = tmp_path_factory.mktemp("faults")
    words = [
        sys.executable,
        "-m",
        "tests.fuzzing.fuzz",
        "all",
        str(SECONDS),
        "--seed",
        "1",
        "--most",
        str(MOST),
        "--out",
        str(out),
    ]
    environment = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    limit = 120 + len(TARGETS) * (SECONDS + 60)
    done = subprocess.run(words, cwd=REPO, env=environment, capture_output=True, text=True, check=False, timeout=limit)
    found = dict(re.findall(r"^([a-z-]+): (.*(?:\n  .*)*)$", done.stdout, re.MULTILINE))
    assert found.keys() == TARGETS.keys(), done.stderr
    return found


@pytest.mark.parametrize("name", TARGETS)
def test_changed_inputs_are_handled_properly(name, reports):
    """No input causes a foreign exception, a crash, a hang, or more memory than the limit of its target."""
    print(f"{name}: {reports[name]}")
    inputs, read = re.match(r"([\d,]+) inputs, ([\d,]+) of them read", reports[name]).groups()  # type: ignore[union-attr]
    assert reports[name].endswith(" 0 faults"), reports[name]
    assert int(inputs.replace(",", "")) > len(seeds(name))
    assert int(read.replace(",", "")) > 0  # otherwise no input passes the first check


def test_the_fuzzer_finds_faults(tmp_path, monkeypatch):
    """The fuzzer finds an exception, a crashed process, and too much memory."""
    from tests.fuzzing import fuzz

    def fail(content: bytes, folder: Path) -> str:
        if b"raise" in content:
            raise ValueError("no error of emotify")
        if b"end" in content:
            os.abort()
        return str(len(bytearray(content.startswith(b"large") * 200 * 2**20)))

    for content, expected in ((b"raise", "ValueError at test_fuzzing.py"), (b"end", "the process ends with -6")):
        monkeypatch.setitem(TARGETS, "bad", Target(fail, lambda *_, content=content: content, 5, 50))
        monkeypatch.setattr(fuzz, "seeds", lambda _: [b"good"])
        faults = fuzz.fuzz("bad", 1, seed=0, out=tmp_path).faults
        assert [what for what in faults if what.startswith(expected)], faults
        assert [Path(path).read_bytes() for path in faults.values()] == [content]
    monkeypatch.setitem(TARGETS, "bad", Target(fail, lambda *_: b"large", 5, 50))
    assert [what for what in fuzz.fuzz("bad", 1, seed=0, out=tmp_path).faults if " MB" in what]


def test_the_stored_inputs_are_small():
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 300_000
