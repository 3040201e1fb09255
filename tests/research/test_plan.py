"""The plans in research/plans: valid commands of emotify, in a working order, that can be stopped and resumed."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from emotify.cli import app
from emotify.data import read_dataset
from emotify.runs import read_run
from emotify.training.config import TrainConfig
from emotify.training.run_folder import new_run

SCRIPT = Path(__file__).parents[2] / "research" / "plans" / "plan.py"


@pytest.fixture(scope="module")
def plan():
    spec = importlib.util.spec_from_file_location("plan", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["plan"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["study", "shipped", "tried", "gpu"])
def test_every_step_is_a_valid_command(name, plan, tmp_path):
    """Results are used after the step that makes them, and emotify's parser accepts every word."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    made: dict[str, str] = {}
    plans = plan.all_steps()
    for step in plan.choose_steps(plans, [step.name for step in plans[name]]):
        words = plan.command_line(step, made, data="synthetic", out=tmp_path, epochs=1)
        command = commands[words[0]].loaded
        command.make_parser(typer.Context(command)).parse_args(list(words[1:]))
        made[step.name] = str(tmp_path / step.name)


def test_names_of_steps_are_unique(plan):
    """All plans share a folder, in which a step is known by its name."""
    names = [step.name for steps in plan.all_steps().values() for step in steps]
    assert len(set(names)) == len(names)


def test_the_format_of_plans_is_parsed(plan):
    """Comments are skipped, a command can have several lines, and SEED expands to three seeds."""
    text = (
        "# Why.\nfnn-SEED:\n    train --model fnn\n    --seed SEED\n\n# Then.\nall:\n    ensemble {fnn-SEED} --json\n"
    )
    assert [(step.name, step.command) for step in plan.read_plan(text)] == [
        ("fnn-0", "train --model fnn --seed 0"),
        ("fnn-1", "train --model fnn --seed 1"),
        ("fnn-2", "train --model fnn --seed 2"),
        ("all", "ensemble {fnn-0} {fnn-1} {fnn-2} --json"),
    ]


def test_choosing_a_step_adds_only_the_steps_that_it_needs(plan):
    """They can be in another plan, and come in a working order."""
    one, two, three, four = (
        plan.Step("one", "train"),
        plan.Step("two", "train --start-from {one}"),
        plan.Step("three", "train"),
        plan.Step("four", "ensemble {two} {one}"),
    )
    assert plan.choose_steps({"shipped": [one, two, three], "tried": [four]}, ["four"]) == [one, two, four]


def test_an_unknown_step_is_a_usage_error():
    """The message names the known steps."""
    command = [sys.executable, str(SCRIPT), "study", "cnn-7", "--data", "synthetic", "--dry"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "study has no step 'cnn-7'; it has fnn-0, fnn-1" in done.stderr


def runs(folder):
    return sorted(path.parent for path in folder.glob("*/run.json"))


def test_finished_steps_are_not_repeated(plan, tiny_csv, tmp_path):
    """A stopped plan continues with the first step not in its file, and repeats a step with a changed command."""
    steps = [plan.Step("one", "train --model fnn --batch-size 64"), plan.Step("two", "evaluate {one} --json")]
    plan.run(steps[:1], tmp_path, data=str(tiny_csv), epochs=1)
    (run,) = runs(tmp_path / "one")
    plan.run(steps, tmp_path, data=str(tiny_csv), epochs=1)
    kept = json.loads((tmp_path / "steps.json").read_text())
    assert kept["one"]["printed"] == str(run)
    assert runs(tmp_path / "one") == [run]
    assert json.loads(kept["two"]["printed"])["results"][0]["model"] == run.name
    plan.run(steps[:1], tmp_path, data=str(tiny_csv), epochs=2)
    assert len(runs(tmp_path / "one")) == 2


def test_a_step_that_fails_is_named(plan, tiny_csv, tmp_path):
    """The earlier steps stay done."""
    steps = [
        plan.Step("one", "train --model fnn --batch-size 64"),
        plan.Step("gate", "evaluate {one} --min-accuracy 1"),
    ]
    with pytest.raises(SystemExit, match="gate ended with 7"):
        plan.run(steps, tmp_path, data=str(tiny_csv), epochs=1)
    kept = json.loads((tmp_path / "steps.json").read_text())
    assert "printed" in kept["one"]
    assert "printed" not in kept["gate"]


def test_the_file_of_steps_is_never_half_written(plan, tmp_path):
    """A new file replaces the old one, so a reader that has the old one open still reads all of it."""
    path = tmp_path / "steps.json"
    path.write_text("{}")
    with path.open() as before:
        with pytest.raises(SystemExit, match="one ended with 5"):
            plan.run([plan.Step("one", "evaluate nowhere")], tmp_path, data="synthetic", epochs=1)
        assert before.read() == "{}"
    assert "evaluate nowhere" in json.loads(path.read_text())["one"]["command"]


# In place of emotify: a command that a Ctrl-C ends in its own time.
SLOW = """
import signal, sys, time
from pathlib import Path

def keep(*_):
    time.sleep(1)
    Path("kept").touch()
    sys.exit(130)

signal.signal(signal.SIGINT, keep)
print("begun", file=sys.stderr, flush=True)
time.sleep(60)
"""


def test_ctrl_c_lets_the_training_save_its_state(tmp_path):
    """The plan ends after its command, however long saving takes."""
    (tmp_path / "emotify").mkdir()
    (tmp_path / "emotify" / "__init__.py").touch()
    (tmp_path / "emotify" / "__main__.py").write_text(SLOW)
    command = [sys.executable, str(SCRIPT), "study", "--data", "synthetic", "--out", "plan"]
    with subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "begun\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) != 0
        assert (tmp_path / "kept").exists()
    assert "printed" not in json.loads((tmp_path / "plan" / "steps.json").read_text())["fnn-0"]


def test_a_stopped_training_is_resumed(plan, tiny_csv, tmp_path):
    """The run of this step is resumed, not a run of another command."""
    step = plan.Step("one", "train --model fnn --batch-size 64")
    folders = []
    for epochs in (2, 3):
        config = TrainConfig(model="fnn", batch_size=64, epochs=epochs, device="cpu", threads=1)
        with new_run(config, read_dataset(str(tiny_csv)), out=tmp_path / "one") as training:
            next(training.run())
            training.save_state()
        folders.append(training.folder)
    command = shlex.join(plan.command_line(step, {}, data=str(tiny_csv), out=tmp_path, epochs=3))
    (tmp_path / "steps.json").write_text(json.dumps({"one": {"command": command, "before": [folders[0].name]}}))
    plan.run([step], tmp_path, data=str(tiny_csv), epochs=3)
    assert runs(tmp_path / "one") == sorted(folders)
    assert [read_run(folder).finished for folder in folders] == [False, True]


def test_a_stopped_ensemble_is_made_again(plan, tiny_csv, tmp_path):
    """Its old folder is no obstacle."""
    steps = [plan.Step("one", "train --model fnn --batch-size 64"), plan.Step("all", "ensemble {one}")]
    plan.run(steps[:1], tmp_path, data=str(tiny_csv), epochs=1)
    made = {"one": str(runs(tmp_path / "one")[0])}
    left = Path(plan.command_line(steps[1], made, data=str(tiny_csv), out=tmp_path, epochs=1)[-1])
    left.mkdir()
    plan.run(steps, tmp_path, data=str(tiny_csv), epochs=1)
    assert (left / "ensemble.json").exists()
