"""Run the trainings of research/log.md in order, with the commands of emotify.

python research/plans/plan.py study|shipped|tried|gpu [STEP ...] --data fer2013.csv [--out plan] [--epochs N] [--dry]

A plan is a text file beside this one with named steps, one command each. `study` measures when an ensemble helps,
`shipped` makes the built-in models, `tried` has experiments that do not ship, and `gpu` is for a GPU. With names of
steps, only these steps run. The steps that they need run first, also those of another plan.

A plan can be stopped and started again at any time. The output of each step is saved in OUT/steps.json. A finished step
with an unchanged command does not run again, and an interrupted training resumes. --epochs replaces all numbers of
epochs, for a trial of a plan. --dry prints the commands.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotify.files import read_json, write_json

PLANS = ("shipped", "study", "tried", "gpu")  # a step needs only steps before it, in this order
SEEDS = ("0", "1", "2")  # a step with SEED in its name runs once for each
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


def read_plan(text: str) -> Iterator[Step]:
    """Yield the steps of a plan: `name:` without indentation, its command indented below, comments after #."""
    for block in re.findall(r"^[^\s#].*(?:\n[ \t]+.*)*", text, re.MULTILINE):
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


def command_line(step: Step, made: dict[str, str], *, data: str, out: Path, epochs: int | None) -> list[str]:
    """Return the words of a step's command, with names replaced by the results in `made`."""
    words = [_NAME.sub(lambda name: made[name[1]], word) for word in shlex.split(step.command)]
    words += ["--data", data]
    if words[0] == "train":
        words += ["--out", str(out / step.name)]
        words += ["--epochs", str(epochs)] if epochs else []
    if words[0] in ("ensemble", "export"):
        # The name has a digest of the command, so that other members give another file and other scores.
        digest = hashlib.sha256(shlex.join(words).encode()).hexdigest()
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


def printed_by(words: list[str]) -> tuple[str, int]:
    """Run a command of emotify. Return its standard output and its exit code."""
    with subprocess.Popen([sys.executable, "-m", "emotify", *words], stdout=subprocess.PIPE, text=True) as process:
        try:
            printed, _ = process.communicate()
        except KeyboardInterrupt:
            process.wait()  # it also got the Ctrl-C, and saves its state before it ends
            raise
    return printed, process.returncode


def run(steps: Sequence[Step], out: Path, *, data: str, epochs: int | None) -> None:
    """Run the unfinished steps. Save the command and the output of each step in steps.json of `out`."""
    path = out / "steps.json"
    kept: dict[str, dict[str, Any]] = read_json(path) if path.exists() else {}
    made: dict[str, str] = {}
    for step in steps:
        words = command_line(step, made, data=data, out=out, epochs=epochs)
        command = shlex.join(words)
        same = kept.get(step.name, {}).get("command") == command
        if not (same and "printed" in kept[step.name]):
            if not same:
                kept[step.name] = {"command": command, "before": [run.name for run in (out / step.name).glob("*")]}
            if words[0] == "train" and (
                stopped := unfinished(out / step.name, before=kept[step.name].get("before", []))
            ):
                words = ["train", "--resume", str(stopped), "--data", data]
            if words[0] == "ensemble":
                shutil.rmtree(words[-1], ignore_errors=True)  # left by the same command, which was stopped
            write_json(path, kept)
            print(f"== {step.name}: emotify {shlex.join(words)}", flush=True)
            printed, code = printed_by(words)
            if code:
                sys.exit(f"{step.name} ended with {code}; run the same command again to continue from this step")
            kept[step.name]["printed"] = printed.strip()
            write_json(path, kept)
        made[step.name] = kept[step.name]["printed"].rpartition("\n")[2]
    print(f"done; the output of each step is in {path}")


def main() -> None:
    """Run a plan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", choices=PLANS)
    parser.add_argument("steps", nargs="*", metavar="STEP")
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, default=Path("plan"))
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--dry", action="store_true")
    options = parser.parse_args()
    plans = all_steps()
    names = [step.name for step in plans[options.plan]]
    if unknown := [name for name in options.steps if name not in names]:
        parser.error(f"{options.plan} has no step {unknown[0]!r}; it has {', '.join(names)}")
    steps = choose_steps(plans, options.steps or names)
    if options.dry:
        print("\n".join(f"{step.name}: emotify {step.command}" for step in steps))
        return
    options.out.mkdir(parents=True, exist_ok=True)
    run(steps, options.out, data=options.data, epochs=options.epochs)


if __name__ == "__main__":
    main()
