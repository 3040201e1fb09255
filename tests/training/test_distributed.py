"""Two processes under torchrun train the same network as one process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from emotify.cli.processes import follow_main_process, guarded_against_lost_processes
from emotify.errors import UnavailableError
from emotify.training.distributed import ALONE, World, process_group, torchrun_world

WORKER = Path(__file__).with_name("distributed_worker.py")
OPTIONS = (
    "--model",
    "linear",
    "--epochs",
    "2",
    "--batch-size",
    "64",
    "--threads",
    "1",
    "--augment",
    "--precision",
    "fp32",
    "--device",
    "cpu",
)


def torchrun(processes: int, *words: object) -> list[str]:
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [sys.executable, *run, str(WORKER), "train", *map(str, words)]


def train(command: list[str], folder: Path) -> Path:
    """Run the command in `folder` and return the run that it creates."""
    folder.mkdir()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "runs").iterdir()
    assert done.stdout.split() == [f"runs/{run.name}"]
    return run


@pytest.fixture(scope="module")
def alone(tiny_csv, tmp_path_factory):
    """The run of one process without torchrun."""
    command = [sys.executable, str(WORKER), "train", *OPTIONS, "--data", str(tiny_csv)]
    return train(command, tmp_path_factory.mktemp("alone") / "run")


def largest_difference(first: Path, second: Path) -> float:
    one, other = (load_file(run / "checkpoint.safetensors") for run in (first, second))
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.parametrize("processes", [1, 2])
def test_any_number_of_processes_trains_the_same_weights(processes, alone, tiny_csv, tmp_path):
    """Without batch norm, any number of processes gives weights equal to 1e-6; one process gives the same bits."""
    run = train(torchrun(processes, *OPTIONS, "--data", tiny_csv), tmp_path / "run")
    assert largest_difference(run, alone) <= (1e-6 if processes > 1 else 0)
    assert json.loads((run / "run.json").read_text())["processes"] == processes


def test_ctrl_c_keeps_the_state_of_two_processes(tiny_csv, alone, tmp_path):
    """The main process saves the state and prints how to resume. One or two processes resume to the same weights."""
    command = torchrun(2, *OPTIONS, "--data", tiny_csv)
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "EMOTIFY_TEST_PAUSE": "0.5"},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("training "):
                break
        time.sleep(1.5)
        os.killpg(process.pid, signal.SIGINT)
        told = process.stderr.read()
        assert process.wait(timeout=90) != 0
    assert "resume" in told
    (run,) = (tmp_path / "runs").iterdir()
    copy = shutil.copytree(run, tmp_path / "copy")
    one = [sys.executable, str(WORKER), "train", "--resume", str(run), "--data", str(tiny_csv)]
    two = torchrun(2, "--resume", copy, "--data", tiny_csv)
    for command, resumed in ((one, run), (two, copy)):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert largest_difference(resumed, alone) <= 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("killed", "told"),
    [
        (0, "error: the main process (rank 0) of this training has died"),
        (1, "resume under torchrun with: train --resume runs/"),
    ],
)
def test_a_killed_node_ends_the_other_and_the_run_resumes(killed, told, tiny_csv, alone, tmp_path):
    """One of two nodes is killed with its torchrun; the other ends within 60 s with a clear message.

    The state that it leaves can be loaded, and one process resumes to the weights of an uninterrupted run.
    """
    words = [str(WORKER), "train", *OPTIONS, "--data", str(tiny_csv)]
    with socket.create_server(("127.0.0.1", 0)) as free:
        rendezvous = ["--master-addr", "127.0.0.1", "--master-port", str(free.getsockname()[1])]
    nodes = []
    for rank in range(2):
        about = ["--nnodes", "2", "--node-rank", str(rank), "--nproc-per-node", "1", *rendezvous]
        command = [sys.executable, "-m", "torch.distributed.run", *about, *words]
        environment = {**os.environ, "EMOTIFY_TEST_PAUSE": "0.5"}
        with (tmp_path / f"{rank}.txt").open("w") as out:
            nodes.append(subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=out, stderr=out))
    try:
        deadline = time.monotonic() + 120
        while not [path for path in tmp_path.glob("runs/*/metrics.jsonl") if path.read_text()]:
            assert time.monotonic() < deadline, (tmp_path / "0.txt").read_text()
            time.sleep(0.1)
        kill_all_below(nodes[killed])
        assert nodes[1 - killed].wait(timeout=60) != 0
    finally:
        for node in nodes:
            kill_all_below(node)
    assert told in (tmp_path / f"{1 - killed}.txt").read_text()
    (run,) = (tmp_path / "runs").iterdir()
    again = [sys.executable, str(WORKER), "train", "--resume", str(run), "--data", str(tiny_csv)]
    done = subprocess.run(again, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert largest_difference(run, alone) <= 1e-6


def kill_all_below(process: subprocess.Popen[bytes]) -> None:
    """Kill a torchrun and its workers, which have their own sessions, like a node that loses power."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    below = children.read_text().split() if children.exists() else []
    process.kill()
    for child in below:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(child), signal.SIGKILL)
    process.wait()


def test_fewer_gpus_than_processes_is_an_error():
    """It is exit 8, before the processes wait for each other."""
    world = World(1, 2, local_rank=1000)  # more GPUs than a machine has
    with pytest.raises(UnavailableError, match="a GPU each"), process_group(world, device="cuda"):
        pass


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), NotImplementedError("no kernel")])
def test_errors_of_this_process_do_not_blame_another(error, monkeypatch):
    """This holds for the main process and for the others."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    class Broken:
        world = World(size=2)

        def run(self):
            raise error
            yield

    with pytest.raises(type(error)), guarded_against_lost_processes(Broken()):  # type: ignore[arg-type]
        raise error
    with pytest.raises(type(error)):
        follow_main_process(contextlib.nullcontext(Broken()))  # type: ignore[arg-type]


def test_a_process_that_died_is_reported(tmp_path):
    """Its death shows in a step, or when the processes agree whether to stop."""

    class Left:
        world, folder = World(size=2), tmp_path

    with pytest.raises(UnavailableError, match="has died"), guarded_against_lost_processes(Left()):  # type: ignore[arg-type]
        raise RuntimeError("Connection closed by peer")


def test_a_batch_is_shared_in_whole_images():
    assert [World(rank, 4).share(64) for rank in (0, 3)] == [slice(0, 16), slice(48, 64)]


def test_without_torchrun_there_is_one_process(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert torchrun_world() == ALONE
    assert torch.equal(ALONE.mean(torch.tensor(3.0)), torch.tensor(3.0))
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert torchrun_world() == World(1, 2, 1)
