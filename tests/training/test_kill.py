"""Exact resuming: a training that is killed, fails or is interrupted at any moment resumes to the same bits."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from emotify.cli import app
from emotify.errors import ModelError
from emotify.training.checkpoint import load_checkpoint, load_tensors

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kill -9 and fork, as Linux has them")

WORKER = Path(__file__).with_name("kill_worker.py")
STEPS = 6  # in three epochs
SAVE_AT = (1, 4)  # within the first epoch, and at the end of the second: a kill may be steps after a state
KILLED = -signal.SIGKILL


class Worker:
    """A process of kill_worker.py that trains on request and reports how it ended."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, do: str, folder: Path, **request: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        folder.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"do": do, "folder": str(folder), "save_at": SAVE_AT, **request})
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return dict(json.loads(self._process.stdout.readline()))

    def finish(self, out: Path) -> Path:
        """Bring the training in `out` to its end as a user would, and return the finished run."""
        if begun(out):
            run = only_run(out)
            expected = {"finished": 2, None: 5}.get(status(run), 0)  # 5: it had not begun, so it is no run yet
            assert self("resume", run)["exit_code"] == expected
            if expected == 5:
                shutil.rmtree(run)
        if not begun(out):
            assert self("train", out)["exit_code"] == 0
        return only_run(out)


@pytest.fixture(scope="module")
def worker(toy_csv):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(WORKER), str(toy_csv)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, text=True, env=environment, stdin=pipe, stdout=pipe) as process:
        yield Worker(process)
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="module")
def whole(worker, tmp_path_factory):
    """An uninterrupted run, and the names of its moments."""
    out = tmp_path_factory.mktemp("whole")
    ending = worker("train", out)
    assert ending["exit_code"] == 0, ending
    return out, ending["moments"]


def only_run(out: Path) -> Path:
    (run,) = [path for path in out.iterdir() if path.is_dir()]
    return run


def begun(out: Path) -> bool:
    """Return whether the run's folder was created."""
    return any(path.is_dir() for path in out.iterdir())


def status(run: Path) -> str | None:
    path = run / "run.json"
    return json.loads(path.read_text())["status"] if path.exists() else None


def outcome(out: Path) -> dict[str, object]:
    """Return all results that must not depend on interruptions: bytes of weights, state and metrics, and scores."""
    run = only_run(out)
    record = json.loads((run / "run.json").read_text())
    names = ("config.json", "metrics.jsonl", "checkpoint.safetensors", "checkpoint.json")
    files = {name: (run / name).read_bytes() for name in names}
    return {
        **files,
        "network, average, momentum, history": (out / "last.safetensors").read_bytes(),
        "scores": (record["status"], record["valid"]),
    }


def check_loadable(out: Path, *, state: bool = False) -> None:
    """Load all weights and states in the folder. With `state` there must be one unless the run has finished."""
    for path in out.glob("*/*.safetensors"):
        load_tensors(path)
    run = only_run(out) if state else out
    assert not state or (run / "state.safetensors").exists() or status(run) == "finished"


def differences(out: Path, whole: Path) -> list[str]:
    here, there = outcome(out), outcome(whole)
    return [name for name in there if here[name] != there[name]]


def strays(out: Path) -> list[Path]:
    """Return unfinished files."""
    return list(out.rglob("*.tmp"))


def test_a_training_killed_at_every_moment_resumes_exactly(worker, whole, tmp_path):
    """Kill at every step and before every change of a file, and again while resuming; all bits are the same.

    After every kill the old or the new file can be loaded, and half-written files of a killed process are removed.
    """
    out, moments = whole
    assert moments.count("step") == STEPS
    first_state, kills = moments.index("replace state.safetensors") + 1, 0
    for number, moment in enumerate(moments, 1):
        folder = tmp_path / str(number)
        assert worker("train", folder, die_at=number)["exit_code"] == KILLED, moment
        kills += 1
        check_loadable(folder, state=number > first_state)
        run = only_run(folder) if begun(folder) else folder
        if status(run) == "running":  # resuming is unlucky too, elsewhere each time
            ending = worker("resume", run, die_at=1 + 29 * number % (len(moments) - number + 12))
            kills += ending["exit_code"] == KILLED
            check_loadable(folder, state=number > first_state)
        had_finished = status(run) == "finished"  # then nothing will ever start in it
        worker.finish(folder)
        assert differences(folder, out) == [], moment
        assert strays(folder) == [] or had_finished, moment
        shutil.rmtree(folder)
    print(f"\n{kills} kills at {len(moments)} moments, all resumed to the same bits")


def test_every_call_that_fails_is_an_error_or_has_no_effect(worker, whole, tmp_path):
    """A disk that fails once, or is full from then on, gives exit 6 or success; resuming is exact."""
    out, moments = whole
    numbers = [number for number, name in enumerate(moments, 1) if name != "step"]
    faults = [("fail_at", number) for number in numbers] + [("full_from", number) for number in numbers[::8]]
    failed = 0
    for index, (kind, number) in enumerate(faults):
        moment, folder = moments[number - 1], tmp_path / str(index)
        ending = worker("train", folder, **{kind: number})
        assert ending["exit_code"] in {0, 6}, (moment, ending)
        failed += ending["exit_code"] == 6
        check_loadable(folder)
        assert strays(folder) == [], moment
        if index % 4 == 0 or ending["exit_code"] == 0:  # what is left is what a kill leaves, of which each is resumed
            worker.finish(folder)
            assert differences(folder, out) == [], moment
        shutil.rmtree(folder)
    print(f"\n{len(faults)} faults, {failed} reported with exit 6, the others without effect")


def test_a_training_interrupted_twice_at_any_moment_resumes_exactly(worker, whole, toy_csv, tmp_path):
    """After Ctrl-C or SIGTERM, and another while the state is saved, a shell sees 130 or 143; resuming is exact."""
    out, _ = whole
    words = ["train", "--data", str(toy_csv), "--config", str(only_run(out) / "config.json"), "--out"]
    always = {"state_interval": -1.0}  # a state after every step
    moments = worker("command", tmp_path / "all", words=[*words, str(tmp_path / "all")], **always)["moments"]
    written = [number for number, name in enumerate(moments, 1) if name == "replace state.safetensors"]
    assert len(written) == STEPS + 1  # one more at the end
    numbers = range(written[0] - 4, written[STEPS - 1], 7)  # from the first step's state to the last's
    for number in numbers:
        folder = tmp_path / str(number)
        sent, code = ((signal.SIGINT, 130), (signal.SIGTERM, 143))[number % 2]
        twice = [number, number + 1 + number % 11]
        ending = worker("command", folder, words=[*words, str(folder)], interrupt_at=twice, signal=sent, **always)
        talk = (folder / "talk.txt").read_text()
        assert ending["exit_code"] in {code, -sent}, talk  # the second one is the system's to obey: 130 to a shell
        assert status(only_run(folder)) in {"interrupted", "running"}
        worker.finish(folder)
        assert differences(folder, out) == []
    print(f"\n{len(numbers)} runs interrupted twice, all resumed to the same bits")


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_nan_weights_stop_the_run(step, worker, whole, tmp_path):
    """NaN at any step is exit 7 without a checkpoint; in the very last step it may have no effect on the average."""
    ending = worker("train", tmp_path, nan_at=step, save_at=())
    run = only_run(tmp_path)
    if step == STEPS:
        assert ending["exit_code"] == 0
        assert (run / "checkpoint.safetensors").read_bytes() == outcome(whole[0])["checkpoint.safetensors"]
        return
    assert ending["exit_code"] == 7
    assert "--learning-rate" in ending["error"]
    assert status(run) == "failed"
    assert not (run / "checkpoint.safetensors").exists()
    check_loadable(tmp_path)


@pytest.mark.parametrize("cut", [1, 40, -1, -40])
def test_a_cut_line_of_metrics_is_written_again(cut, worker, whole, tmp_path):
    """The resumed run writes the whole line, once."""
    assert worker("train", tmp_path, die_at=die_after_epoch(whole, 2))["exit_code"] == KILLED
    path = only_run(tmp_path) / "metrics.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:cut])
    worker.finish(tmp_path)
    assert differences(tmp_path, whole[0]) == []


def die_after_epoch(whole, epoch: int) -> int:
    """Return the number of the moment of the first step after an epoch."""
    steps = [number for number, name in enumerate(whole[1], 1) if name == "step"]
    return steps[epoch * STEPS // 3]


def damaged(content: bytes):
    """Yield a file cut at 50 sizes, and with one bit flipped at 200 places, half of them in its header."""
    for part in range(50):
        yield f"cut {part}", content[: part * len(content) // 50]
    header = 8 + int.from_bytes(content[:8], "little")
    for part in range(100):
        for place in (part * header // 100, header + part * (len(content) - header) // 100):
            bit = 1 << (part * 5 % 8)
            yield f"bit {bit} of byte {place}", content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]


@pytest.mark.parametrize("name", ["checkpoint", "last"])
def test_damage_anywhere_in_a_file_is_reported(name, whole, tmp_path):
    """Every cut and every flipped bit is exit 5, in the tensors and in the header."""
    path = (only_run(whole[0]) if name == "checkpoint" else whole[0]) / f"{name}.safetensors"
    content = path.read_bytes()
    broken = tmp_path / "checkpoint.safetensors"
    count = 0
    for damage, bytes_ in damaged(content):
        broken.write_bytes(bytes_)
        assert is_reported_damaged(broken), damage
        count += 1
    print(f"\n{name}: {count} damages, all reported")


def is_reported_damaged(path: Path) -> bool:
    """Return whether loading a file reports that it is damaged."""
    try:
        load_tensors(path)
    except ModelError as error:
        return "damaged" in str(error)
    return False


def test_a_damaged_state_explains_how_to_resume(worker, whole, tmp_path):
    """It is exit 5 with advice; following the advice trains from the first step to the same bits."""
    worker("train", tmp_path, die_at=die_after_epoch(whole, 2))
    run = only_run(tmp_path)
    path = run / "state.safetensors"
    content = bytearray(path.read_bytes())
    content[-100] ^= 16
    path.write_bytes(content)
    ending = worker("resume", run)
    assert ending["exit_code"] == 5
    assert "state.safetensors is damaged" in ending["error"]
    assert "delete it, and --resume trains this run again from its first step" in ending["error"]
    path.unlink()
    worker.finish(tmp_path)
    assert differences(tmp_path, whole[0]) == []


def test_the_seed_alone_decides_the_weights(worker, whole, tmp_path):
    """Another process with the same seed makes the same bits; another seed makes others."""
    worker("train", tmp_path / "same")
    worker("train", tmp_path / "other", seed=1)
    assert differences(tmp_path / "same", whole[0]) == []
    assert "checkpoint.safetensors" in differences(tmp_path / "other", whole[0])


def test_the_train_command_killed_by_a_signal_resumes_exactly(tiny_csv, tmp_path):
    """`emotify train` killed, terminated and killed again gives, after resuming, the result of an uninterrupted run."""
    options = ["--data", str(tiny_csv), "--model", "fnn", "--augment", "--epochs", "12", "--batch-size", "32"]
    options += ["--threads", "1"]
    first = until_epoch(3, signal.SIGKILL, "train", *options, "--out", str(tmp_path / "a"))
    run = only_run(tmp_path / "a")
    assert first.returncode == KILLED
    assert status(run) == "running"
    resume = ["train", "--resume", str(run), "--data", str(tiny_csv)]
    second = until_epoch(5, signal.SIGTERM, *resume)
    assert second.returncode == 143
    assert re.search(r"stopped at step \d+; resume with: emotify train --resume", second.stderr)
    assert status(run) == "interrupted"
    third = until_epoch(8, signal.SIGKILL, *resume)
    assert "epoch 1/" not in third.stderr
    assert third.returncode == KILLED
    for words in (resume, ["train", *options, "--out", str(tmp_path / "b")]):
        assert CliRunner().invoke(app, words).exit_code == 0
    straight = only_run(tmp_path / "b")
    for name in ("checkpoint.safetensors", "metrics.jsonl"):
        assert (run / name).read_bytes() == (straight / name).read_bytes()
    load_checkpoint(run / "checkpoint.safetensors")


def until_epoch(epoch: int, sent: int, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command, and send it a signal when it prints the end of an epoch."""
    command = [sys.executable, "-m", "emotify", *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if line.startswith(f"epoch {epoch}/"):
                process.send_signal(sent)
                break
        lines.extend(process.stderr)
        return subprocess.CompletedProcess(command, process.wait(), stderr="".join(lines))
