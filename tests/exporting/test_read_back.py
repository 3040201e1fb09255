"""Networks that are read from an exported file, and trained further."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

from emotify.cli import app
from emotify.data import Split
from emotify.ensembling.pooling import Pooling
from emotify.errors import ModelError, UsageError
from emotify.exporting.export import export
from emotify.exporting.read_back import read_members, read_network
from emotify.networks import Network, build_network, normalisation
from emotify.networks.layers import SqueezeExcitation
from emotify.onnx_runtime.classifier import open_session
from emotify.training.config import TrainConfig
from emotify.training.prepare import prepare
from emotify.training.run_folder import new_run

ALONE = Pooling((1.0,), 1.0)


def used(name: str, images: np.ndarray) -> Network:
    """A network whose batch norm has seen images, with its own scales and shifts."""
    torch.manual_seed(0)
    network = build_network(name).train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.3, 0.3)
        if isinstance(module, SqueezeExcitation):
            torch.nn.init.uniform_(module.excite.bias, -1, 1)
            torch.nn.init.zeros_(module.excite.weight)  # a gate that int8 folds
    with torch.no_grad():
        for start in range(0, 200, 40):
            network(torch.from_numpy(images[start : start + 40]))
    return network.eval()


def answers(network: Network, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(network(torch.from_numpy(images)).softmax(1).numpy())


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", 1e-4), ("fp16", 5e-3), ("int8", 0.1)])
def test_the_network_answers_as_the_file(precision, allowed, faces, tmp_path):
    """This includes folded gates. The batch norm gets the statistics of the train images."""
    train, valid = faces[Split.TRAIN], faces[Split.VALID]
    path = tmp_path / "model.onnx"
    network = used("cnn", train.images)
    export(
        [("one", network)], path, pooling=ALONE, precision=precision, valid=valid, calibration=train.images
    )  # fmt: skip
    back = read_network(path).unfold(train.images)
    expected = open_session(path).probabilities(valid.images)
    assert float(expected.std()) > 0.01
    assert np.abs(answers(back.eval(), valid.images) - expected).max() < allowed
    for module in back.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0
    batches = np.abs(answers(back.train(), train.images) - answers(back.eval(), train.images))
    assert batches.max() < 0.05


def test_every_image_has_the_same_weight_in_the_statistics(faces, tmp_path, monkeypatch):
    """The statistics do not depend on the order of the images; of too many images, some are skipped."""
    white = np.full((6, 1, 48, 48), 255, np.uint8)
    images = np.concatenate([faces[Split.TRAIN].images[:256], white])
    path = tmp_path / "model.onnx"
    export([("one", used("fnn", images))], path, pooling=ALONE)

    def weights(some):
        torch.manual_seed(0)
        return read_network(path).unfold(some).state_dict()

    back, turned = weights(images), weights(images[::-1].copy())
    assert all(torch.allclose(back[name], turned[name], rtol=1e-3, atol=1e-4) for name in back)
    monkeypatch.setattr(normalisation, "_MEASURED", 200)
    half, few = weights(images[::2].copy()), weights(images)
    assert all(torch.equal(half[name], few[name]) for name in half)


def test_a_file_gives_back_all_its_networks(faces, tmp_path):
    """Networks and pooling are read, so the file can be exported again, also by the command."""
    train, valid = faces[Split.TRAIN], faces[Split.VALID]
    members = [("one", used("small", train.images)), ("two", used("fnn", train.images))]
    pooling = Pooling((0.25, 0.75), 1.3, linear=True)
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    export(members, first, pooling=pooling, views="mirror", valid=valid)
    file = read_members(first)
    assert ([name for name, _ in file.members], file.pooling, file.views) == (["one", "two"], pooling, "mirror")
    assert file.crowd is None
    shown = CliRunner().invoke(app, ["export", str(first), "--out", str(second)])
    assert shown.exit_code == 0, shown.output
    before, after = open_session(first), open_session(second)
    np.testing.assert_allclose(after.probabilities(valid.images), before.probabilities(valid.images), atol=1e-5)
    kept = ("members", "models", "weights", "pooling", "temperature", "views")
    for key in kept:
        assert after.metadata[f"emotify.{key}"] == before.metadata[f"emotify.{key}"]


@pytest.mark.parametrize("key", ["members", "temperature", "pooling"])
def test_a_file_without_pooling_is_refused(key, faces, tmp_path):
    path = tmp_path / "model.onnx"
    export([("one", used("fnn", faces[Split.TRAIN].images))], path, pooling=ALONE, valid=faces[Split.VALID])
    model = onnx.load(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props if entry.key != f"emotify.{key}"}
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)
    with pytest.raises(ModelError, match="no valid metadata about its pooling"):
        read_members(path)


def test_the_network_with_the_largest_weight_is_read(faces, tmp_path):
    images = faces[Split.TRAIN].images
    members = [(name, used(name, images)) for name in ("small", "fnn")]
    export(members, tmp_path / "both.onnx", pooling=Pooling((0.3, 0.7), 1.5))
    back = read_network(tmp_path / "both.onnx").unfold(images)
    assert back.name == "fnn"
    assert np.allclose(answers(back.eval(), images), answers(members[1][1], images), atol=1e-4)
    with pytest.raises(UsageError, match="weights of fnn do not fit cnn"):
        prepare(TrainConfig(start_from=str(tmp_path / "both.onnx")))


def test_a_training_starts_with_the_weights_of_a_file(few, tmp_path):
    """With a tiny learning rate, the last weights equal the first ones."""
    path = tmp_path / "model.onnx"
    export([("one", used("fnn", few.splits[Split.TRAIN].images))], path, pooling=ALONE)
    config = TrainConfig(model="fnn", epochs=1, batch_size=32, learning_rate=1e-12, weight_decay=0, device="cpu")
    with new_run(dataclasses.replace(config, start_from=str(path)), few, out=tmp_path) as training:
        images = few.splits[Split.VALID].images
        assert np.allclose(answers(training.average, images), open_session(path).probabilities(images), atol=1e-3)
        list(training.run())
        assert np.allclose(answers(training.average, images), open_session(path).probabilities(images), atol=0.1)


def test_a_file_whose_weights_are_of_another_network_is_refused(onnx_file, tmp_path):
    """Another version of emotify may have changed a network."""
    model = onnx.load(onnx_file)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**metadata, "emotify.models": '["cnn", "cnn"]'})
    onnx.save(model, tmp_path / "odd.onnx")
    for read in (read_members, read_network):
        with pytest.raises(ModelError, match=r"odd\.onnx do not fit cnn of this version of emotify; start from a run"):
            read(tmp_path / "odd.onnx")


@pytest.mark.parametrize("models", [None, '["none of ours"]', "[]", "{"])
def test_a_file_without_names_of_networks_is_refused(models, onnx_file, tmp_path):
    model = onnx.load(onnx_file)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata.pop("emotify.models")) == ["fnn", "fnn"]
    onnx.helper.set_model_props(model, {**metadata, **({"emotify.models": models} if models else {})})
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(ModelError, match="does not name its networks"):
        prepare(TrainConfig(start_from=str(tmp_path / "odd.onnx")))
