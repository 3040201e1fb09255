"""The plans in research/plans: valid commands of emotify, in a working order, that can be stopped and resumed."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
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
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)
        yield importlib.import_module("plan")


@pytest.mark.parametrize("name", ["study", "shipped", "tried", "gpu"])
def test_every_step_is_a_valid_command(name, plan, tmp_path):
    """Results are used after the step that makes them, and emotify's parser accepts every word."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    made: dict[str, str] = {}
    plans = plan.all_steps()
    changes = plan.Changes(epochs=1, device="cpu", train="--batch-size 64")
    for step in plan.choose_steps(plans, [step.name for step in plans[name]]):
        words = plan.command_line(changes.apply(step), made, "0123", data="synthetic", out=tmp_path)
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
        "# Why.\nfnn-SEED:  # 2 minutes\n    train --model fnn\n    --seed SEED\n\n"
        "# Then.\nall:\n    ensemble {fnn-SEED} --json\n"
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


TRAIN = "train --model fnn --batch-size 64 --epochs 1"


def test_finished_steps_are_not_repeated(plan, tiny_csv, tmp_path):
    """A stopped plan continues with the first step not in its file, and repeats a step with a changed command."""
    steps = [plan.Step("one", TRAIN), plan.Step("two", "evaluate {one} --json")]
    plan.Runner(tmp_path, str(tiny_csv)).run(steps[:1])
    (run,) = runs(tmp_path / "one")
    assert plan.Runner(tmp_path, str(tiny_csv)).run(steps) == []
    kept = json.loads((tmp_path / "steps.json").read_text())
    assert kept["one"]["printed"] == str(run)
    assert runs(tmp_path / "one") == [run]
    assert json.loads(kept["two"]["printed"])["results"][0]["model"] == run.name
    plan.Runner(tmp_path, str(tiny_csv)).run([plan.Step("one", f"{TRAIN} --seed 2"), steps[1]])
    assert len(runs(tmp_path / "one")) == 2
    again = json.loads((tmp_path / "steps.json").read_text())
    assert json.loads(again["two"]["printed"])["results"][0]["model"] == runs(tmp_path / "one")[1].name


def test_other_data_repeats_a_step(plan, tiny_csv, tmp_path):
    """Another device and another place of the same data do not."""
    step, data = plan.Step("one", f"{TRAIN} --device cpu"), tmp_path / "copy.csv"
    data.write_bytes(tiny_csv.read_bytes())
    digest = plan.digests([step], str(tiny_csv))
    assert plan.digests([plan.Changes(device="cuda").apply(step)], str(data)) == digest
    data.write_bytes(tiny_csv.read_bytes() + b"0,0,Training\n")
    assert plan.digests([step], str(data)) != digest


def test_other_votes_repeat_a_step(plan, tiny_csv, tmp_path, monkeypatch):
    """They are found as emotify finds them. Another place of the same votes does not matter."""
    monkeypatch.delenv("EMOTIFY_FERPLUS", raising=False)
    step, data, votes = plan.Step("one", TRAIN), tmp_path / "fer2013.csv", tmp_path / "fer2013new.csv"
    shutil.copy(tiny_csv, data)
    found = []
    for content in (None, "first", "second"):
        if content is not None:
            votes.write_text(content)
        found.append(plan.digests([step], str(data))["one"])
    assert len(set(found)) == 3
    monkeypatch.setenv("EMOTIFY_FERPLUS", str(votes.rename(tmp_path / "moved.csv")))
    assert plan.digests([step], str(data))["one"] == found[2]


def test_the_options_of_a_trial_change_the_commands(plan):
    """A training of no epochs stays one, and a command without a device gets none."""
    changes = plan.Changes(epochs=2, device="cpu", train="--threads 1")
    given = ("train --epochs 60 --device cuda", "train --epochs 0", "export {one}", "evaluate {one} --device cuda:1")
    assert [changes.apply(plan.Step("one", command)).command for command in given] == [
        "train --epochs 60 --device cpu --epochs 2 --threads 1",
        "train --epochs 0 --threads 1",
        "export {one}",
        "evaluate {one} --device cpu",
    ]


def test_a_step_that_fails_stops_only_what_needs_it(plan, tiny_csv, tmp_path, capfd):
    """The other steps run. The failed step is named, with its error if it has a log. It runs again next time."""
    steps = [
        plan.Step("one", TRAIN),
        plan.Step("gate", "evaluate {one} --min-accuracy 1"),
        plan.Step("bad", "train --model none"),
        plan.Step("all", "ensemble {one} {bad}"),
        plan.Step("scores", "evaluate {one} --json"),
    ]
    runner = plan.Runner(tmp_path, str(tiny_csv), logs=True)
    left = runner.run(steps)
    assert [step.name for step in left] == ["all"]
    assert plan.summary(steps, left, runner.failed, tmp_path) == (
        "2 of 5 steps are done; gate ended with 7, bad ended with 2, all was left out; "
        "run the same command again to continue"
    )
    assert "bad ended with 2\nerror: no model named 'none'" in capfd.readouterr().out
    kept = json.loads((tmp_path / "steps.json").read_text())
    assert [name for name, record in kept.items() if "printed" in record] == ["one", "scores"]
    assert plan.Runner(tmp_path, str(tiny_csv)).run(steps[:2]) == []
    assert len(runs(tmp_path / "one")) == 1


def test_a_plan_with_a_failed_step_exits_with_1(tmp_path):
    """A script sees it."""
    command = [sys.executable, str(SCRIPT), "study", "fnn-0", "--data", "none.csv", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith("0 of 1 steps are done; fnn-0 ended with 4; run the same command again to continue\n")


def test_steps_run_at_the_same_time_if_they_need_nothing_of_each_other(plan, tiny_csv, tmp_path, capfd):
    """A step that needs another waits for it."""
    steps = [
        plan.Step("one", TRAIN),
        plan.Step("two", f"{TRAIN} --seed 1"),
        plan.Step("all", "ensemble {one} {two}"),
    ]
    runner = plan.Runner(tmp_path, str(tiny_csv), jobs=3)
    most = []
    assert runner.run(steps, until=lambda: most.append([each.step.name for each in runner.running])) == []
    assert ["one", "two"] in most
    assert all("all" not in names or names == ["all"] for names in most)
    assert "valid accuracy" in (tmp_path / "logs" / "one.log").read_text()
    assert "valid accuracy" not in capfd.readouterr().err


def test_the_file_of_steps_is_never_half_written(plan, tmp_path):
    """A new file replaces the old one, so a reader that has the old one open still reads all of it."""
    path = tmp_path / "steps.json"
    path.write_text("{}")
    with path.open() as before:
        runner = plan.Runner(tmp_path, "synthetic")
        runner.run([plan.Step("one", "evaluate nowhere")])
        assert before.read() == "{}"
    assert runner.failed == {"one": "ended with 5"}
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


@pytest.fixture
def slow(tmp_path):
    """Return a folder in which plan.py runs SLOW, and the command of a plan."""
    (tmp_path / "emotify").mkdir()
    (tmp_path / "emotify" / "__init__.py").touch()
    (tmp_path / "emotify" / "__main__.py").write_text(SLOW)
    return tmp_path, [sys.executable, str(SCRIPT), "study", "--data", "synthetic", "--out", "plan"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_training_save_its_state(number, slow):
    """The plan ends after its command, however long saving takes, and packs."""
    folder, command = slow
    with subprocess.Popen(
        [*command, "--jobs", "2", "--pack", "packed"],
        cwd=folder,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        log = folder / "plan" / "logs" / "fnn-0.log"
        wait_for(lambda: log.exists() and "begun" in log.read_text())
        os.killpg(process.pid, number)
        assert process.wait(timeout=60) == 130
        assert (folder / "kept").exists()
        assert process.stderr is not None
        assert process.stderr.read() == "stopped; run the same command again to continue\n"
    assert (folder / "packed" / "small.tar.gz").exists()
    assert "printed" not in json.loads((folder / "plan" / "steps.json").read_text())["fnn-0"]


def test_after_its_minutes_a_plan_stops_its_steps_and_packs(slow):
    """This is no error. One line says what is done and what comes next."""
    folder, command = slow
    command += ["--minutes", "0.05", "--pack", "packed"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == (
        "0 of 15 steps are done; next: fnn-0, fnn-1, fnn-2 and 12 more; run the same command again to continue"
    )
    assert (folder / "kept").exists()
    assert (folder / "packed" / "small.tar.gz").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pack", "here"], "--pack here is not empty; name a new folder"),
        (["--pack", "plan/1"], "--pack plan/1 is inside --out plan; name a folder outside it"),
        (["--pack", "here/../1", "--out", "."], "--pack here/../1 is inside --out .; name a folder outside it"),
        (["--unpack", "here"], "--unpack here has no small.tar.gz; name the folders that --pack wrote"),
    ],
)
def test_a_wrong_folder_is_a_usage_error(words, message, tmp_path):
    """Nothing runs, and no file is replaced."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "file").touch()
    command = [sys.executable, str(SCRIPT), "study", "--data", "synthetic", "--minutes", "0", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f"error: {message}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_a_folder_with_steps_is_not_unpacked_over(slow):
    """So the same command works on the first computer and on another one."""
    folder, command = slow
    first = subprocess.run([*command, "--minutes", "0", "--pack", "1"], cwd=folder, capture_output=True, check=False)
    assert first.returncode == 0
    (folder / "plan").mkdir(exist_ok=True)
    (folder / "plan" / "steps.json").write_text("{}")
    command += ["--minutes", "0", "--unpack", "1"]
    again = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert again.stdout.startswith("plan has a steps.json already, so nothing was unpacked\n0 of 15 steps are done")


def wait_for(holds):
    for _ in range(600):
        if holds():
            return
        time.sleep(0.05)
    pytest.fail("waited 30 seconds in vain")


def test_a_training_that_the_limit_stops_is_resumed(plan, tiny_csv, tmp_path):
    """Its state is saved at the limit, and no other step begins after it."""
    steps = [plan.Step("one", f"{TRAIN} --epochs 2000"), plan.Step("two", TRAIN)]
    runner = plan.Runner(tmp_path, str(tiny_csv))
    left = runner.run(steps, until=lambda: any(tmp_path.glob("one/*/metrics.jsonl")))
    assert (left, runner.failed) == (steps, {})
    (run,) = runs(tmp_path / "one")
    assert read_run(run).record["status"] == "interrupted"
    trained = len((run / "metrics.jsonl").read_text().splitlines())
    assert 0 < trained < 2000
    again = plan.Runner(tmp_path, str(tiny_csv))
    again.run(steps[:1], until=lambda: len((run / "metrics.jsonl").read_text().splitlines()) > trained)
    assert runs(tmp_path / "one") == [run]
    assert not (tmp_path / "two").exists()


def test_a_run_that_was_killed_before_its_first_state_is_trained_anew(plan, tiny_csv, tmp_path):
    """Its folder stays, and the result is the new run."""
    step = plan.Step("one", TRAIN)
    runner = plan.Runner(tmp_path, str(tiny_csv))
    runner.run([step], until=lambda: any(each.process.kill() or True for each in runner.running))
    dead = tmp_path / "one" / "dead"
    dead.mkdir(parents=True)
    (dead / "run.json").write_text(json.dumps({"schema": 1, "status": "running"}))
    again = plan.Runner(tmp_path, str(tiny_csv))
    assert again.run([step]) == []
    assert read_run(tmp_path / again.kept["one"]["result"]).finished
    assert len(runs(tmp_path / "one")) == 2


def test_a_stopped_training_is_resumed(plan, tiny_csv, tmp_path):
    """The run of this step is resumed, not a run of another command."""
    step = plan.Step("one", f"{TRAIN} --epochs 3")
    folders = []
    for epochs in (2, 3):
        config = TrainConfig(model="fnn", batch_size=64, epochs=epochs, device="cpu", threads=1)
        with new_run(config, read_dataset(str(tiny_csv)), out=tmp_path / "one") as training:
            next(training.run())
            training.save_state()
        folders.append(training.folder)
    record = {"digest": plan.digests([step], str(tiny_csv))["one"], "before": [folders[0].name]}
    (tmp_path / "steps.json").write_text(json.dumps({"one": record}))
    plan.Runner(tmp_path, str(tiny_csv)).run([step])
    assert runs(tmp_path / "one") == sorted(folders)
    assert [read_run(folder).finished for folder in folders] == [False, True]


def test_a_stopped_ensemble_is_made_again(plan, tiny_csv, tmp_path):
    """Its old folder is no obstacle."""
    steps = [plan.Step("one", TRAIN), plan.Step("all", "ensemble {one}")]
    left = tmp_path / f"all-{plan.digests(steps, str(tiny_csv))['all'][:4]}"
    left.mkdir()
    assert plan.Runner(tmp_path, str(tiny_csv)).run(steps) == []
    assert (left / "ensemble.json").exists()


PACKED = (
    ("one", TRAIN),
    ("pair", "ensemble {one}"),
    ("two", f"{TRAIN} --seed 1 --distill {{pair}}"),
    ("file", "export {one}"),
    ("scores", "evaluate {one} {pair} {two} {file} --json"),
)


@pytest.fixture(scope="module")
def done(plan, tiny_csv, tmp_path_factory):
    """Return a folder with the results of a whole plan, and its steps."""
    out, steps = tmp_path_factory.mktemp("plan"), [plan.Step(*step) for step in PACKED]
    assert plan.Runner(out, str(tiny_csv)).run(steps) == []
    return out, steps


def test_packed_files_keep_their_limits_and_the_rest_comes_next_time(plan, done, tmp_path, monkeypatch, capsys):
    """Files first, then students. What does not fit is named."""
    packing = sys.modules["packing"]
    monkeypatch.setattr(packing, "PART", 2**20)
    monkeypatch.setattr(packing, "TOTAL", 9 * 2**20)
    monkeypatch.setattr(packing, "SMALL", 2**20)
    out = shutil.copytree(done[0], tmp_path / "plan")
    for piece, line in (
        ("1", r"packed file, two in \d files, \d\.\d MiB; too large for these files: one"),
        ("2", r"packed one in \d files, \d\.\d MiB"),
        ("3", r"packed no weights in 1 file, 0\.0 MiB"),
    ):
        packing.pack(tmp_path / piece, out, plan.Runner(out, "synthetic").kept)
        files = list((tmp_path / piece).iterdir())
        sizes = [path.stat().st_size for path in files]
        assert re.fullmatch(f"{line}\n", capsys.readouterr().out)
        assert max(sizes) <= 2**20
        assert sum(sizes) <= 9 * 2**20
        assert all(re.fullmatch(r"[A-Za-z0-9._-]+", path.name) for path in files)
        assert (tmp_path / piece / "small.tar.gz") in files
    assert [path.name for path in files] == ["small.tar.gz"]


def test_another_computer_continues_with_what_was_packed(plan, done, tiny_csv, tmp_path):
    """Nothing runs again, and the restored networks score as before, up to the rounding of their weights."""
    out, steps = done
    packed, other = tmp_path / "packed", tmp_path / "other"
    kept = plan.Runner(out, str(tiny_csv)).kept
    plan.pack(packed, shutil.copytree(out, tmp_path / "plan"), kept)
    other.mkdir()
    plan.unpack([plan.read_packed(packed)], other)
    runner = plan.Runner(other, str(tiny_csv))
    more = [*steps, plan.Step("again", "evaluate {one} {pair} {two} {file} --json")]
    assert runner.run(more) == []
    assert list(other.glob("logs/*")) == []
    assert [len(runs(other / name)) for name in ("one", "two")] == [1, 1]
    before, after = (json.loads(runner.kept[name]["printed"])["results"] for name in ("scores", "again"))
    assert [Path(one["model"]).name for one in after] == [Path(one["model"]).name for one in before]
    for one, two in zip(before, after, strict=True):
        assert two["nll"] == pytest.approx(one["nll"], abs=1e-3)
        assert two["accuracy"] == pytest.approx(one["accuracy"], abs=0.02)


@pytest.fixture
def packed(plan, done, tmp_path, monkeypatch):
    """Return a folder with small.tar.gz and several files of weights."""
    monkeypatch.setattr(sys.modules["packing"], "PART", 2**20)
    out = shutil.copytree(done[0], tmp_path / "plan")
    plan.pack(tmp_path / "packed", out, plan.Runner(out, "synthetic").kept)
    return tmp_path / "packed"


@pytest.mark.parametrize(
    ("name", "cut", "message"),
    [
        ("weights.tar.1", False, "has no weights.tar.1"),
        ("weights.tar.1", True, "has a damaged weights.tar.1"),
        ("small.tar.gz", True, "has a damaged small.tar.gz"),
    ],
)
def test_a_missing_or_damaged_packed_file_is_a_usage_error(name, cut, message, plan, done, packed, tiny_csv, tmp_path):
    """Nothing is written. With the whole file, the same command works."""
    other = tmp_path / "other"
    command = [sys.executable, str(SCRIPT), "study", "--data", str(tiny_csv), "--out", str(other), "--minutes", "0"]
    command += ["--unpack", str(packed)]
    whole = (packed / name).read_bytes()
    (packed / name).unlink()
    if cut:
        (packed / name).write_bytes(whole[:-20])
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert failed.stderr.endswith(f"plan.py: error: --unpack {packed} {message}; copy it again\n")
    assert not other.exists()
    (packed / name).write_bytes(whole)
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert plan.Runner(other, str(tiny_csv)).run(done[1], wanted=[name for name, _ in PACKED]) == []
    assert len(runs(other / "one")) == 1


def test_what_an_interrupted_unpack_leaves_is_unpacked_again(plan, packed, tmp_path):
    """Without a steps.json, nothing in the folder counts as a result."""
    other = tmp_path / "other"
    file = other / plan.read_json(tmp_path / "plan" / "steps.json")["file"]["result"]
    (file / "obstacle").mkdir(parents=True)
    with pytest.raises(OSError, match=re.escape(file.name)):
        plan.unpack([plan.read_packed(packed)], other)
    assert not (other / "steps.json").exists()
    shutil.rmtree(file)
    plan.unpack([plan.read_packed(packed)], other)
    assert plan.is_there(plan.read_json(other / "steps.json")["file"], other)


def test_what_was_not_packed_runs_again_only_if_it_is_needed(plan, done, tiny_csv, tmp_path):
    """A student stays, although its teacher is gone."""
    out, steps = shutil.copytree(done[0], tmp_path / "plan"), done[1]
    shutil.rmtree(out / "one")
    runner = plan.Runner(out, str(tiny_csv))
    assert runner.run(steps) == []
    assert not (out / "one").exists()
    more = [*steps, plan.Step("first", "evaluate {two}"), plan.Step("last", "evaluate {pair}")]
    due = plan.steps_to_run(more, [], runner.kept, plan.digests(more, str(tiny_csv)), out)
    assert [step.name for step in due] == ["first", "one", "pair", "last"]
    again = [*steps, plan.Step("again", "evaluate {pair} --json")]
    assert runner.run(again) == []
    assert len(runs(out / "one")) == 1
    assert len(runs(out / "two")) == 1
    shutil.rmtree(out / "two")
    assert runner.run(steps, wanted=["two"]) == []
    assert len(runs(out / "two")) == 1
