"""Models made by hand: what a trained one does not change is tested without training one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from emotify.emotions import EMOTIONS

Change = Callable[[ModelProto], object]


def build_model() -> ModelProto:
    """One layer with weights by chance, described as `emotify export` describes its files."""
    weights = np.random.default_rng(0).normal(0, 2e-4, (48 * 48, 7)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 1, 48, 48])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 7])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {"emotify.schema": "1", "emotify.classes": json.dumps(EMOTIONS)})
    return model


@pytest.fixture(scope="session")
def small_model(tmp_path_factory) -> Path:
    path: Path = tmp_path_factory.mktemp("models") / "small.onnx"
    path.write_bytes(build_model().SerializeToString())
    return path


@pytest.fixture
def changed_model(tmp_path) -> Callable[[Change], Path]:
    """Write the small model, with a change made to it."""

    def write(change: Change) -> Path:
        model = build_model()
        change(model)
        path: Path = tmp_path / "changed.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return write
