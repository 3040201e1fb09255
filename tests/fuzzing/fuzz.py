"""Change the stored inputs at random, and find inputs that emotify does not handle properly.

    python -m tests.fuzzing.fuzz pictures 3600 [--seed N] [--most INPUTS] [--out FOLDER]

Each target runs in its own process, so a crash or a hang is found, too. Its input is kept. Coverage is not measured,
because most of the fuzzed code is C. Instead, an input with a new answer is changed further. The same seed gives the
same inputs.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import itertools
import json
import multiprocessing
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import IO

from emotify.errors import EmotifyError
from tests.fuzzing.mutations import LARGEST
from tests.fuzzing.targets import TARGETS, seeds

_HANGS = 30  # seconds above its limit, after which a process is killed
_MOST_KEPT = 2000  # inputs to change further


@dataclass(frozen=True)
class Report:
    """The result of fuzzing one target."""

    inputs: int
    read: int  # inputs that were read without an error
    answers: int  # different answers
    faults: dict[str, str]  # description of the fault -> file of its input

    def __str__(self) -> str:
        faults = "".join(f"\n  {what}: {path}" for what, path in self.faults.items())
        counts = f"{self.inputs:,} inputs, {self.read:,} of them read, {self.answers:,} different answers"
        return f"{counts}, {len(self.faults)} faults{faults}"


def fuzz(name: str, seconds: float, *, seed: int, out: Path, most: int | None = None) -> Report:
    """Fuzz a target in its own process with at most `most` inputs; write inputs with faults into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        process = multiprocessing.get_context("fork").Process(
            target=_work, args=(name, seconds, most, seed, out, folder)
        )
        process.start()
        process.join()
        if (folder / "report.json").exists():
            return Report(**json.loads((folder / "report.json").read_text()))
        content, traces = (
            (folder / part).read_bytes() if (folder / part).exists() else b"" for part in ("current", "traces")
        )
        what = "hangs" if b"Timeout" in traces else f"the process ends with {process.exitcode}"
        return Report(0, 0, 0, {f"{what} {traces.decode()[:3000]}": str(_keep(content, name, out))})


def _work(name: str, seconds: float, most: int | None, seed: int, out: Path, folder: Path) -> None:
    with (folder / "traces").open("wb") as traces:
        faulthandler.enable(traces)
        report = _Inside(name, seed, out, folder, traces).run(seconds, most)
    (folder / "report.json").write_text(json.dumps(vars(report)))


def _keep(content: bytes, name: str, out: Path) -> Path:
    path = out / f"{name}-{hashlib.sha256(content).hexdigest()[:8]}"
    path.write_bytes(content)
    return path


class _Inside:
    """The work inside the process of a target."""

    def __init__(self, name: str, seed: int, out: Path, folder: Path, traces: IO[bytes]) -> None:
        self.traces = traces
        self.name, self.target, self.out, self.folder = name, TARGETS[name], out, folder
        self.seeds, self.chance = seeds(name), Random(seed)
        self.answers: set[str] = set()
        self.faults: dict[str, str] = {}
        self.inputs = self.read = 0

    def run(self, seconds: float, most: int | None) -> Report:
        warnings.simplefilter("error")
        for content in self.seeds:
            self.try_input(content)
        self.before = _peak()
        size = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = _size() + (self.target.megabytes + 4096) * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit if size < 0 else min(limit, size), size))
        end = time.monotonic() + seconds
        for content in itertools.islice(self._changed(), most):
            self.try_input(content, bounded=True)
            if time.monotonic() > end:
                break
        return Report(self.inputs, self.read, len(self.answers), self.faults)

    def _changed(self) -> Iterator[bytes]:
        kept = list(self.seeds)
        while True:
            before = len(self.answers)
            content = self.target.change(self.chance.choice(kept), self.chance, self.seeds)[:LARGEST]
            yield content
            if len(self.answers) > before:
                kept = [*kept[-_MOST_KEPT:], content]

    def try_input(self, content: bytes, *, bounded: bool = False) -> None:
        """Run the target on an input, and record a new answer or a fault."""
        (self.folder / "current").write_bytes(content)
        work = self.folder / "work"
        work.mkdir()
        self.inputs += 1
        faulthandler.dump_traceback_later(self.target.seconds + _HANGS, exit=True, file=self.traces)
        start = time.process_time()
        try:
            self.answers.add(_without_numbers(self._answer(content, work)))
        except BaseException as error:  # noqa: BLE001 - every other exception is a fault
            self._fault(_describe(error), content)
        faulthandler.cancel_dump_traceback_later()
        took = time.process_time() - start
        if bounded and took > self.target.seconds:
            self._fault(f"takes {took:.0f} s", content)
        if bounded and (more := (_peak() - self.before) >> 20) > self.target.megabytes:
            self.before = _peak()
            self._fault(f"takes {more} MB", content)
        shutil.rmtree(work)

    def _answer(self, content: bytes, work: Path) -> str:
        try:
            answer = str(self.target.read(content, work))
        except EmotifyError as error:
            _check_message(str(error))
            return f"{type(error).__name__}: {str(error).replace(str(work), '')}"
        self.read += 1
        return answer

    def _fault(self, what: str, content: bytes) -> None:
        if what not in self.faults:
            self.faults[what] = str(_keep(content, self.name, self.out))


def _check_message(text: str) -> None:
    """Check that an error is one line, or a heading with a few lines, and has no control characters."""
    lines = text.split("\n  ")
    assert all(line.isprintable() and line for line in lines), f"an error of more than a line: {text}"
    assert len(lines) <= 10, f"an error of many lines: {text}"


def _without_numbers(answer: str) -> str:
    return re.sub(r"\d+|'[^']*'", "0", answer)[:200]


def _describe(error: BaseException) -> str:
    """Return the type, place in emotify and text of an exception, so that each fault is reported once."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "emotify" in Path(frame.filename).parts] or frames
    place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno} in {ours[-1].name}"
    return f"{type(error).__name__} at {place}: {re.sub(r'[0-9]+', '0', str(error))[:100]!r}"


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _size() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a target, or `all`")
    parser.add_argument("seconds", type=float)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--most", type=int, help="stop a target after this many inputs")
    parser.add_argument("--out", type=Path, default=Path("fuzz"), help="folder for inputs with faults")
    given = parser.parse_args()
    reports = {}
    for name in TARGETS if given.name == "all" else [given.name]:
        reports[name] = fuzz(name, given.seconds, seed=given.seed, out=given.out, most=given.most)
        print(f"{name}: {reports[name]}", flush=True)
    sys.exit(any(report.faults for report in reports.values()))


if __name__ == "__main__":
    main()
