"""What a model would cost is known before it runs."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from emotify.cli import app
from emotify.errors import ModelError
from emotify.onnx_runtime import safety
from emotify.onnx_runtime.cost import MOST_STEPS, OPERATORS, Graph, Node, Tensor, count_steps, known_shapes
from emotify.onnx_runtime.safety import check_model
from emotify.opening import packaged_models
from tests.conftest import build_model


def numbers(*shape: int, kind: Any = np.float32) -> np.ndarray:
    return np.ones(shape, kind)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


P = numbers(1, 4, 11, 9)
# Operators whose results have other shapes than what they are given, as they are written in models.
CASES: list[tuple[str, list[np.ndarray | None], dict[str, Any]]] = [
    ("Conv", [P, numbers(6, 4, 3, 3)], {"pads": [1, 2, 1, 0], "strides": [2, 1]}),
    ("Conv", [P, numbers(6, 2, 3, 2)], {"group": 2, "dilations": [2, 1]}),
    ("Conv", [P, numbers(6, 4, 3, 3)], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("ConvTranspose", [P, numbers(4, 3, 3, 3)], {"strides": [2, 2], "output_padding": [1, 0]}),
    ("ConvTranspose", [P, numbers(4, 3, 3, 3)], {"group": 2, "pads": [1, 1, 1, 1]}),
    ("MaxPool", [P], {"kernel_shape": [3, 2], "strides": [2, 2]}),
    ("AveragePool", [P], {"kernel_shape": [2, 2], "auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    ("GlobalAveragePool", [P], {}),
    ("MatMul", [numbers(5, 1, 2, 3), numbers(4, 3, 7)], {}),
    ("MatMul", [numbers(3), numbers(4, 3, 7)], {}),
    ("MatMul", [numbers(2, 3), numbers(3)], {}),
    ("Gemm", [numbers(3, 2), numbers(5, 3)], {"transA": 1, "transB": 1}),
    ("Einsum", [numbers(2, 3), numbers(3, 4)], {"equation": "ij, jk -> ik"}),
    ("ReduceMean", [P, ints(2, -1)], {"keepdims": 0}),
    ("ReduceSum", [P], {}),
    ("ArgMax", [P], {"axis": -2, "keepdims": 0}),
    ("Reshape", [P, ints(0, -1, 3)], {}),
    ("Flatten", [P], {"axis": 2}),
    ("Transpose", [P], {"perm": [0, 2, 3, 1]}),
    ("Transpose", [numbers(2, 3)], {}),
    ("Concat", [P, P, P], {"axis": -1}),
    ("Slice", [P, ints(-1, 1), ints(-100, 8), ints(2, 3), ints(-2, 3)], {}),
    ("Pad", [P, ints(0, 1, 2, 0, 0, 0, 3, 1)], {}),
    ("Gather", [P, ints(0, 2, 1)], {"axis": 1}),
    ("GatherND", [P, np.zeros((2, 2), np.int64)], {}),
    ("GatherElements", [numbers(2, 3), np.zeros((2, 2), np.int64)], {"axis": 1}),
    ("Squeeze", [P, ints(0)], {}),
    ("Squeeze", [P, ints(-4)], {}),
    ("Squeeze", [P], {}),
    ("Unsqueeze", [P, ints(-1, 0)], {}),
    ("Expand", [numbers(3, 1), ints(2, 1, 5)], {}),
    ("Tile", [numbers(3, 2), ints(2, 4)], {}),
    ("Resize", [P, None, np.array([1, 1, 2.5, 0.5], np.float32)], {}),
    ("Resize", [P, None, None, ints(1, 4, 30, 20)], {}),
    ("Shape", [P], {"start": 1}),
    ("Size", [P], {}),
    ("TopK", [P, ints(2)], {"axis": 1}),
    ("Split", [P], {"axis": 1, "num_outputs": 2}),
    ("DepthToSpace", [P], {"blocksize": 2}),
    ("SpaceToDepth", [numbers(1, 4, 6, 8)], {"blocksize": 2}),
    ("Add", [P, numbers(9)], {}),
    ("Where", [numbers(3, 1, kind=bool), numbers(4), numbers(1, 1)], {}),
    ("Softmax", [P], {"axis": 1}),
    ("Constant", [], {"value_ints": [1, 2, 3]}),
]


@pytest.mark.parametrize(
    ("operator", "given", "attributes"), CASES, ids=[f"{number} {case[0]}" for number, case in enumerate(CASES)]
)
def test_shapes_are_those_that_onnxruntime_computes(operator, given, attributes):
    """Of each operator that changes them."""
    names = [f"i{place}" if value is not None else "" for place, value in enumerate(given)]
    arrays = {name: value for name, value in zip(names, given, strict=True) if value is not None}
    outputs = [f"o{place}" for place in range({"Split": 2, "TopK": 2}.get(operator, 1))]
    graph = helper.make_graph(
        [helper.make_node(operator, names, outputs, **attributes)],
        "one",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in arrays.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    computed = [value.shape for value in session.run(outputs, arrays)]
    known = {name: Tensor(value.shape, value if value.size <= 64 else None) for name, value in arrays.items()}
    found = known_shapes(Graph(known, [Node(operator, names, outputs, attributes)]))
    assert [found[name].shape for name in outputs] == computed


def bomb(*nodes: Any, weights: tuple[np.ndarray, ...] = ()) -> ModelProto:
    """A model of a few kB whose other branch does what these nodes say, to the input as float (1, 2304)."""
    model = build_model()
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(value, f"w{place}") for place, value in enumerate(weights))
    return model


BOMBS = {
    "a large matrix by itself": bomb(
        helper.make_node("Expand", ["flat", "w0"], ["large"]),
        *(helper.make_node("MatMul", ["large", "large"], [f"again{number}"]) for number in range(100)),
        weights=(ints(2304, 2304),),
    ),
    "a matrix that grows": bomb(
        helper.make_node("Tile", ["flat", "w0"], ["large"]),
        helper.make_node("Transpose", ["large"], ["turned"]),
        helper.make_node("MatMul", ["turned", "large"], ["larger"]),
        helper.make_node("MatMul", ["larger", "larger"], ["last"]),
        weights=(ints(10, 10),),
    ),
    "a kernel over wide edges": bomb(
        helper.make_node("Conv", ["pixels", "w0"], ["wide"], pads=[5000] * 4),
        weights=(numbers(64, 1, 7, 7),),
    ),
    "powers of very many numbers": bomb(
        helper.make_node("Expand", ["flat", "w0"], ["large"]),
        *(helper.make_node("Pow", ["large", "large"], [f"again{number}"]) for number in range(1000)),
        weights=(ints(10_000, 2304),),
    ),
    "a sum over letters": bomb(
        helper.make_node("Expand", ["flat", "w0"], ["large"]),
        helper.make_node("Einsum", ["large", "large", "large"], ["sum"], equation="ab,cb,db->acd"),
        weights=(ints(2000, 2304),),
    ),
    "an enlargement": bomb(
        helper.make_node("Resize", ["pixels", "", "w0"], ["large"], mode="cubic"),
        weights=(np.array([1, 1, 2000, 2000], np.float32),),
    ),
    "a shape that the pixels decide": bomb(
        helper.make_node("Cast", ["flat"], ["long"], to=TensorProto.INT64),
        helper.make_node("Slice", ["long", "w0", "w1", "w2"], ["few"]),
        helper.make_node("Squeeze", ["few", "w0"], ["lengths"]),
        helper.make_node("Expand", ["flat", "lengths"], ["large"]),
        weights=(ints(0), ints(2), ints(1)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("model", BOMBS.values(), ids=BOMBS.keys())
def test_a_model_that_would_compute_for_hours_is_refused_at_once(model, small_model, tmp_path):
    """Exit 5 with the reason, within a fraction of a second; the file is small."""
    path = tmp_path / "bomb.onnx"
    path.write_bytes(model.SerializeToString())
    assert path.stat().st_size < 150_000
    begun = time.process_time()
    shown = CliRunner().invoke(app, ["predict", str(tmp_path), "--model", str(path)])
    assert time.process_time() - begun < 1
    assert shown.exit_code == 5
    assert "multiply-accumulates per picture" in shown.stderr or "is unknown before it runs" in shown.stderr


def test_every_operator_that_is_allowed_has_a_cost():
    """There is no list of operators beside that of their costs."""
    assert not hasattr(safety, "_OPERATORS")
    assert len(OPERATORS) > 100


def test_the_models_inside_are_far_from_the_bound():
    """And what is counted is about what they compute."""
    for path in packaged_models().values():
        check_model(path.read_bytes(), name=path.name)
    weights, pixels = Tensor((8, 1, 3, 3)), Tensor((1, 1, 48, 48))
    steps = count_steps(Graph({"w": weights, "x": pixels}, [Node("Conv", ["x", "w"], ["y"], {"pads": [1] * 4})]))
    assert steps == 8 * 48 * 48 * 9 + 8 * (8 * 48 * 48 + 48 * 48 + 8 * 9)
    assert steps < MOST_STEPS


def test_nodes_that_come_before_what_they_take_are_refused(changed_model):
    """onnxruntime would put them in order."""

    def turn(model: ModelProto) -> None:
        nodes = list(model.graph.node)[::-1]
        del model.graph.node[:]
        model.graph.node.extend(nodes)

    path = changed_model(turn)
    with pytest.raises(ModelError, match="is unknown before it runs"):
        check_model(path.read_bytes(), name=path.name)
