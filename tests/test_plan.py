"""The plans of docs/plan.py: commands that emotify has, in an order that works, and that can be stopped."""

from __future__ import annotations

import importlib.util
import json
import shlex
import sys
from pathlib import Path

import pytest
import typer

from emotify.cli import app

SCRIPT = Path(__file__).parents[1] / "docs" / "plan.py"


@pytest.fixture(scope="module")
def plan():
    spec = importlib.util.spec_from_file_location("plan", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["plan"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["study", "choices", "cpu", "gpu"])
def test_every_step_is_a_command_that_there_is(name, plan, tmp_path):
    """Names are used after they were made, and the parser of emotify takes every word."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    made: dict[str, str] = {}
    for step in getattr(plan, name)():
        words = plan.command_line(step, made, data="synthetic", out=tmp_path, epochs=1)[3:]
        commands[words[0]].make_parser(typer.Context(commands[words[0]])).parse_args(list(words[1:]))
        made[step.name] = str(tmp_path / step.name)


def test_what_is_done_is_not_done_again(plan, tiny_csv, tmp_path):
    """A plan that was stopped goes on with the step that is not in its file."""
    steps = [plan.Step("one", "train --model fnn --batch-size 64"), plan.Step("two", "evaluate {one} --json")]
    path = tmp_path / "plan.json"
    plan.run(steps[:1], path, data=str(tiny_csv), out=tmp_path, epochs=1)
    (run,) = (tmp_path / "runs").iterdir()
    plan.run(steps, path, data=str(tiny_csv), out=tmp_path, epochs=1)
    printed = json.loads(path.read_text())
    assert printed["one"] == str(run)
    assert list((tmp_path / "runs").iterdir()) == [run]
    assert json.loads(printed["two"])["results"][0]["model"] == run.name
    assert shlex.split(steps[1].command)[0] == "evaluate"
