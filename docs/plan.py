"""Train everything that docs/results.md speaks of, with the commands of emotify, in order; stopped and started at will.

python docs/plan.py study|settings|choices|cpu|gpu|crowd --data fer2013.csv [--out plan] [--epochs N] [--dry]

Each step is one command. What it printed is kept in OUT/PLAN/steps.json, and a step whose command is still the same is
not done again; a training that was interrupted goes on. `study` asks when an ensemble helps; `settings` what a short
training owes to each of its settings; `choices` what students owe to what; `cpu` and `gpu` train what ships;
`crowd` gives it a second head. --epochs replaces every length, to try a plan; --dry prints the commands.
"""

from __future__ import annotations

import argparse
import hashlib
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotify.files import read_json, write_json


@dataclass(frozen=True)
class Step:
    """One command; {name} in it stands for what the step of that name made."""

    name: str
    command: str


def study() -> list[Step]:
    """Three seeds each of fnn, cnn and augmented cnn, and their ensembles."""
    kinds = {
        "fnn": "train --model fnn --epochs 20",
        "cnn": "train --model cnn --epochs 12",
        "cnn-augmented": "train --model cnn --augment --epochs 30",
    }
    steps = [Step(f"{kind}-{seed}", f"{words} --seed {seed}") for kind, words in kinds.items() for seed in range(3)]
    members = {
        "fnn": ["fnn"],
        "plain": ["cnn"],
        "augmented": ["cnn-augmented"],
        "plain+augmented": ["cnn", "cnn-augmented"],
        "all": list(kinds),
    }
    for name, of in members.items():
        runs = " ".join(f"{{{kind}-{seed}}}" for kind in of for seed in range(3))
        steps.append(Step(f"ensemble-{name}", f"ensemble {runs}"))
    every = " ".join(f"{{{step.name}}}" for step in steps)
    return [*steps, Step("scores", f"evaluate {every} --json")]


def settings() -> list[Step]:
    """What a short training owes to each of its settings: three seeds of each with one thing changed."""
    changes = {
        "short": "--epochs 6",
        "mixup": "--epochs 6 --mixup 0.3",
        "drop-path": "--epochs 6 --drop-path 0.1",
        "linear": "--epochs 6 --schedule linear",
        "no-smoothing": "--epochs 6 --label-smoothing 0",
        "no-average": "--epochs 6 --ema-decay 0",
        "no-growth": "--epochs 6 --no-grow",
        "muon": "--epochs 6 --optimizer muon",
        "longer": "--epochs 12",
        "longer-muon": "--epochs 12 --optimizer muon",
        "muon-less-decay": "--epochs 6 --optimizer muon --weight-decay 0.0001",
        "muon-more-decay": "--epochs 6 --optimizer muon --weight-decay 0.002",
        "muon-batch-64": "--epochs 6 --optimizer muon --batch-size 64",
        "muon-batch-256": "--epochs 6 --optimizer muon --batch-size 256",
    }
    steps = [
        Step(f"{name}-{seed}", f"train --model small --augment --strength 0.5 {words} --seed {seed}")
        for seed in range(3)
        for name, words in changes.items()
    ]
    return [*steps, Step("scores", f"evaluate {' '.join(f'{{{step.name}}}' for step in steps)} --json")]


def teachers() -> list[Step]:
    """Three seeds of the cnn, and their ensemble."""
    steps = [Step(f"cnn-{seed}", f"train --augment --model cnn --epochs 30 --seed {seed}") for seed in range(3)]
    return [*steps, Step("teacher", "ensemble {cnn-0} {cnn-1} {cnn-2}")]


STUDENT = "train --augment --no-grow --warmup 0.05 --label-smoothing 0"


def choices() -> list[Step]:
    """What a student owes to its teacher, to half the augmentation, and to more epochs alone."""
    more = "train --augment --no-grow --warmup 0.05 --learning-rate 0.06 --epochs 9 --seed 12 --start-from {cnn-0}"
    taught = "--distill {teacher} --label-smoothing 0"
    kinds = {"more": "", "half": "--strength 0.5", "taught": taught, "taught-half": f"{taught} --strength 0.5"}
    steps = [*teachers(), *(Step(kind, f"{more} {words}") for kind, words in kinds.items())]
    runs = " ".join(f"{{{kind}}}" for kind in kinds)
    return [*steps, Step("scores", f"evaluate {{cnn-0}} {runs} --json")]


def cpu() -> list[Step]:
    """What a CPU trains in 33 hours: three seeds, twelve rounds of students, of which two ship; one untaught."""
    first = f"{STUDENT} --learning-rate 0.06 --strength 0.5 --distill {{teacher}}"
    second, equalised = f"{STUDENT} --learning-rate 0.08", f"{STUDENT} --learning-rate 0.08 --model cnn-eq"
    taught = "train --augment --optimizer muon --label-smoothing 0"
    third = f"{taught} --distill {{pair-2}}"
    further = f"{STUDENT} --optimizer muon --learning-rate 0.06"
    fourth = f"{further} --distill {{pair-3}}"
    fifth = f"{taught} --lr 0.06 --warmup 0.05 --distill {{two}}"
    sixth = f"{taught} --warmup 0.1 --strength 0.75 --model whitened-44 --distill"
    last = f"{further} --distill {{model}} --start-from"
    wider = f"{further} --model whitened-44 --strength 0.6"
    ends = f"{last} {{mean}} --model whitened-44 --strength"
    meaning = "train --model whitened-44 --epochs 0 --seed 112 --start-from"
    steps = [
        *teachers(),
        Step("student", f"{first} --start-from {{cnn-1}} --epochs 18 --seed 11"),
        Step("other", f"{first} --start-from {{cnn-0}} --epochs 9 --seed 12"),
        Step("students", "ensemble {student} {other} --method weighted"),
        Step("raw", f"{second} --distill {{students}} --start-from {{student}} --strength 0.6 --epochs 32 --seed 21"),
        Step("eq", f"{equalised} --distill {{students}} --start-from {{cnn-2}} --strength 0.5 --epochs 20 --seed 22"),
        Step("pair", "ensemble {raw} {eq}"),
        Step("eq-2", f"{equalised} --distill {{pair}} --start-from {{eq}} --strength 0.6 --epochs 22 --seed 23"),
        Step("pair-2", "ensemble {raw} {eq-2} --method weighted"),
        Step(
            "raw-2",
            f"{third} --no-grow --start-from {{raw}} --lr 0.06 --warmup 0.05 --strength 0.6 --epochs 44 --seed 31",
        ),
        Step("fresh", f"{third} --warmup 0.1 --strength 0.75 --epochs 48 --seed 32"),
        Step("pair-3", "ensemble {raw-2} {fresh}"),
        Step("fresh-2", f"{fourth} --start-from {{fresh}} --strength 0.6 --epochs 46 --seed 41"),
        Step("untaught", "train --recipe standard --seed 42"),
        Step("pair-4", "ensemble {fresh-2} {raw-2} --method weighted"),
        Step("with-untaught", "ensemble {fresh-2} {raw-2} {untaught}"),
        Step("two", "export {pair-4} --precision int8 --force"),
        # The fifth round, which helped nothing.
        Step("fresh-3", f"{fifth} --start-from {{fresh-2}} --strength 0.6 --epochs 39 --seed 51"),
        Step("deep", f"{fifth} --model deep --start-from {{raw-2}} --strength 0.7 --epochs 28 --seed 52"),
        Step("four", "ensemble {fresh-3} {deep} {fresh-2} {raw-2} --method weighted"),
        # A wider network, which helped.
        Step("wide", f"{sixth} {{two}} --epochs 33 --seed 61"),
        Step("three", "ensemble {wide} {fresh-2} {raw-2} --method weighted"),
        Step("pair-5", "ensemble {wide} {fresh-2}"),
        Step("five", "export {pair-5} --precision int8 --force"),
        Step("wide-2", f"{wider} --distill {{five}} --start-from {{wide}} --epochs 21 --seed 71"),
        Step("three-2", "ensemble {wide-2} {wide} {fresh-2} --method weighted"),
        Step("pair-6", "ensemble {wide-2} {fresh-2}"),
        Step("six", "export {pair-6} --precision int8 --force"),
        Step("wide-3", f"{wider} --distill {{six}} --start-from {{wide-2}} --epochs 17 --seed 81"),
        Step("mean", "train --model whitened-44 --start-from {wide-2},{wide-3} --epochs 0 --seed 81"),
        Step("shipped", "ensemble {mean} {fresh-2}"),
        *exports("shipped", "fresh-2", views=""),
        # What the default taught, which helped nothing.
        Step("fresh-4", f"{last} {{fresh-2}} --strength 0.6 --epochs 50 --seed 91"),
        Step("pair-7", "ensemble {mean} {fresh-4}"),
        Step("three-3", "ensemble {mean} {fresh-2} {fresh-4}"),
        Step("mixed", f"{last} {{fresh-2}} --lr 0.03 --mixup 0.4 --epochs 5 --seed 92"),
        # The teacher alone, on images unlike those it was trained on, which helped nothing either.
        Step("matched", f"{last} {{fresh-2}} --distill-weight 1 --mixup 0.4 --epochs 36 --seed 95"),
        Step("calmed", f"{last} {{matched}} --lr 0.03 --strength 0.6 --epochs 9 --seed 96"),
        Step("matched-mean", "train --start-from {fresh-2},{matched} --epochs 0 --seed 95"),
        Step("pair-8", "ensemble {mean} {matched}"),
        Step("three-4", "ensemble {mean} {fresh-2} {matched}"),
        # Another beginning, which errs as those that ship.
        Step("wide-4", f"{sixth} {{model}} --epochs 27 --seed 101"),
        Step("three-5", "ensemble {mean} {fresh-2} {wide-4}"),
        # More ends, the mean of which is as good as that of two.
        Step("end-1", f"{ends} 0.6 --epochs 8 --seed 111"),
        Step("end-2", f"{ends} 0.8 --epochs 7 --seed 112"),
        Step("four-ends", f"{meaning} {{wide-2}},{{wide-3}},{{end-1}},{{end-2}}"),
        Step("mean-and-ends", f"{meaning} {{mean}},{{end-1}},{{end-2}}"),
        Step("mean-and-end-2", f"{meaning} {{mean}},{{end-2}}"),
        Step("pair-9", "ensemble {four-ends} {fresh-2}"),
    ]
    made = [step.name for step in steps if not step.command.startswith("evaluate")]
    return [*steps, Step("scores", f"evaluate {' '.join(f'{{{name}}}' for name in made)} --json")]


def gpu() -> list[Step]:
    """What a GPU trains in a quarter of an hour: dissimilar members, and networks that learn from all of them.

    The networks inside the package are among the members, as runs: their files would answer on the CPU.
    """
    train = "train --recipe best --device cuda"
    inside = "train --device cuda --epochs 0 --start-from"
    learn = f"{train} --compile off --label-smoothing 0 --mixup 0 --distill {{ensemble}}"
    kinds = ("whitened-44", "vgg", "resnet18-eq")
    members = [Step(kind, f"{train} --model {kind} --seed {seed}") for seed, kind in enumerate(kinds)]
    members += [
        Step("default-44", f"{inside} default --model whitened-44"),
        Step("fast-cnn", f"{inside} fast --model cnn"),
    ]
    runs = " ".join(f"{{{step.name}}}" for step in members)
    steps = [
        *members,
        Step("ensemble", f"ensemble {runs} --method weighted --device cuda"),
        Step("student", f"{learn} --model whitened-44 --epochs 90 --seed 100"),
        Step("cnn-student", f"{learn} --model cnn --epochs 90 --lr 0.1 --start-from {{fast-cnn}} --seed 101"),
        # Four of these are the most that 16 MB hold in int8.
        Step("shipped", "ensemble {student} {cnn-student} {whitened-44} {default-44} --method weighted --device cuda"),
        Step("all", f"ensemble {runs} {{student}} {{cnn-student}} --method weighted --device cuda"),
    ]
    every = " ".join(f"{{{step.name}}}" for step in steps)
    quick = f"{train} --model whitened-44 --epochs 30 --mixup 0 --drop-path 0 --strength 0.5 --seed 102"
    return [
        *steps,
        Step("scores", f"evaluate {every} --device cuda --json"),
        Step("views", "evaluate {student} --views ten --device cuda --json"),
        # The time to an accuracy.
        Step("quick", quick),
        # What else may fail, last: a machine without a compiler, and files that lose too much in 8 bits.
        *exports("shipped", "cnn-student", views="--views mirror"),
        Step("quick-compiled", f"{quick} --compile on"),
    ]


def exports(ensemble: str, run: str, *, views: str) -> list[Step]:
    """Make the two files of what ships, the ensemble's with these views, and score them."""
    return [
        Step("model", f"export {{{ensemble}}} {views} --precision int8 --force"),
        Step("fast", f"export {{{run}}} --precision int8 --force"),
        Step("files", "evaluate {model} {fast} --json"),
    ]


def crowd() -> list[Step]:
    """Give the networks inside the package a crowd head in two hours on a CPU; FER+'s votes lie beside the data."""
    train = "train --augment --no-grow --warmup 0.1 --label-smoothing 0 --optimizer muon --distill default"
    photographs = "--strength 0.6 --rotation 30 --low-resolution 0.3 --blur 0.15 --jpeg 0.2"
    both = f"{train} --crowd-weight 0.5 {photographs}"
    return [
        Step("crowd-cnn", f"{both} --model cnn --start-from fast --lr 0.02 --epochs 12 --seed 201"),
        Step("crowd-wide", f"{both} --model whitened-44 --start-from default --lr 0.03 --epochs 8 --seed 202"),
        Step("shipped", "ensemble {crowd-wide} {crowd-cnn}"),
        *exports("shipped", "crowd-cnn", views=""),
    ]


PLANS = {plan.__name__: plan for plan in (study, settings, choices, cpu, gpu, crowd)}


def command_line(step: Step, made: dict[str, str], *, data: str, out: Path, epochs: int | None) -> list[str]:
    """Return the words of a step's command, names replaced by what was made."""
    words = [word.format_map(made) for word in shlex.split(step.command)]
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


def run(steps: list[Step], out: Path, *, data: str, epochs: int | None) -> None:
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
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, default=Path("plan"))
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--dry", action="store_true")
    options = parser.parse_args()
    steps = PLANS[options.plan]()
    if options.dry:
        print("\n".join(f"{step.name}: emotify {step.command}" for step in steps))
        return
    folder = options.out / options.plan
    folder.mkdir(parents=True, exist_ok=True)
    run(steps, folder, data=options.data, epochs=options.epochs)


if __name__ == "__main__":
    main()
