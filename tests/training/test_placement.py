"""A training on another device than the CPU keeps all tensors there.

`meta` is a stand-in for a GPU. Its tensors have shapes but no numbers, and torch refuses to mix them with CPU tensors,
as it refuses to mix CPU and GPU tensors.
"""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
import torch

from emotify.networks import NETWORKS, build_network, count_macs
from emotify.training import loop
from emotify.training.config import TrainConfig
from emotify.training.loop import Step, Training
from emotify.training.prepare import Prepared
from emotify.training.run_folder import close_run, finish_run, new_run
from emotify.training.teacher import open_teacher

META = torch.device("meta")
CONFIG = TrainConfig(model="fnn", epochs=1, batch_size=16, device="cpu", precision="fp32", threads=1, compile="off")


class MetaDraws:
    """Random draws on the stand-in for a GPU, which has no generator."""

    def __init__(self, generator: torch.Generator, total: int, own: slice) -> None:
        self._count = len(range(total)[own])

    def uniform(self, low: float, high: float, *, each: int = 0) -> torch.Tensor:
        return torch.empty((self._count, each) if each else (self._count,), device=META)

    def normal(self, each: int) -> torch.Tensor:
        return torch.empty((self._count, each), device=META)


@pytest.fixture
def on_meta(monkeypatch):
    """Let trainings use `meta` instead of the configured device."""

    class Unfused(torch.optim.SGD):  # there is no fused step there
        def __init__(self, groups, *, fused, **options):
            super().__init__(groups, **options)

    monkeypatch.setattr(loop, "device_of_process", lambda *_: "meta")
    monkeypatch.setattr(loop, "make_generator", lambda *_, **__: torch.Generator())
    monkeypatch.setattr(loop, "Draws", MetaDraws)
    monkeypatch.setattr(loop, "autocast", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(torch.optim, "SGD", Unfused)


@pytest.fixture(scope="module")
def teacher(few, tmp_path_factory):
    with new_run(CONFIG, few, out=tmp_path_factory.mktemp("teacher")) as training:
        for _ in training.run():
            pass
        close_run(training.folder, finish_run(training))
    return training.folder


@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
@pytest.mark.parametrize("model", ["cnn-eq", "whitened", "resnet18-44", "fnn"])
def test_a_training_step_stays_on_its_device(model, optimizer, few, teacher, on_meta, tmp_path):
    """This covers augmentation, mixup, teacher, loss, gradients, optimizer and weight average."""
    taught = dataclasses.replace(CONFIG, model=model, optimizer=optimizer, distill=str(teacher))
    config = dataclasses.replace(taught, augment=True, mixup=0.3, drop_path=0.1)
    training = Training(
        config, few.splits, tmp_path, prepared=Prepared(open_teacher(teacher, device=torch.device("cpu")))
    )
    step = next(training.run())
    assert isinstance(step, Step)
    assert step.loss.device == META
    for network in (training.network, training.average):
        assert {tensor.device for tensor in network.state_dict().values()} == {META}
    assert all(parameter.grad is not None for parameter in training.network.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("name", NETWORKS)
def test_statistics_are_measured_on_the_device_of_the_network(name):
    assert count_macs(build_network(name).to(META)) == count_macs(build_network(name))


def test_a_teacher_answers_on_the_device_of_the_training(teacher):
    answers = open_teacher(teacher, device=META)(torch.empty(3, 1, 48, 48, device=META))
    assert (answers.shape, answers.device) == ((3, 7), META)
