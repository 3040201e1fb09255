"""Normalisation is measured at the end of a training, on images as they are; means of weights, which need it."""

from __future__ import annotations

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from emotify.data import Dataset, Split
from emotify.errors import ModelError, UsageError
from emotify.networks import build_network, normalisation
from emotify.networks.normalisation import measure_normalisation, some_of
from emotify.runs import read_run
from emotify.training import loop
from emotify.training.checkpoint import load_checkpoint, save_checkpoint
from emotify.training.config import TrainConfig
from emotify.training.initial_weights import first_weights, open_sources
from emotify.training.loop import Step
from emotify.training.run_folder import close_run, finish_run, new_run, resumed_run

CONFIG = TrainConfig(model="small", augment=True, epochs=2, batch_size=16, device="cpu", precision="fp32", threads=2)


def measured(network, images):
    network = copy.deepcopy(network)
    measure_normalisation(network, torch.from_numpy(images))
    return network


def statistics(network):
    kept = network.state_dict()
    return torch.cat([tensor for name, tensor in kept.items() if name.endswith(("running_mean", "running_var"))])


def spoil(network, *_, **__):
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_buffer("running_var", torch.full((layer.num_features,), 1e-8))


@pytest.fixture(scope="module")
def images(faces):
    return faces[Split.TRAIN].images[:96]


@pytest.fixture(scope="module")
def trained(few, tmp_path_factory):
    """The folder of a short training, the last step of which leaves statistics that are of no use."""
    with new_run(CONFIG, few, out=tmp_path_factory.mktemp("runs")) as training:
        for report in training.run():
            if isinstance(report, Step) and report.number == training.total_steps:
                spoil(training.average)
        close_run(training.folder, finish_run(training))
    return training.folder


@pytest.mark.parametrize("name", ["cnn", "vgg"])
def test_a_network_then_answers_as_with_these_images_own_statistics(name, images):
    """And without dropout, which in `vgg` changes what normalisation sees."""
    torch.manual_seed(0)
    network = measured(build_network(name), images)
    with torch.no_grad():
        alone = network(torch.from_numpy(images))
        for layer in network.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = 0
        together = network.train()(torch.from_numpy(images))
    assert float(together.std()) > 0.05
    assert float((alone - together).abs().max()) < 0.05 * float(together.std())


def test_nothing_else_changes(images):
    torch.manual_seed(0)
    network = build_network("cnn").train()
    network(torch.from_numpy(images))
    after = measured(network, images)
    for (name, was), now in zip(network.named_parameters(), after.parameters(), strict=True):
        assert torch.equal(was, now), name
    layers = [layer for layer in after.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert {layer.momentum for layer in layers} == {0.1}
    assert not any(module.training for module in after.modules())
    assert torch.equal(statistics(measured(after, images)), statistics(after))


def test_every_image_counts_the_same(images, monkeypatch):
    """Of one that is alone in the last batch, too, and of many some are left out, evenly."""
    monkeypatch.setattr(normalisation, "_BATCH", 32)
    torch.manual_seed(0)
    network = build_network("cnn")
    uneven = np.concatenate([images, np.full_like(images[:1], 255)])
    turned = measured(network, uneven[::-1].copy())
    assert torch.allclose(statistics(measured(network, uneven)), statistics(turned), rtol=0.2, atol=0.02)
    monkeypatch.setattr(normalisation, "_MEASURED", 40)
    assert np.array_equal(some_of(images), images[::3])


def test_a_training_ends_with_it(trained, few):
    network, _ = load_checkpoint(trained / "checkpoint.safetensors")
    again = measured(network, few.splits[Split.TRAIN].images)
    assert torch.allclose(statistics(again), statistics(network), rtol=1e-4, atol=1e-5)
    last = json.loads((trained / "metrics.jsonl").read_text().splitlines()[-1])
    record = read_run(trained).record
    assert last["valid_accuracy"] == pytest.approx(record["valid"]["accuracy"])
    assert record["normalisation"] == "measured"


def test_a_training_keeps_what_it_followed_where_that_is_better(few, tmp_path, monkeypatch):
    """After much augmentation whole faces may be what a network is worse on: valid decides."""
    monkeypatch.setattr(loop, "measure_normalisation", spoil)
    with new_run(CONFIG, few, out=tmp_path) as training:
        list(training.run())
        finish_run(training)
    assert float(statistics(training.average).median()) > 1e-6
    assert training.history[-1].valid_loss < 5
    assert read_run(training.folder).record["normalisation"] == "followed"


def test_the_record_says_which_it_kept_however_late_a_training_stopped(few, tmp_path):
    with new_run(CONFIG, few, out=tmp_path) as training:
        for report in training.run():
            if isinstance(report, Step) and report.number == training.total_steps:
                spoil(training.average)
        finish_run(training)  # and it stops before it is closed
    with resumed_run(training.folder, few) as going_on:
        assert not list(going_on.run())
        close_run(going_on.folder, finish_run(going_on))
    assert read_run(training.folder).record["normalisation"] == "measured"


def test_without_an_epoch_nothing_else_happens(trained, few, tmp_path):
    """For faces of another kind, here at half the light."""
    train = few.splits[Split.TRAIN]
    darker = dataclasses.replace(train, images=train.images // 2)
    dark = Dataset("dark", {**few.splits, Split.TRAIN: darker})
    config = TrainConfig(model="small", epochs=0, batch_size=16, start_from=str(trained), device="cpu", threads=2)
    with new_run(config, dark, out=tmp_path) as training:
        assert not list(training.run())
        close_run(training.folder, finish_run(training))
    before, after = (load_checkpoint(folder / "checkpoint.safetensors")[0] for folder in (trained, training.folder))
    for (name, was), now in zip(before.named_parameters(), after.parameters(), strict=True):
        assert torch.equal(was, now), name
    expected = statistics(measured(before, darker.images))
    assert torch.allclose(statistics(after), expected, rtol=0.05, atol=0.02)
    assert not torch.allclose(statistics(before), expected, rtol=0.05, atol=0.02)
    assert read_run(training.folder).finished


def test_a_fresh_network_wants_epochs():
    with pytest.raises(UsageError, match="--epochs cannot be 0"):
        TrainConfig(epochs=0)


def test_of_several_networks_the_mean_is_taken(trained, few, tmp_path):
    """Of their weights; a folder whose name has a comma is one."""
    other = tmp_path / "other,run"
    config = dataclasses.replace(CONFIG, epochs=1, start_from=str(trained), seed=1)
    with new_run(config, few, out=tmp_path) as training:
        list(training.run())
        close_run(training.folder, finish_run(training))
    training.folder.rename(other)
    first, second, alone = (
        first_weights(CONFIG, few.splits[Split.TRAIN], sources=open_sources(str(source)))
        for source in (trained, other, other)
    )
    (tmp_path / "other").symlink_to(other)
    mean = first_weights(CONFIG, few.splits[Split.TRAIN], sources=open_sources(f"{trained},{tmp_path / 'other'}"))
    for name, weights in mean.state_dict().items():
        both = [network.state_dict()[name].double() for network in (first, second)]
        assert torch.allclose(weights.double(), (both[0] + both[1]) / 2, atol=1e-6), name
        assert torch.equal(alone.state_dict()[name], second.state_dict()[name])
    assert not torch.equal(*(next(network.parameters()) for network in (first, second)))
    with pytest.raises(ModelError, match="nothing"):
        open_sources(f"{trained},nothing")


def test_a_mean_with_a_network_of_fewer_blocks(few, tmp_path):
    """What the smaller one lacks changes nothing in it, whatever stands before it: half of the other's remains."""
    torch.manual_seed(0)
    networks = {name: build_network(name) for name in ("deep", "cnn")}
    for name, network in networks.items():
        for parameter in network.parameters():
            nn.init.uniform_(parameter, 0.5, 1.5)
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{}")
        save_checkpoint(tmp_path / name / "checkpoint.safetensors", network, name, {})
    both = open_sources(f"{tmp_path / 'deep'},{tmp_path / 'cnn'}")
    config = dataclasses.replace(CONFIG, model="deep")
    mean = first_weights(config, few.splits[Split.TRAIN], sources=both).state_dict()
    deep = networks["deep"].state_dict()
    last = next(name for name in reversed(deep) if name.endswith("second.1.weight"))
    assert torch.allclose(mean[last], deep[last] / 2)
