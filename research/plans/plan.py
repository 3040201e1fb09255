"""Run the trainings of research/log.md in order, with the commands of emotify.

python research/plans/plan.py study|shipped|tried|gpu [STEP ...] --data fer2013.csv [--out plan] [options]

A plan is a text file beside this one with named steps, one command each. `study` measures when an ensemble helps,
`shipped` makes the built-in models, `tried` has experiments that do not ship, and `gpu` is for a GPU. With names of
steps, only these steps run. The steps that they need run first, also those of another plan.

A plan can be stopped and started again at any time. The output of each step is saved in OUT/steps.json. A finished step
with an unchanged command does not run again, and an interrupted training resumes. A step that fails does not stop the
steps that do not need its result. --dry prints the commands.

--epochs, --device and --train change the commands, for a trial of a plan: python research/plans/plan.py gpu
--data small.csv --device cpu --epochs 1 --train='--batch-size 64 --compile off'

Use --minutes, --pack and --unpack on a computer that you have for only some minutes at a time. After --minutes, no step
begins, running trainings save their state, and all other running steps are ended and run again next time. --pack then
writes what is finished into a few files (packing.py says which). --unpack restores these files into OUT on another
computer. What was not packed runs again there, but only when a step needs it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from packing import STEPS, Record, is_there, pack, read_packed, unpack

from emotify.data import find_ferplus
from emotify.errors import InputError
from emotify.files import file_sha256, read_json, write_json

PLANS = ("shipped", "study", "tried", "gpu")  # a step needs only steps before it, in this order
SEEDS = ("0", "1", "2")  # a step with SEED in its name runs once for each
PATIENCE = 60  # seconds that a stopped command gets to save its state
_NAME = re.compile(r"{([^}]+)}")


@dataclass(frozen=True)
class Step:
    """One command. {name} in the command is replaced by the result of the step with this name."""

    name: str
    command: str

    @property
    def needs(self) -> list[str]:
        """The names of the steps whose results the command uses."""
        return _NAME.findall(self.command)


@dataclass(frozen=True)
class Changes:
    """What changes the commands of a plan. Empty values change nothing."""

    epochs: int | None = None  # of each training, except a training of no epochs
    device: str = ""  # wherever a command names one
    train: str = ""  # words for each training

    def apply(self, step: Step) -> Step:
        """Return the step with its changed command."""
        command = step.command
        if self.device:
            command = re.sub(r"(?<=--device )\S+", self.device, command)
        if command.startswith("train "):
            if self.epochs and "--epochs 0" not in command:
                command += f" --epochs {self.epochs}"
            command += f" {self.train}".rstrip()
        return Step(step.name, command)


def read_plan(text: str) -> Iterator[Step]:
    """Yield the steps of a plan: `name:` without indentation, its command indented below, comments after #."""
    for block in re.findall(r"^\S.*(?:\n[ \t]+.*)*", re.sub(r"#.*", "", text), re.MULTILINE):
        name, _, rest = block.partition(":")
        words = rest.split()
        if "SEED" in name:
            yield from (Step(name.replace("SEED", seed), " ".join(words).replace("SEED", seed)) for seed in SEEDS)
        else:
            every = (word.replace("SEED", seed) for word in words for seed in (SEEDS if "SEED" in word else SEEDS[:1]))
            yield Step(name, " ".join(every))


def all_steps() -> dict[str, list[Step]]:
    """Return the steps of each plan."""
    folder = Path(__file__).parent
    return {plan: list(read_plan((folder / f"{plan}.txt").read_text(encoding="utf-8"))) for plan in PLANS}


def choose_steps(plans: dict[str, list[Step]], wanted: Iterable[str]) -> list[Step]:
    """Return the steps with these names and all steps that they need, in order. Raises KeyError for an unknown name."""
    steps = {step.name: step for plan in plans.values() for step in plan}
    found: set[str] = set()
    waiting = list(wanted)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += steps[name].needs
    return [step for name, step in steps.items() if name in found]


def digests(steps: Iterable[Step], data: str) -> dict[str, str]:
    """Return a digest for each step: of its command, of the steps that it needs, of the csv, and of FER+'s votes.

    The same csv and votes give the same digest on every computer, in any place and with any --device and --threads. Of
    a folder as `data`, the digest covers the path and the votes, but not the images.
    """
    found: dict[str, str] = {}
    origin = file_sha256(Path(data)) if Path(data).is_file() else data
    with contextlib.suppress(InputError):  # the commands report it
        if (votes := find_ferplus(data)) and votes.is_file():
            origin += f"\n{file_sha256(votes)}"
    for step in steps:
        command = re.sub(r"--(device|threads) \S+", "", step.command)
        parts = [" ".join(command.split()), origin, *(found[name] for name in step.needs)]
        found[step.name] = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return found


def command_line(step: Step, made: Mapping[str, str], digest: str, *, data: str, out: Path) -> list[str]:
    """Return the words of a step's command, with names replaced by the results in `made`."""
    words = [_NAME.sub(lambda name: made[name[1]], word) for word in shlex.split(step.command)]
    words += ["--data", data]
    if words[0] == "train":
        words += ["--out", str(out / step.name)]
    if words[0] in ("ensemble", "export"):
        # With the digest in its name, so that other members give another file and other scores.
        words += ["--out", str(out / f"{step.name}-{digest[:4]}{'.onnx' if words[0] == 'export' else ''}")]
    return words


def unfinished(folder: Path, *, before: list[str]) -> Path | None:
    """Return a run in `folder` that can be resumed, except the runs in `before`, which belong to other commands."""
    for record in sorted(folder.glob("*/run.json")):
        run = record.parent
        finished = read_json(record)["status"] == "finished"
        if run.name not in before and not finished and (run / "state.safetensors").exists():
            return run
    return None


def steps_to_run(
    steps: Sequence[Step], wanted: Iterable[str], kept: Mapping[str, Record], current: Mapping[str, str], out: Path
) -> list[Step]:
    """Return the unfinished steps, and the finished ones whose result is missing and is wanted or needed by these.

    A finished step that runs again comes as late as it can, before the first step that needs it.
    """
    named = {step.name: step for step in steps}
    found: dict[str, Step] = {}

    def add(step: Step, *, needed: bool) -> None:
        record = kept.get(step.name, {})
        done = "printed" in record and record.get("digest") == current[step.name]
        if step.name in found or (done and (not needed or is_there(record, out))):
            return
        for name in step.needs:
            add(named[name], needed=True)
        found[step.name] = step

    wanted = set(wanted)
    for step in steps:
        add(step, needed=step.name in wanted)
    return list(found.values())


@dataclass
class Running:
    """A step that runs."""

    step: Step
    process: subprocess.Popen[bytes]
    printed: IO[bytes]  # its standard output
    log: Path | None  # its standard error, if it does not go to the terminal
    began: float = field(default_factory=time.monotonic)

    def stop(self) -> None:
        """Interrupt the command as Ctrl-C does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def wait(self) -> None:
        """Wait until the stopped command has ended. Kill it if that takes too long."""
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Runner:
    """Runs steps, and saves the command and the output of each in steps.json of `out`."""

    def __init__(self, out: Path, data: str, *, jobs: int = 1, logs: bool = False) -> None:
        self.out, self.data, self.jobs = out, data, jobs
        self.logs = logs or jobs > 1
        self.kept: dict[str, Record] = read_json(out / STEPS) if (out / STEPS).exists() else {}
        self.running: list[Running] = []
        self.failed: dict[str, str] = {}  # name -> what happened

    def run(
        self, steps: Sequence[Step], *, wanted: Iterable[str] = (), until: Callable[[], bool] = lambda: False
    ) -> list[Step]:
        """Run the steps that are not done, in order, until `until` returns True. Return those that are left.

        wanted: the steps whose results must be there, not only the steps that need to run.
        """
        current = digests(steps, self.data)
        waiting = steps_to_run(steps, wanted, self.kept, current, self.out)
        due = {step.name for step in waiting}
        left: list[Step] = []
        try:
            while (waiting or self.running) and not until():
                if waiting and len(self.running) < self.jobs and due.isdisjoint(waiting[0].needs):
                    self._begin(waiting.pop(0), current)
                elif waiting and not self.failed.keys().isdisjoint(waiting[0].needs):
                    self.failed[waiting[0].name] = "was left out"
                    left.append(waiting.pop(0))
                else:
                    time.sleep(0.05)
                due -= {running.step.name for running in self._ended()}
        finally:
            for running in self.running:
                running.stop()
            for running in self.running:
                running.wait()
            stopped = [running.step for running in self.running]
            ended = self._ended(stopping=True)
        done = {running.step.name for running in ended}
        return [*(step for step in stopped if step.name not in done), *left, *waiting]

    def _begin(self, step: Step, current: Mapping[str, str]) -> None:
        made = {name: str(self.out / record["result"]) for name, record in self.kept.items() if record.get("result")}
        words = command_line(step, made, current[step.name], data=self.data, out=self.out)
        record = self.kept.get(step.name, {})
        if "printed" in record or record.get("digest") != current[step.name]:
            record = {"digest": current[step.name], "before": [run.name for run in (self.out / step.name).glob("*")]}
        record["command"] = shlex.join(words)
        self.kept[step.name] = record
        write_json(self.out / STEPS, self.kept)
        if words[0] == "train" and (stopped := unfinished(self.out / step.name, before=record["before"])):
            device = re.findall(r"--device \S+", step.command)
            words = ["train", "--resume", str(stopped), "--data", self.data, *" ".join(device).split()]
        if words[0] == "ensemble":
            shutil.rmtree(words[-1], ignore_errors=True)  # left by the same command, which was stopped
        print(f"== {step.name}: emotify {shlex.join(words)}", flush=True)
        log = None
        if self.logs:
            log = self.out / "logs" / f"{step.name}.log"
            log.parent.mkdir(exist_ok=True)
        with log.open("ab") if log else contextlib.nullcontext() as errors:
            printed = tempfile.TemporaryFile()  # noqa: SIM115 - read when the command has ended
            process = subprocess.Popen(
                [sys.executable, "-m", "emotify", *words], stdout=printed, stderr=errors, process_group=0
            )  # a group of its own, so that a Ctrl-C reaches it once, by `stop`
        self.running.append(Running(step, process, printed, log))

    def _ended(self, *, stopping: bool = False) -> list[Running]:
        """Save the output of the commands that have ended, and return those that ended without an error."""
        good = []
        for running in [running for running in self.running if running.process.poll() is not None]:
            self.running.remove(running)
            running.printed.seek(0)
            printed = running.printed.read().decode().strip()
            running.printed.close()
            if running.process.returncode == 0:
                self._save(running, printed)
                good.append(running)
            elif not stopping:
                self._fail(running)
        return good

    def _save(self, running: Running, printed: str) -> None:
        record = self.kept[running.step.name]
        record |= {"printed": printed, "seconds": round(time.monotonic() - running.began, 1)}
        if not running.step.command.startswith("evaluate"):
            record["result"] = os.path.relpath(printed.rpartition("\n")[2], self.out)
        write_json(self.out / STEPS, self.kept)

    def _fail(self, running: Running) -> None:
        name, code = running.step.name, running.process.returncode
        self.failed[name] = f"ended with {code}"
        print(f"{name} ended with {code}", flush=True)
        if running.log is not None:
            print("\n".join(running.log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]), flush=True)


def summary(steps: Sequence[Step], left: Sequence[Step], failed: Mapping[str, str], out: Path) -> str:
    """Return one line: how many steps are done, which failed, and which come next."""
    done = len(steps) - len(left) - sum(text != "was left out" for text in failed.values())
    text = f"{done} of {len(steps)} steps are done"
    if failed:
        text += "; " + ", ".join(f"{name} {reason}" for name, reason in failed.items())
    coming = [step.name for step in left if step.name not in failed]
    if coming:
        more = f" and {len(coming) - 3} more" if len(coming) > 3 else ""
        text += f"; next: {', '.join(coming[:3])}{more}"
    if failed or coming:
        return f"{text}; run the same command again to continue"
    return f"{text}; the output of each step is in {out / STEPS}"


def read_command_line() -> tuple[argparse.Namespace, list[Step]]:
    """Return the options, with what was packed as `unpack`, and the chosen steps with their changed commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", choices=PLANS)
    parser.add_argument("steps", nargs="*", metavar="STEP")
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, default=Path("plan"))
    parser.add_argument("--epochs", type=int, help="of each training")
    parser.add_argument("--device", default="", help="in place of the devices that the plan names")
    parser.add_argument("--train", default="", metavar="WORDS", help="options that are added to each training")
    parser.add_argument("--jobs", type=int, default=1, help="steps that run at the same time; default: 1")
    parser.add_argument("--minutes", type=float, help="stop after this time")
    parser.add_argument("--pack", type=Path, metavar="FOLDER", help="write what is finished into a few files")
    parser.add_argument("--unpack", type=Path, nargs="+", default=[], metavar="FOLDER", help="packed, oldest first")
    parser.add_argument("--dry", action="store_true", help="print the commands")
    options = parser.parse_args()
    plans = all_steps()
    names = [step.name for step in plans[options.plan]]
    if unknown := [name for name in options.steps if name not in names]:
        parser.error(f"{options.plan} has no step {unknown[0]!r}; it has {', '.join(names)}")
    if options.pack and options.pack.exists() and any(options.pack.iterdir()):
        parser.error(f"--pack {options.pack} is not empty; name a new folder")
    if options.pack and options.pack.resolve().is_relative_to(options.out.resolve()):
        parser.error(f"--pack {options.pack} is inside --out {options.out}; name a folder outside it")
    if not (options.out / STEPS).exists():
        try:
            options.unpack = [read_packed(folder) for folder in options.unpack]
        except InputError as error:
            parser.error(f"--unpack {error}")
    changes = Changes(options.epochs, options.device, options.train)
    return options, [changes.apply(step) for step in choose_steps(plans, options.steps or names)]


def main() -> None:
    """Run a plan."""
    began = time.monotonic()
    options, steps = read_command_line()
    if options.dry:
        print("\n".join(f"{step.name}: emotify {step.command}" for step in steps))
        return
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):  # an exception could arise anywhere, also while Popen holds a lock
        signal.signal(number, lambda number, _: signals.append(number))
    options.out.mkdir(parents=True, exist_ok=True)
    if options.unpack and (options.out / STEPS).exists():
        print(f"{options.out} has a {STEPS} already, so nothing was unpacked")
    elif options.unpack:
        unpack(options.unpack, options.out)
    runner = Runner(options.out, options.data, jobs=options.jobs, logs=options.pack is not None)

    def is_over() -> bool:
        return bool(signals) or (options.minutes is not None and time.monotonic() - began > 60 * options.minutes)

    try:
        left = runner.run(steps, wanted=options.steps, until=is_over)
    finally:
        if options.pack:
            pack(options.pack, options.out, runner.kept)
    if signals:
        print("stopped; run the same command again to continue", file=sys.stderr)
        sys.exit(130)
    text = summary(steps, left, runner.failed, options.out)
    if runner.failed:
        sys.exit(text)
    print(text)


if __name__ == "__main__":
    main()
