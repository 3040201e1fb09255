"""int8 files: 7-bit weights, equal results on every CPU, and small rounding errors."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import nn

from emotify.ensembling.pooling import Pooling
from emotify.errors import GateError
from emotify.exporting import export as export_module
from emotify.exporting import rounding
from emotify.exporting.eight_bits import to_int8
from emotify.exporting.export import export
from emotify.exporting.graph import ExportedClassifier
from emotify.exporting.onnx_file import to_onnx
from emotify.exporting.rounding import round_weights
from emotify.machine import describe_cpu
from emotify.networks import build_network
from emotify.onnx_runtime.classifier import Session
from emotify.opening import packaged_models

ONE = Pooling((1.0,), 1.2)


def network(name: str = "small"):
    torch.manual_seed(5)
    built = build_network(name).eval()
    for module in built.modules():
        if isinstance(module, nn.BatchNorm2d):  # blocks start as the identity
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return built


@pytest.fixture(scope="module")
def images(faces):
    return faces["train"].images


def large_weights(path):
    """Return the 8-bit weights of a file as int."""
    tensors = [tensor for tensor in onnx.load(path).graph.initializer if tensor.data_type == TensorProto.INT8]
    return np.concatenate([numpy_helper.to_array(tensor).astype(int).ravel() for tensor in tensors])


@pytest.mark.parametrize("name", packaged_models())
def test_no_weight_of_a_shipped_file_can_saturate(name):
    """Two products of 0..255 and -64..64 fit in 16 bits, on any CPU."""
    found = large_weights(packaged_models()[name])
    assert len(found) > 100_000
    assert np.abs(found).max() <= 64


def test_export_writes_weights_of_7_bits(images, faces, tmp_path, monkeypatch):
    """The file gives the same results with and without graph optimisation."""
    monkeypatch.setattr(export_module, "LARGEST_LOSS", 1.0)
    path = tmp_path / "m.onnx"
    result = export([("m", network())], path, pooling=ONE, precision="int8", valid=faces["valid"], calibration=images)
    found = large_weights(path)
    assert (found.min(), found.max()) >= (-64, 60)
    assert found.max() <= 63
    assert result.difference < 0.1
    content = path.read_bytes()
    fast, plain = (Session(content, name="m", optimise=optimise).probabilities(images) for optimise in (True, False))
    assert np.abs(fast - plain).max() < 0.02


def test_export_refuses_weights_that_could_saturate(images, faces, tmp_path, monkeypatch):
    """It is exit 7 without a file, and the message gives the reason."""
    monkeypatch.setattr(rounding, "LOWEST", -127)
    monkeypatch.setattr(rounding, "HIGHEST", 127)
    path = tmp_path / "m.onnx"
    with pytest.raises(GateError, match=r"weights beyond \+-64.*saturate on CPUs without VNNI"):
        export([("m", network())], path, pooling=ONE, precision="int8", valid=faces["valid"], calibration=images[:32])
    assert not path.exists()


def test_a_network_without_convolutions_stays_in_float32(images, faces, tmp_path):
    """--precision int8 gives a file with the answers of torch."""
    path = tmp_path / "m.onnx"
    result = export(
        [("m", network("fnn"))], path, pooling=ONE, precision="int8", valid=faces["valid"], calibration=images
    )
    assert result.difference < 1e-5
    assert {tensor.data_type for tensor in onnx.load(path).graph.initializer} & {TensorProto.INT8} == set()


def test_export_refuses_a_file_whose_arithmetics_disagree(faces, tmp_path, monkeypatch):
    """The message names the arithmetic and the CPU."""
    monkeypatch.setattr(export_module, "LARGEST_DISAGREEMENT", -1.0)
    named = rf"on {re.escape(describe_cpu())}.*graph optimisation o"
    with pytest.raises(GateError, match=named):
        export([("m", network("fnn"))], tmp_path / "m.onnx", pooling=ONE, valid=faces["valid"])
    assert not list(tmp_path.iterdir())


def test_rounding_keeps_the_outputs_of_a_layer(images):
    """The outputs change less than with rounding to the nearest level, and their mean does not change."""
    torch.manual_seed(0)
    first = nn.Sequential(_Float(), nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
    layer = nn.Conv2d(8, 16, 3, stride=2, padding=1)
    with torch.no_grad():
        seen = first(torch.from_numpy(images))
        before, weights = layer(seen), layer.weight.clone()
        scales = torch.from_numpy(round_weights(nn.Sequential(first, layer), images)["1.weight"])[:, None, None, None]
        after = layer(seen)
        assert layer.bias is not None
        nearest = (weights / scales).round().clamp(-64, 63) * scales
        simple = nn.functional.conv2d(seen, nearest, layer.bias, stride=2, padding=1)
    levels = layer.weight / scales
    assert (levels - levels.round()).abs().max() < 1e-3
    assert (after - before).square().mean() < 0.5 * (simple - before).square().mean()
    assert (after - before).mean((0, 2, 3)).abs().max() < 0.5 * (after - before).std()


class _Float(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images.float() - 128) / 64


@pytest.mark.parametrize("linear", [False, True])
def test_no_axis_of_members_precedes_the_axis_of_images(linear):
    """Clients that take the first axis for the batch, such as OpenCV, would return (1, 1, 7) without an error."""
    classifier = ExportedClassifier([network("fnn"), network("fnn")], Pooling((0.5, 0.5), 1.3, linear=linear)).eval()
    model = onnx.shape_inference.infer_shapes(to_onnx(classifier))
    shapes = {
        tensor.name: [size.dim_param or size.dim_value for size in tensor.type.tensor_type.shape.dim]
        for tensor in (*model.graph.value_info, *model.graph.output)
    }
    assert not [name for name, shape in shapes.items() if shape[0] in {1, 2} or len(shape) == 3]
    assert not {"Unsqueeze", "LogSoftmax", "Concat"} & {node.op_type for node in model.graph.node}


def test_one_member_ends_in_a_plain_softmax():
    model = to_onnx(ExportedClassifier([network("fnn")], ONE).eval())
    assert [node.op_type for node in model.graph.node][-3:] == ["Gemm", "Div", "Softmax"]


@pytest.mark.parametrize(("name", "opset"), [("small", 18), ("whitened", 20)])
def test_int8_files_have_the_lowest_opset(name, opset, images):
    """Without GELU, onnxruntime 1.16 can load them."""
    model = to_int8(ExportedClassifier([network(name)], ONE).eval(), images[:16])
    assert model.opset_import[0].version == opset
    assert model.ir_version <= 9


def test_fp32_files_have_the_lowest_opset(images):
    """This includes GELU: it is written as a formula and gives torch's results."""
    classifier = ExportedClassifier([network("whitened")], ONE).eval()
    expected = classifier(torch.from_numpy(images[:4])).detach().numpy()
    model = to_onnx(classifier)
    assert (model.opset_import[0].version, model.ir_version) == (18, 8)
    assert "Erf" in {node.op_type for node in model.graph.node}
    np.testing.assert_allclose(classifier(torch.from_numpy(images[:4])).detach().numpy(), expected, atol=1e-6)


def test_pixels_are_exact_in_int8(images):
    """The first quantisation has one level for each of the 256 grey values."""
    model = to_int8(ExportedClassifier([network()], ONE).eval(), images[:16])
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    first = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    assert (float(tensors[first.input[1]]), int(tensors[first.input[2]])) == (1 / 64, 128)
