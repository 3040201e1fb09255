"""Train a toy network in child processes that are killed, fail or are interrupted at a chosen moment.

torch is imported once. Each request, one line of JSON on stdin, forks a child; its result is one line on stdout. Python
and torch run one thread, so forking is safe. A moment is a step, or the instant before a call that changes files: open,
write, the second half of a write, fsync, replace, unlink, mkdir.
"""

from __future__ import annotations

import dataclasses
import errno
import gc
import io
import json
import math
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import emotify.cli
import emotify.reports.figures
from emotify.data import Dataset, read_dataset
from emotify.errors import EmotifyError
from emotify.networks import NETWORKS, Network
from emotify.networks.network import classifier_head
from emotify.training import loop
from emotify.training.config import TrainConfig
from emotify.training.loop import Step
from emotify.training.run_folder import close_run, finish_run, new_run, resumed_run

CONFIG = TrainConfig(model="toy", augment=True, epochs=3, batch_size=7, device="cpu", precision="fp32", threads=1)


class Toy(Network):
    """A network with convolutions, batch norm and dropout, and about a thousand weights."""

    any_size = True

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 8, stride=8, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)
        )
        self.head = classifier_head(8, 0.3)

    def logits(self, pixels: Tensor) -> Tensor:
        return self.head(self.features(pixels))  # type: ignore[no-any-return]


class Moments:
    """Count the moments of this process, and at some of them do what the request says."""

    def __init__(self, request: dict[str, Any]) -> None:
        self._request = request
        self.names: list[str] = []

    def step(self) -> None:
        self.names.append("step")
        if len(self.names) == self._request.get("die_at"):
            os.kill(os.getpid(), signal.SIGKILL)

    def call(self, what: str, path: object, *, needs_space: bool = False) -> None:
        """Record a moment. Die, be interrupted, or fail: once like a broken disk, or from then on like a full disk."""
        request, name = self._request, Path(str(path)).name
        if request["folder"] not in str(path):
            return  # torch's own files
        self.names.append(f"{what} {name}")
        number = len(self.names)
        if number == request.get("die_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        if number in request.get("interrupt_at", ()):
            os.kill(os.getpid(), request["signal"])
        if number == request.get("fail_at"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), name)
        if needs_space and number >= request.get("full_from", number + 1):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)

    def watch(self) -> None:
        """Replace the calls that change files, so that each is a moment. fsync does nothing: no test cuts the power."""
        paths: dict[int, Any] = {}
        real_open, real_fdopen, real_replace, real_unlink = os.open, os.fdopen, os.replace, os.unlink
        real_mkdir, folder = os.mkdir, self._request["folder"]

        def open_(path: Any, flags: int, *rest: Any, **more: Any) -> int:
            if flags & os.O_CREAT:
                self.call("open", path, needs_space=True)
            descriptor = real_open(path, flags, *rest, **more)
            paths[descriptor] = path
            return descriptor

        def fdopen(descriptor: int, mode: str = "r", buffering: int = -1, **more: Any) -> Any:
            if folder not in str(paths.get(descriptor)):
                return real_fdopen(descriptor, mode, buffering, **more)
            raw = WatchedFile(descriptor, mode.replace("b", ""))
            raw.moments, raw.path = self, paths[descriptor]
            return io.BufferedWriter(raw) if buffering else raw

        def replace(source: Any, target: Any, **more: Any) -> None:
            self.call("replace", target)
            real_replace(source, target, **more)

        def unlink(path: Any, **more: Any) -> None:
            self.call("unlink", path)
            real_unlink(path, **more)

        def mkdir(path: Any, *rest: Any, **more: Any) -> None:
            self.call("mkdir", path, needs_space=True)
            real_mkdir(path, *rest, **more)

        def fsync(descriptor: int) -> None:
            self.call("fsync", paths[descriptor], needs_space=True)

        for function in (open_, fdopen, replace, unlink, mkdir, fsync):
            setattr(os, function.__name__.rstrip("_"), function)


class WatchedFile(io.FileIO):
    """A file that makes each write in two halves."""

    moments: Moments
    path: object

    def write(self, content: Any) -> int:
        content = memoryview(content)
        middle = len(content) // 2
        self.moments.call("write", self.path, needs_space=True)
        super().write(content[:middle])
        self.moments.call("half", self.path, needs_space=True)
        return middle + (super().write(content[middle:]) or 0)


def train(request: dict[str, Any], dataset: Dataset, moments: Moments) -> None:
    """Train in a new run below the request's `folder`, or resume the run that `folder` is.

    The last state (weights, average, momentum, history) is kept as last.safetensors beside the run.
    """
    folder = Path(request["folder"])
    config = dataclasses.replace(CONFIG, seed=request.get("seed", 0))
    opened = resumed_run(folder, dataset) if request["do"] == "resume" else new_run(config, dataset, out=folder)
    with opened as training:
        for event in training.run():
            if isinstance(event, Step):
                moments.step()
                if event.number == request.get("nan_at"):
                    next(training.network.parameters()).data.fill_(torch.nan)
                if event.number in request.get("save_at", ()):
                    training.save_state()
        scores = finish_run(training)
        content = (training.folder / "state.safetensors").read_bytes()
        (training.folder.parent / "last.safetensors").write_bytes(content)
        close_run(training.folder, scores)


def command(request: dict[str, Any]) -> None:
    """Run a command line; its output goes to talk.txt in the request's `folder`."""
    talk = os.open("talk.txt", os.O_WRONLY | os.O_CREAT, 0o666)
    os.dup2(talk, sys.stdout.fileno())
    os.dup2(talk, sys.stderr.fileno())
    sys.argv = ["emotify", *request["words"]]
    try:
        emotify.cli.main()
    finally:
        sys.stdout.flush()


def answer(request: dict[str, Any], dataset: Dataset) -> dict[str, Any]:
    """Do what the request says, and return a report of how it ended."""
    moments = Moments(request)
    report: dict[str, Any] = {"moments": moments.names, "exit_code": 0}
    os.chdir(request["folder"])
    loop.STATE_INTERVAL = request.get("state_interval", math.inf)  # without one, states at `save_at` and at the end
    moments.watch()
    try:
        if request["do"] == "command":
            command(request)
        else:
            train(request, dataset, moments)
    except SystemExit as error:
        report["exit_code"] = int(error.code or 0)
    except EmotifyError as error:
        report |= {"exit_code": int(error.exit_code), "error": str(error)}
    except BaseException:  # noqa: BLE001 - a bug is told to the test, which fails
        report |= {"exit_code": 1, "error": traceback.format_exc()}
    return report


def in_child(request: dict[str, Any], dataset: Dataset) -> dict[str, Any]:
    """Answer a request in a forked child; for a killed child, report only the signal."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        gc.disable()  # it would copy the parent's memory to count it
        os.write(writing, json.dumps(answer(request, dataset)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    return dict(json.loads(text)) if text else {"exit_code": -os.WTERMSIG(status)}


def main() -> None:
    torch.set_num_threads(1)
    NETWORKS["toy"] = Toy
    dataset = read_dataset(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        request = {"do": "train", "folder": folder}
        train(request, dataset, Moments(request))  # torch and SciPy load much at first use: once for all children
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(in_child(json.loads(line), dataset)), flush=True)


if __name__ == "__main__":
    main()
