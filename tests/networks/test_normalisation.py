"""Batch-norm statistics that are re-estimated at the end of a training, and averages of weights, which need them."""

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
from emotify.networks.normalisation import batch_norm_images, estimate_batch_norm
from emotify.runs import read_run
from emotify.training import loop
from emotify.training.checkpoint import load_checkpoint, save_checkpoint
from emotify.training.config import TrainConfig
from emotify.training.initial_weights import initial_network, open_sources
from emotify.training.loop import Step
from emotify.training.run_folder import close_run, finish_run, new_run, resumed_run

CONFIG = TrainConfig(model="small", augment=True, epochs=2, batch_size=16, device="cpu", precision="fp32", threads=2)


def measured(network, images):
    network = copy.deepcopy(network)
    estimate_batch_norm(network, torch.from_numpy(images))
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
    """The folder of a short training whose last step leaves useless statistics."""
    with new_run(CONFIG, few, out=tmp_path_factory.mktemp("runs")) as training:
        for report in training.run():
            if isinstance(report, Step) and report.number == training.total_steps:
                spoil(training.average)
        close_run(training.folder, finish_run(training))
    return training.folder


@pytest.mark.parametrize("name", ["cnn", "vgg"])
def test_statistics_become_those_of_the_images(name, images):
    """Dropout is off; in `vgg` it would change the statistics."""
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


def test_measuring_changes_nothing_but_the_statistics(images):
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


def test_every_image_has_the_same_weight_in_the_statistics(images, monkeypatch):
    """A single image in the last batch counts too; of many images, some are skipped at regular steps."""
    monkeypatch.setattr(normalisation, "_BATCH", 32)
    torch.manual_seed(0)
    network = build_network("cnn")
    uneven = np.concatenate([images, np.full_like(images[:1], 255)])
    turned = measured(network, uneven[::-1].copy())
    assert torch.allclose(statistics(measured(network, uneven)), statistics(turned), rtol=0.2, atol=0.02)
    monkeypatch.setattr(normalisation, "_MEASURED", 40)
    assert np.array_equal(batch_norm_images(images), images[::3])


def test_a_training_ends_with_measured_statistics(trained, few):
    network, _ = load_checkpoint(trained / "checkpoint.safetensors")
    again = measured(network, few.splits[Split.TRAIN].images)
    assert torch.allclose(statistics(again), statistics(network), rtol=1e-4, atol=1e-5)
    last = json.loads((trained / "metrics.jsonl").read_text().splitlines()[-1])
    record = read_run(trained).record
    assert last["valid_accuracy"] == pytest.approx(record["valid"]["accuracy"])
    assert record["normalisation"] == "measured"


def test_a_training_keeps_the_better_statistics_on_valid(few, tmp_path, monkeypatch):
    """After strong augmentation the statistics of whole faces can be worse; valid decides."""
    monkeypatch.setattr(loop, "estimate_batch_norm", spoil)
    with new_run(CONFIG, few, out=tmp_path) as training:
        list(training.run())
        finish_run(training)
    assert float(statistics(training.average).median()) > 1e-6
    assert training.history[-1].valid_loss < 5
    assert read_run(training.folder).record["normalisation"] == "followed"


def test_the_record_names_the_kept_statistics_after_a_late_stop(few, tmp_path):
    with new_run(CONFIG, few, out=tmp_path) as training:
        for report in training.run():
            if isinstance(report, Step) and report.number == training.total_steps:
                spoil(training.average)
        finish_run(training)  # and it stops before it is closed
    with resumed_run(training.folder, few) as going_on:
        assert not list(going_on.run())
        close_run(going_on.folder, finish_run(going_on))
    assert read_run(training.folder).record["normalisation"] == "measured"


def test_zero_epochs_only_measure_statistics(trained, few, tmp_path):
    """The faces of the new data have half the brightness."""
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


def test_zero_epochs_need_first_weights():
    with pytest.raises(UsageError, match="--epochs cannot be 0"):
        TrainConfig(epochs=0)


def test_the_weights_of_several_networks_are_averaged(trained, few, tmp_path):
    """A folder whose name contains a comma is one network."""
    other = tmp_path / "other,run"
    config = dataclasses.replace(CONFIG, epochs=1, start_from=str(trained), seed=1)
    with new_run(config, few, out=tmp_path) as training:
        list(training.run())
        close_run(training.folder, finish_run(training))
    training.folder.rename(other)
    first, second, alone = (
        initial_network(CONFIG, few.splits[Split.TRAIN], sources=open_sources(str(source)))
        for source in (trained, other, other)
    )
    (tmp_path / "other").symlink_to(other)
    mean = initial_network(CONFIG, few.splits[Split.TRAIN], sources=open_sources(f"{trained},{tmp_path / 'other'}"))
    for name, weights in mean.state_dict().items():
        both = [network.state_dict()[name].double() for network in (first, second)]
        assert torch.allclose(weights.double(), (both[0] + both[1]) / 2, atol=1e-6), name
        assert torch.equal(alone.state_dict()[name], second.state_dict()[name])
    assert not torch.equal(*(next(network.parameters()) for network in (first, second)))
    with pytest.raises(ModelError, match="nothing"):
        open_sources(f"{trained},nothing")


def test_the_weights_of_a_deeper_and_a_shallower_network_are_averaged(few, tmp_path):
    """Missing blocks of the smaller network change nothing in it, so half of the other's blocks remains."""
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
    mean = initial_network(config, few.splits[Split.TRAIN], sources=both).state_dict()
    deep = networks["deep"].state_dict()
    last = next(name for name in reversed(deep) if name.endswith("second.1.weight"))
    assert torch.allclose(mean[last], deep[last] / 2)
