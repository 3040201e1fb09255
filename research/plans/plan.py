"""Train everything that research/log.md tells of, with the commands of emotify, in order.

python research/plans/plan.py study|shipped|tried|gpu [STEP ...] --data fer2013.csv [--out plan] [--epochs N] [--dry]

A plan is a text file beside this one: named steps, one command each. `study` asks when an ensemble helps, `shipped`
makes the models inside the package, `tried` has what does not ship, and `gpu` is for a GPU. With names of steps only
these are done. What a step needs, also of another plan, is done before it.

A plan can be stopped and started again at any time. What a step printed is kept in OUT/steps.json; a step whose command
is still the same is not done again, and a training that was interrupted continues. --epochs replaces every number of
epochs, to try a plan; --dry prints the commands.
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
SEEDS = ("0", "1", "2")  # a step with SEED in its name is done for each
_NAME = re.compile(r"{([^}]+)}")


@dataclass(frozen=True)
class Step:
    """One command; {name} in it stands for what the step of that name made."""

    name: str
    command: str

    @property
    def needs(self) -> list[str]:
        """The names of the steps whose results the command takes."""
        return _NAME.findall(self.command)


def read_plan(text: str) -> Iterator[Step]:
    """Yield the steps of a plan: `name:` at the margin, its command indented below, # before a remark."""
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
    """Return the steps of these names and all that they need, in order. Raises KeyError for an unknown name."""
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
    """Return the words of a step's command, names replaced by what was made."""
    words = [_NAME.sub(lambda name: made[name[1]], word) for word in shlex.split(step.command)]
    words += ["--data", data]
    if words[0] == "train":
        words += ["--out", str(out / step.name)]
        words += ["--epochs", str(epochs)] if epochs else []
    if words[0] in ("ensemble", "export"):
        # Named by what is in it: what is made of other members is another file, and so are its scores.
        digest = hashlib.sha256(shlex.join(words).encode()).hexdigest()
        words += ["--out", str(out / f"{step.name}-{digest[:4]}{'.onnx' if words[0] == 'export' else ''}")]
    return words


def unfinished(folder: Path, *, before: list[str]) -> Path | None:
    """Return the run in `folder` that can be gone on with, but for those of `before`, which other commands began."""
    for record in sorted(folder.glob("*/run.json")):
        run = record.parent
        finished = read_json(record)["status"] == "finished"
        if run.name not in before and not finished and (run / "state.safetensors").exists():
            return run
    return None


def printed_by(words: list[str]) -> tuple[str, int]:
    """Run a command of emotify; return what it printed and its exit code."""
    with subprocess.Popen([sys.executable, "-m", "emotify", *words], stdout=subprocess.PIPE, text=True) as process:
        try:
            printed, _ = process.communicate()
        except KeyboardInterrupt:
            process.wait()  # it had the Ctrl-C too, and keeps what is trained before it ends
            raise
    return printed, process.returncode


def run(steps: Sequence[Step], out: Path, *, data: str, epochs: int | None) -> None:
    """Run the steps that are not done, keeping in steps.json of `out` what each was and printed."""
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
                shutil.rmtree(words[-1], ignore_errors=True)  # of the same command, which was stopped
            write_json(path, kept)
            print(f"== {step.name}: emotify {shlex.join(words)}", flush=True)
            printed, code = printed_by(words)
            if code:
                sys.exit(f"{step.name} ended with {code}; the same command goes on from there")
            kept[step.name]["printed"] = printed.strip()
            write_json(path, kept)
        made[step.name] = kept[step.name]["printed"].rpartition("\n")[2]
    print(f"done; what each step printed is in {path}")


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
