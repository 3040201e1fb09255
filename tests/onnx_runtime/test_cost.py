"""The cost of a model is computed before it runs, and models that cost too much are refused."""

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


def ones(*shape: int, kind: Any = np.float32) -> np.ndarray:
    return np.ones(shape, kind)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


FEATURES = ones(1, 4, 11, 9)
# Operators whose outputs have other shapes than their inputs: operator, inputs (None: left out), attributes.
CASES: list[tuple[str, list[np.ndarray | None], dict[str, Any]]] = [
    ("Conv", [FEATURES, ones(6, 4, 3, 3)], {"pads": [1, 2, 1, 0], "strides": [2, 1]}),
    ("Conv", [FEATURES, ones(6, 2, 3, 2)], {"group": 2, "dilations": [2, 1]}),
    ("Conv", [FEATURES, ones(6, 4, 3, 3)], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("ConvTranspose", [FEATURES, ones(4, 3, 3, 3)], {"strides": [2, 2], "output_padding": [1, 0]}),
    ("ConvTranspose", [FEATURES, ones(4, 3, 3, 3)], {"group": 2, "pads": [1, 1, 1, 1]}),
    ("MaxPool", [FEATURES], {"kernel_shape": [3, 2], "strides": [2, 2]}),
    ("AveragePool", [FEATURES], {"kernel_shape": [2, 2], "auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    ("GlobalAveragePool", [FEATURES], {}),
    ("MatMul", [ones(5, 1, 2, 3), ones(4, 3, 7)], {}),
    ("MatMul", [ones(3), ones(4, 3, 7)], {}),
    ("MatMul", [ones(2, 3), ones(3)], {}),
    ("Gemm", [ones(3, 2), ones(5, 3)], {"transA": 1, "transB": 1}),
    ("Einsum", [ones(2, 3), ones(3, 4)], {"equation": "ij, jk -> ik"}),
    ("ReduceMean", [FEATURES, ints(2, -1)], {"keepdims": 0}),
    ("ReduceSum", [FEATURES], {}),
    ("ArgMax", [FEATURES], {"axis": -2, "keepdims": 0}),
    ("Reshape", [FEATURES, ints(0, -1, 3)], {}),
    ("Flatten", [FEATURES], {"axis": 2}),
    ("Transpose", [FEATURES], {"perm": [0, 2, 3, 1]}),
    ("Transpose", [ones(2, 3)], {}),
    ("Concat", [FEATURES, FEATURES, FEATURES], {"axis": -1}),
    ("Slice", [FEATURES, ints(-1, 1), ints(-100, 8), ints(2, 3), ints(-2, 3)], {}),
    ("Pad", [FEATURES, ints(0, 1, 2, 0, 0, 0, 3, 1)], {}),
    ("Gather", [FEATURES, ints(0, 2, 1)], {"axis": 1}),
    ("GatherND", [FEATURES, np.zeros((2, 2), np.int64)], {}),
    ("GatherElements", [ones(2, 3), np.zeros((2, 2), np.int64)], {"axis": 1}),
    ("Squeeze", [FEATURES, ints(0)], {}),
    ("Squeeze", [FEATURES, ints(-4)], {}),
    ("Squeeze", [FEATURES], {}),
    ("Unsqueeze", [FEATURES, ints(-1, 0)], {}),
    ("Expand", [ones(3, 1), ints(2, 1, 5)], {}),
    ("Tile", [ones(3, 2), ints(2, 4)], {}),
    ("Resize", [FEATURES, None, np.array([1, 1, 2.5, 0.5], np.float32)], {}),
    ("Resize", [FEATURES, None, None, ints(1, 4, 30, 20)], {}),
    ("Shape", [FEATURES], {"start": 1}),
    ("Size", [FEATURES], {}),
    ("TopK", [FEATURES, ints(2)], {"axis": 1}),
    ("Split", [FEATURES], {"axis": 1, "num_outputs": 2}),
    ("DepthToSpace", [FEATURES], {"blocksize": 2}),
    ("SpaceToDepth", [ones(1, 4, 6, 8)], {"blocksize": 2}),
    ("Add", [FEATURES, ones(9)], {}),
    ("Where", [ones(3, 1, kind=bool), ones(4), ones(1, 1)], {}),
    ("Softmax", [FEATURES], {"axis": 1}),
    ("Constant", [], {"value_ints": [1, 2, 3]}),
    ("Constant", [], {"value_floats": [0.5] * 3}),
    ("DynamicQuantizeLinear", [FEATURES], {}),
    ("LRN", [FEATURES], {"size": 3}),
]


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes"), CASES, ids=[f"{number} {case[0]}" for number, case in enumerate(CASES)]
)
def test_inferred_shapes_equal_the_shapes_of_onnxruntime(operator, inputs, attributes):
    """The shapes of each operator's outputs are inferred as onnxruntime computes them."""
    names = [f"i{place}" if value is not None else "" for place, value in enumerate(inputs)]
    arrays = {name: value for name, value in zip(names, inputs, strict=True) if value is not None}
    outputs = [f"o{place}" for place in range({"Split": 2, "TopK": 2, "DynamicQuantizeLinear": 3}.get(operator, 1))]
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
    """Return the small model with more nodes. Their input may be its float pixels: `pixels` or `flat` (N, 2304).

    The weights are named w0, w1 and so on.
    """
    model = build_model()
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(value, f"w{place}") for place, value in enumerate(weights))
    return model


BOMBS = {
    "a large matrix times itself, 100 times": bomb(
        helper.make_node("Expand", ["flat", "w0"], ["large"]),
        *(helper.make_node("MatMul", ["large", "large"], [f"again{number}"]) for number in range(100)),
        weights=(ints(2304, 2304),),
    ),
    "products of a tiled matrix": bomb(
        helper.make_node("Tile", ["flat", "w0"], ["large"]),
        helper.make_node("Transpose", ["large"], ["turned"]),
        helper.make_node("MatMul", ["turned", "large"], ["larger"]),
        helper.make_node("MatMul", ["larger", "larger"], ["last"]),
        weights=(ints(10, 10),),
    ),
    "a convolution with wide padding": bomb(
        helper.make_node("Conv", ["pixels", "w0"], ["wide"], pads=[5000] * 4),
        weights=(ones(64, 1, 7, 7),),
    ),
    "powers of very many numbers, 1000 times": bomb(
        helper.make_node("Expand", ["flat", "w0"], ["large"]),
        *(helper.make_node("Pow", ["large", "large"], [f"again{number}"]) for number in range(1000)),
        weights=(ints(10_000, 2304),),
    ),
    "an Einsum of large matrices": bomb(
        helper.make_node("Expand", ["flat", "w0"], ["large"]),
        helper.make_node("Einsum", ["large", "large", "large"], ["sum"], equation="ab,cb,db->acd"),
        weights=(ints(2000, 2304),),
    ),
    "an enlargement": bomb(
        helper.make_node("Resize", ["pixels", "", "w0"], ["large"], mode="cubic"),
        weights=(np.array([1, 1, 2000, 2000], np.float32),),
    ),
    "a shape that depends on the pixels": bomb(
        helper.make_node("Cast", ["flat"], ["long"], to=TensorProto.INT64),
        helper.make_node("Slice", ["long", "w0", "w1", "w2"], ["few"]),
        helper.make_node("Squeeze", ["few", "w0"], ["lengths"]),
        helper.make_node("Expand", ["flat", "lengths"], ["large"]),
        weights=(ints(0), ints(2), ints(1)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("model", BOMBS.values(), ids=BOMBS.keys())
def test_a_model_that_would_compute_for_hours_is_refused_at_once(model, small_model, tmp_path):
    """The file is small. The command ends with exit 5 and the reason, within 1 s of CPU time."""
    path = tmp_path / "bomb.onnx"
    path.write_bytes(model.SerializeToString())
    assert path.stat().st_size < 150_000
    start = time.process_time()
    shown = CliRunner().invoke(app, ["predict", str(tmp_path), "--model", str(path)])
    assert time.process_time() - start < 1
    assert shown.exit_code == 5
    assert "multiply-accumulates per picture" in shown.stderr or "is unknown before it runs" in shown.stderr


def expand(*lengths: Any) -> ModelProto:
    """Return the small model with another output, whose shape is the sum of these lengths, stored in Constants."""
    names = [f"length{place}" for place in range(len(lengths))]
    return bomb(
        *(
            helper.make_node("Constant", [], [name], value=numpy_helper.from_array(ints(*each)))
            for name, each in zip(names, lengths, strict=True)
        ),
        helper.make_node("Add", names, ["shape"]),
        helper.make_node("Expand", ["flat", "shape"], ["large"]),
        helper.make_node("MatMul", ["large", "w0"], ["last"]),
        weights=(ones(2304, 9),),
    )


def test_a_shape_that_the_model_computes_from_constants_is_known():
    """A small output is accepted. For a large one, the reason is its cost, not an unknown shape."""
    check_model(expand((2, 0), (3, 2304)).SerializeToString(), name="small.onnx")
    with pytest.raises(ModelError, match="multiply-accumulates per picture"):
        check_model(expand((10**7, 0), (10**7, 2304)).SerializeToString(), name="large.onnx")


UNKNOWN = {
    "an attribute of 65 numbers": [helper.make_node("Constant", [], ["x"], value_ints=range(65))],
    "an attribute of 65 fractions": [helper.make_node("Constant", [], ["x"], value_floats=[0.5] * 65)],
    "a shape for another number of pixels": [helper.make_node("Reshape", ["pixels", "w0"], ["x"])],
    "a shape out of 512 numbers": [
        helper.make_node("Gather", ["table", "places"], ["large"]),
        helper.make_node("Slice", ["large", "w1", "w2"], ["row"]),
        helper.make_node("Squeeze", ["row", "w1"], ["eight"]),
        helper.make_node("Slice", ["eight", "w1", "w3"], ["shape"]),
        helper.make_node("Expand", ["flat", "shape"], ["x"]),
    ],
}


@pytest.mark.parametrize("nodes", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_a_shape_that_is_impossible_or_from_many_numbers_is_refused(nodes):
    """The values of more than 64 numbers are not followed, so that the check is quick."""
    model = bomb(*nodes, weights=(ints(7, 7), ints(0), ints(1), ints(2)))
    table, places = np.full((8, 8), [3, 2304, *[1] * 6]), np.zeros(64, np.int64)
    model.graph.initializer.extend([numpy_helper.from_array(table, "table"), numpy_helper.from_array(places, "places")])
    with pytest.raises(ModelError, match="is unknown before it runs"):
        check_model(model.SerializeToString(), name="odd.onnx")


def test_every_allowed_operator_has_a_cost():
    """The table of costs is the only list of allowed operators."""
    assert not hasattr(safety, "_OPERATORS")
    assert len(OPERATORS) > 100


def test_packaged_models_stay_below_the_computation_limit():
    """The steps of a convolution are its multiply-accumulates, plus 8 per element of its inputs and output."""
    for path in packaged_models().values():
        check_model(path.read_bytes(), name=path.name)
    weights, pixels = Tensor((8, 1, 3, 3)), Tensor((1, 1, 48, 48))
    steps = count_steps(Graph({"w": weights, "x": pixels}, [Node("Conv", ["x", "w"], ["y"], {"pads": [1] * 4})]))
    assert steps == 8 * 48 * 48 * 9 + 8 * (8 * 48 * 48 + 48 * 48 + 8 * 9)
    assert steps < MOST_STEPS


def test_nodes_that_precede_their_inputs_are_refused(changed_model):
    """onnxruntime would sort the nodes and run the model."""

    def reverse_nodes(model: ModelProto) -> None:
        nodes = list(model.graph.node)[::-1]
        del model.graph.node[:]
        model.graph.node.extend(nodes)

    path = changed_model(reverse_nodes)
    with pytest.raises(ModelError, match="is unknown before it runs"):
        check_model(path.read_bytes(), name=path.name)
