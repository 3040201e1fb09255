"""A training and its teacher through torch.compile, on the CPU."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from emotify.data import Dataset
from emotify.training.config import TrainConfig
from emotify.training.loop import Step
from emotify.training.run import close_run, finish_run, new_run, resumed_run

CONFIG = TrainConfig(
    model="fnn", epochs=2, batch_size=16, learning_rate=0.01, device="cpu", precision="fp32", threads=1, compile="off"
)


@pytest.fixture(scope="module")
def few(faces):
    return Dataset("few", {split: images.take(np.arange(0, len(images), 4)) for split, images in faces.items()})


def train(config, few, out, *, stop_at=None):
    """Train in a new folder, and when stopped at a step, resume; return the folder."""
    with new_run(config, few, out=out) as training:
        for event in training.run():
            if isinstance(event, Step) and event.number == stop_at:
                training.save_state()
                break
        else:
            close_run(training.folder, finish_run(training))
    if stop_at:
        with resumed_run(training.folder, few) as resumed:
            list(resumed.run())
            close_run(training.folder, finish_run(resumed))
    return training.folder


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # of what torch.compile itself imports
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs g++ on a CPU")
def test_f1_compiled_too(few, tmp_path):
    """F1: resuming is exact, with a teacher too; what dropout leaves out is another than without compiling."""
    teacher = train(CONFIG, few, tmp_path / "teacher")
    taught = dataclasses.replace(CONFIG, distill=str(teacher), augment=True, mixup=0.3, compile="on")
    whole, stopped = train(taught, few, tmp_path / "whole"), train(taught, few, tmp_path / "stopped", stop_at=5)
    plain = train(dataclasses.replace(taught, compile="off"), few, tmp_path / "plain")
    first, second = (load_file(folder / "checkpoint.safetensors") for folder in (whole, stopped))
    assert all(torch.equal(first[name], second[name]) for name in first)
    losses = [json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1]) for folder in (whole, plain)]
    assert losses[0]["valid_loss"] == pytest.approx(losses[1]["valid_loss"], rel=0.05)
    assert losses[0]["train_loss"] == pytest.approx(losses[1]["train_loss"], rel=0.1)
