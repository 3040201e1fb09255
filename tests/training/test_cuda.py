"""A training on a GPU: nothing leaves it inside an epoch, and resuming is exact. Skipped where there is none."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from emotify.data import Dataset
from emotify.training.config import TrainConfig
from emotify.training.loop import Step
from emotify.training.run import close_run, finish_run, new_run, resumed_run

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

CONFIG = TrainConfig(
    model="resnet18-eq", augment=True, mixup=0.3, drop_path=0.1, epochs=2, batch_size=8, device="cuda", compile="off"
)


@pytest.fixture(scope="module")
def few(faces):
    return Dataset("few", {split: images.take(np.arange(0, len(images), 4)) for split, images in faces.items()})


@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_no_step_waits_for_the_gpu(optimizer, few, tmp_path):
    """The first steps may, to make what later ones use."""
    with new_run(dataclasses.replace(CONFIG, optimizer=optimizer), few, out=tmp_path) as training:
        steps = training.run()
        for _ in itertools.islice(steps, 3):
            pass
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in itertools.islice(steps, 3):
                pass
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("compiled", ["off", "on"])
@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_f1_resuming_is_exact(optimizer, compiled, few, tmp_path):
    """F1: the weights equal, bit for bit, those of a run that was not interrupted."""
    config = dataclasses.replace(CONFIG, optimizer=optimizer, compile=compiled)
    with new_run(config, few, out=tmp_path / "stopped") as training:
        for event in training.run():
            if isinstance(event, Step) and event.number == 5:
                training.save_state()
                break
    with resumed_run(training.folder, few) as resumed:
        list(resumed.run())
        close_run(training.folder, finish_run(resumed))
    with new_run(config, few, out=tmp_path / "whole") as whole:
        list(whole.run())
        close_run(whole.folder, finish_run(whole))
    first, second = (load_file(folder / "checkpoint.safetensors") for folder in (training.folder, whole.folder))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
