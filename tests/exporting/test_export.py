"""Exported files: equal to torch, described in their metadata, reproducible, and never kept if they are wrong."""

from __future__ import annotations

import getpass
import json
import socket
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from typer.testing import CliRunner

from emotify.cli import app
from emotify.emotions import EMOTIONS
from emotify.ensembling.pooling import Pooling
from emotify.errors import GateError
from emotify.evaluation.classifier import AveragedViews, pool_probabilities
from emotify.evaluation.metrics import score
from emotify.exporting import export as export_module
from emotify.exporting.eight_bits import to_int8
from emotify.exporting.export import export
from emotify.exporting.gates import fold_constant_gates
from emotify.exporting.graph import ExportedClassifier
from emotify.networks import build_network
from emotify.networks.inference import fused, predict_answers
from emotify.networks.layers import SqueezeExcitation
from emotify.onnx_runtime.classifier import open_session

EQUAL = Pooling((0.5, 0.5), 1.3)
ONE = Pooling((1.0,), 1.0)


def lively(name: str, seed: int):
    """Return a network with other batch-norm statistics than the initial ones, as after training."""
    torch.manual_seed(seed)
    network = build_network(name).train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randint(0, 256, (32, 1, 48, 48), dtype=torch.uint8))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return network.eval()


@pytest.fixture(scope="module")
def members():
    return [(f"{name}-{seed}", lively(name, seed)) for name, seed in (("cnn", 0), ("fnn", 1))]


@pytest.fixture(scope="module")
def exported(members, faces, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    return export(members, path, pooling=EQUAL, valid=faces["train"])


def test_the_file_is_the_mean_of_its_members(exported, members, faces):
    """Probabilities equal the members' pooled log-probabilities over the temperature to 1e-5, for any batch size."""
    images = faces["train"].images[:77]
    device = torch.device("cpu")
    pooled = pool_probabilities(np.stack([predict_answers(net, images, device=device).labels for _, net in members]))
    expected = pool_probabilities(pooled[None] ** (1 / 1.3))
    session = open_session(exported.path)
    assert np.abs(session.probabilities(images) - expected).max() < 1e-5
    assert np.abs(session.probabilities(images[:1]) - expected[:1]).max() < 1e-5
    assert session.probabilities(images[:0]).shape == (0, 7)
    assert exported.images >= 256


@pytest.mark.versions
def test_the_mirrored_view_is_in_the_graph(members, faces, tmp_path):
    """With two views, the file gives the same result for an image and its mirror image."""
    path = export(
        members, tmp_path / "m.onnx", pooling=Pooling((0.5, 0.5), 1.0), views="mirror", valid=faces["train"]
    ).path
    images = faces["train"].images[:9]
    session = open_session(path)
    mirrored = session.probabilities(np.ascontiguousarray(images[..., ::-1]))
    assert np.abs(session.probabilities(images) - mirrored).max() < 1e-5


def test_ten_views_are_in_the_graph(members, faces, tmp_path):
    """The file gives the mean result of its member for the ten views."""
    alone = export(members[:1], tmp_path / "one.onnx", pooling=Pooling((1.0,), 1.0), valid=faces["train"]).path
    ten = export(
        members[:1], tmp_path / "ten.onnx", pooling=Pooling((1.0,), 1.0), views="ten", valid=faces["train"]
    ).path
    images = faces["train"].images[:9]
    expected = AveragedViews(open_session(alone), "ten").answers(images).labels
    assert np.abs(open_session(ten).probabilities(images) - expected).max() < 1e-5


@pytest.mark.parametrize("name", ["small-eq", "whitened", "vgg"])
def test_other_networks_export_too(name, faces, tmp_path):
    """Equalised pixels, a whitened stem and plain convolutions give torch's results in the file."""
    result = export([(name, lively(name, 2))], tmp_path / "m.onnx", pooling=Pooling((1.0,), 1.0), valid=faces["valid"])
    assert result.difference <= 1e-4


@pytest.mark.versions
def test_the_file_has_the_documented_form(exported):
    """Input, output, opset and metadata are checked."""
    model = onnx.load(exported.path)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version >= 17
    (images,), (probabilities,) = model.graph.input, model.graph.output
    assert (images.name, images.type.tensor_type.elem_type) == ("images", onnx.TensorProto.UINT8)
    assert [size.dim_value for size in images.type.tensor_type.shape.dim] == [0, 1, 48, 48]
    assert (probabilities.name, probabilities.type.tensor_type.elem_type) == ("probabilities", onnx.TensorProto.FLOAT)
    assert [size.dim_value for size in probabilities.type.tensor_type.shape.dim] == [0, 7]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["emotify.schema"] == "1"
    assert tuple(json.loads(metadata["emotify.classes"])) == EMOTIONS
    assert json.loads(metadata["emotify.members"]) == ["cnn-0", "fnn-1"]
    assert float(metadata["emotify.temperature"]) == 1.3
    assert json.loads(metadata["emotify.scores"])["split"] == "valid"


def test_exporting_twice_gives_the_same_bytes(exported, members, faces, tmp_path):
    """Nothing in the file depends on time or place."""
    again = export(members, tmp_path / "other.onnx", pooling=EQUAL, valid=faces["train"])
    assert again.path.read_bytes() == exported.path.read_bytes()


def test_the_file_does_not_show_where_it_was_made(exported):
    """It contains no path, user name or host name."""
    content = exported.path.read_bytes()
    for secret in (
        str(Path.home()),
        str(Path.cwd()),
        str(exported.path.parent),
        getpass.getuser(),
        socket.gethostname(),
    ):
        if len(secret) > 2:
            assert secret.encode() not in content


def test_fp16_weights_halve_the_file(exported, members, faces, tmp_path):
    half = export(members, tmp_path / "half.onnx", pooling=EQUAL, precision="fp16", valid=faces["train"])
    assert half.bytes < 0.52 * exported.bytes
    assert half.difference < 1e-2


def test_int8_files_are_smaller_and_scored_themselves(exported, members, faces, tmp_path, monkeypatch):
    """The convolutions shrink, and the reported scores are the file's own."""
    valid = faces["train"]
    path = tmp_path / "int8.onnx"
    monkeypatch.setattr(export_module, "LARGEST_LOSS", 1.0)
    result = export(members, path, pooling=EQUAL, precision="int8", valid=valid, calibration=valid.images)
    assert result.difference > 0
    assert result.bytes < 0.8 * exported.bytes
    answers = open_session(path).probabilities(valid.images)
    assert result.file_scores is not None
    assert score(answers, valid.labels).accuracy == pytest.approx(result.file_scores.accuracy)


def test_one_image_of_noise_does_not_make_int8_coarse(faces):
    """The levels stay fine for ordinary images if the calibration data has one image of noise."""
    images = faces["train"].images[:96]
    noise = np.random.default_rng(0).integers(0, 2, (1, *images.shape[1:]), np.uint8) * 255

    def steps(calibration):
        graph = to_int8(ExportedClassifier([lively("small", 3)], ONE).eval(), calibration).graph
        scales = [tensor for tensor in graph.initializer if tensor.name.endswith("_scale") and not tensor.dims]
        return {tensor.name: float(numpy_helper.to_array(tensor)) for tensor in scales}

    plain, noisy = steps(images), steps(np.concatenate([images, noise]))
    assert len(plain) > 10
    assert max(noisy[name] / plain[name] for name in plain) < 1.25


@pytest.mark.parametrize("decayed", [True, False])
def test_int8_folds_constant_gates(decayed, faces, tmp_path, monkeypatch):
    """Gates with decayed weights become part of the convolutions; gates that work stay."""
    monkeypatch.setattr(export_module, "LARGEST_LOSS", 1.0)
    valid = faces["train"]
    network = lively("small", 3)
    gates = [module for module in network.modules() if isinstance(module, SqueezeExcitation)]
    with torch.no_grad():
        for gate in gates:
            gate.excite.bias.normal_()
            gate.excite.weight.mul_(1e-3 if decayed else 20)
    path = tmp_path / "int8.onnx"
    result = export([("m", network)], path, pooling=ONE, precision="int8", valid=valid, calibration=valid.images)
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert kinds.count("Sigmoid") == (0 if decayed else len(gates))
    assert result.folded_gates == (len(gates) if decayed else 0)
    assert result.difference < 0.1
    assert result.file_scores is not None
    assert result.torch_scores is not None
    assert result.file_scores.nll == pytest.approx(result.torch_scores.nll, rel=0.05)


@pytest.mark.slow
def test_the_command_reports_folded_gates(faces, tiny_csv, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "LARGEST_LOSS", 1.0)
    network = lively("small", 3)
    for module in network.modules():
        if isinstance(module, SqueezeExcitation):
            torch.nn.init.zeros_(module.excite.weight)
    path = export([("small-s0", network)], tmp_path / "m.onnx", pooling=ONE, valid=faces["train"]).path
    words = ["export", path, "--precision", "int8", "--data", tiny_csv, "--out", tmp_path / "int8.onnx"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert "folded 3 constant gates into the convolutions before them\n" in result.stderr


def test_folding_constant_gates_keeps_the_answers(faces):
    network = fused(lively("small", 3))
    images = faces["train"].images[:64]
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, SqueezeExcitation):
                module.excite.bias.normal_()
                module.excite.weight.zero_()
    before = predict_answers(network, images, device=torch.device("cpu")).labels
    assert fold_constant_gates(network, images) == 3
    np.testing.assert_allclose(predict_answers(network, images, device=torch.device("cpu")).labels, before, atol=1e-5)
    assert fold_constant_gates(network, images) == 0


def test_a_file_that_differs_from_pytorch_is_not_kept(members, faces, tmp_path, monkeypatch):
    """The export ends with an error and leaves no file. The test sets the tolerance to 0."""
    monkeypatch.setitem(export_module.TOLERANCE, "fp32", 0.0)
    with pytest.raises(GateError, match="differ from torch"):
        export(members, tmp_path / "m.onnx", pooling=EQUAL, valid=faces["train"])
    assert not list(tmp_path.iterdir())


def test_a_file_with_nan_answers_is_not_kept(tmp_path):
    network = lively("fnn", 1)
    torch.nn.init.constant_(network.last_layer.bias, torch.inf)
    with pytest.raises(GateError, match=r"m\.onnx was not written: .*NaN"):
        export([("m", network)], tmp_path / "m.onnx", pooling=ONE)
    assert not list(tmp_path.iterdir())


def test_a_file_that_loses_accuracy_is_not_kept(faces, tmp_path):
    """All images are of `disgust`, whose probability is larger than that of `angry` by less than float16 resolves."""
    network = lively("fnn", 1)
    layer = network.last_layer
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[:2] = 1.0 / layer.in_features
        layer.weight[1] *= 1.0001
        layer.bias.zero_()
    disgust = faces["train"].take(faces["train"].labels == EMOTIONS.index("disgust"))
    with pytest.raises(GateError, match=r"fp16 loses 100\.00% of accuracy on valid \(allowed 0\.5%\); export"):
        export([("m", network)], tmp_path / "m.onnx", pooling=ONE, precision="fp16", valid=disgust)
    assert not list(tmp_path.iterdir())


def test_without_data_drawn_faces_are_compared(members, tmp_path):
    result = export(members, tmp_path / "m.onnx", pooling=Pooling((0.5, 0.5), 1.0))
    assert result.images >= 256
    assert result.file_scores is None
