"""Unsafe, damaged and incompatible models are refused with a clear error."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, StringStringEntryProto, TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from emotify.cli import app
from emotify.emotions import EMOTIONS
from emotify.errors import ModelError
from emotify.onnx_runtime.classifier import open_session
from emotify.onnx_runtime.safety import MAX_NODES, check_model, fields
from emotify.onnx_runtime.session import LARGEST_MODEL, start_session
from emotify.opening import ASSETS, packaged_models

ChangedModel = Callable[[Callable[[ModelProto], object]], Path]


def external(name: str = "outside", location: str = "../secret") -> TensorProto:
    """Return a tensor that takes its data from another file."""
    tensor = TensorProto(name=name, dims=[4], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    tensor.external_data.append(StringStringEntryProto(key="location", value=location))
    return tensor


def constant(**attributes: Any) -> NodeProto:
    return helper.make_node("Constant", [], ["unused"], **attributes)


def subgraph(tensor: TensorProto) -> NodeProto:
    output = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    graph = helper.make_graph([helper.make_node("Identity", ["outside"], ["x"])], "inner", [], [output], [tensor])
    return helper.make_node("If", ["condition"], ["unused"], then_branch=graph, else_branch=graph)


def sparse(tensor: TensorProto) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(values=tensor, indices=numpy_helper.from_array(np.arange(4)), dims=[9])


def external_without_location() -> TensorProto:
    tensor = external()
    del tensor.external_data[:]
    return tensor


EXTERNAL = {
    "parent folder": lambda m: m.graph.initializer.append(external()),
    "absolute path": lambda m: m.graph.initializer.append(external(location="/etc/passwd")),
    "relative path": lambda m: m.graph.initializer.append(external(location="secret")),
    "external without a location": lambda m: m.graph.initializer.append(external_without_location()),
    "attribute of a node": lambda m: m.graph.node.append(constant(value=external())),
    "attribute with several tensors": lambda m: m.graph.node.append(constant(values=[external(), external()])),
    "graph in a node": lambda m: m.graph.node.append(subgraph(external())),
    "sparse tensor": lambda m: m.graph.sparse_initializer.append(sparse(external())),
    "sparse attribute": lambda m: m.graph.node.append(constant(sparse_value=sparse(external()))),
    "function": lambda m: m.functions.append(
        onnx.FunctionProto(name="f", domain="mine", node=[constant(value=external())])
    ),
    "training": lambda m: m.training_info.append(onnx.TrainingInfoProto(algorithm=m.graph)),
}


@pytest.mark.parametrize("change", EXTERNAL.values(), ids=EXTERNAL.keys())
def test_external_data_is_refused_everywhere_in_a_model(change, changed_model: ChangedModel):
    """The check needs only the bytes of the file, so the kind of path does not matter."""
    path = changed_model(change)
    with pytest.raises(ModelError, match=r"changed\.onnx is not run: it (holds|has)"):
        check_model(path.read_bytes(), name=path.name)


def test_external_data_is_refused_before_onnxruntime_is_imported(changed_model: ChangedModel, tmp_path):
    """The command ends with exit 5. The external file is a pipe: opening it would wait forever."""
    os.mkfifo(tmp_path / "secret")
    path = changed_model(lambda model: model.graph.initializer.append(external(location="secret")))
    program = (
        "import sys\nfrom emotify.cli import app\n"
        f"try: app(['predict', {str(ASSETS)!r}, '--model', {str(path)!r}])\n"
        "except SystemExit as end: print(end.code, 'onnxruntime' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout == "5 False\n"
    assert "data in another file" in shown.stderr


def many_nodes(model: ModelProto) -> None:
    model.graph.node.extend([helper.make_node("Identity", ["images"], ["x"])] * MAX_NODES)


def large_tensor(*dims: int) -> Callable[[ModelProto], object]:
    return lambda model: model.graph.initializer.append(TensorProto(name="huge", dims=dims, data_type=1))


def node(operator: str, **options: str) -> Callable[[ModelProto], object]:
    return lambda model: model.graph.node.append(helper.make_node(operator, ["images"], ["unused"], **options))


REFUSED = {
    "a tensor of any size": (node("ConstantOfShape"), "operator"),
    "a loop": (node("Loop"), "operator"),
    "a scan": (node("Scan"), "operator"),
    "random numbers": (node("RandomNormal"), "operator"),
    "an operator of another domain": (node("Conv", domain="com.evil"), r"com\.evil\.Conv"),
    "an operator of Microsoft's domain": (node("Gelu", domain="com.microsoft"), r"com\.microsoft\.Gelu"),
    "too many nodes": (many_nodes, f"{MAX_NODES} nodes"),
    "huge tensor": (large_tensor(10**13), "larger than the file"),
    "huge tensor of many dimensions": (large_tensor(*[1000] * 12), "larger than the file"),
    "negative dimension": (large_tensor(-1), "larger than the file"),
    "very many dimensions": (large_tensor(*[1] * 100_000), "dimensions"),
    "too many fields": (lambda m: m.graph.input.extend([m.graph.input[0]] * 200_001), "parts"),
    "an operator with control characters": (node("\x1b[31mRelu"), r"\\x1b\[31mRelu"),
}


@pytest.mark.parametrize(("change", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_forbidden_operators_and_huge_sizes_are_refused_quickly(change, words, changed_model: ChangedModel):
    path = changed_model(change)
    content = path.read_bytes()
    start = time.process_time()
    with pytest.raises(ModelError, match=words):
        check_model(content, name=path.name)
    assert time.process_time() - start < 2


def test_model_files_above_the_size_limit_are_refused(tmp_path):
    """A device, whose size is unknown before it is read, is refused too."""
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.truncate(LARGEST_MODEL + 1)
    for large in (path, Path("/dev/zero")):
        with pytest.raises(ModelError, match="larger than any model"):
            open_session(large)


@pytest.mark.parametrize("size", [10**9, 10**13])
def test_a_model_that_allocates_too_much_memory_is_stopped(size, changed_model: ChangedModel):
    """A small file can expand a tensor to any size. It is refused, or its run fails with an error."""

    def grow(model: ModelProto) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.array([size, 1]), "shape"))
        model.graph.node[3].output[0] = "small"
        more = [
            ("ReduceSum", ["small"], "one"),
            ("Expand", ["one", "shape"], "large"),
            ("ReduceMean", ["large"], "mean"),
        ]
        model.graph.node.extend(helper.make_node(name, inputs, [output]) for name, inputs, output in more)
        model.graph.node.append(helper.make_node("Add", ["small", "mean"], ["probabilities"]))

    path = changed_model(grow)
    if size > 10**12:
        with pytest.raises(ModelError, match="is not run"):  # above the limit of computation, too
            open_session(path, threads=1)
        return
    session = open_session(path, threads=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match="cannot be run"):
        session.probabilities(np.zeros((1, 1, 48, 48), np.uint8))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_a_model_with_nan_outputs_is_refused(changed_model: ChangedModel):
    """The error says that the outputs are NaN or infinite."""

    def damage(model: ModelProto) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.array([np.nan], np.float32), "damage"))
        model.graph.node[3].output[0] = "whole"
        model.graph.node.append(helper.make_node("Mul", ["whole", "damage"], ["probabilities"]))

    with pytest.raises(ModelError, match="NaN or infinite values"):
        open_session(changed_model(damage)).probabilities(np.zeros((1, 1, 48, 48), np.uint8))


def set_input(kind: int, *shape: int | str) -> Callable[[ModelProto], object]:
    return lambda m: m.graph.input[0].CopyFrom(helper.make_tensor_value_info("images", kind, shape))


def set_metadata(key: str, value: str) -> Callable[[ModelProto], object]:
    return lambda m: helper.set_model_props(
        m, {"emotify.schema": "1", "emotify.classes": json.dumps(EMOTIONS)} | {key: value}
    )


def add_output(model: ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 7]))


def three_classes(model: ModelProto) -> None:
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((2304, 3), np.float32), "weights"))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3]))


MISMATCHES = {
    "shape": (set_input(TensorProto.UINT8, "N", 1, 64, 36), r"\[1, 64, 36\].*48, 48"),
    "type": (set_input(TensorProto.FLOAT, "N", 1, 48, 48), r"tensor\(float\).*uint8"),
    "rank": (set_input(TensorProto.UINT8, "N", 2304), r"\[2304\].*48, 48"),
    "outputs": (add_output, "logits.*expected probabilities"),
    "classes": (three_classes, r"\[3\].*\(N, 7\)"),
    "class names": (set_metadata("emotify.classes", json.dumps(EMOTIONS[::-1])), "has the classes .*neutral"),
    "classes that are a number": (set_metadata("emotify.classes", "7"), "has the classes"),
    "classes of deeply nested lists": (set_metadata("emotify.classes", "[" * 10**5), "has the classes"),
    "metadata": (lambda m: m.ClearField("metadata_props"), "not made by emotify export"),
    "schema": (set_metadata("emotify.schema", "2"), "schema 2"),
    "ir version": (lambda m: setattr(m, "ir_version", 999), "(?i)ir.?version"),
    "opset": (lambda m: setattr(m.opset_import[0], "version", 999), "(?i)opset"),
    "control characters in the schema": (
        set_metadata("emotify.schema", "\x1b]52;c;aGk=\x07" * 10**6),
        r"schema \\x1b\]52",
    ),
    "control characters in the classes": (
        set_metadata("emotify.classes", json.dumps(["\x1b[2J\n[red]"] * 10**5)),
        "has the classes",
    ),
}


@pytest.mark.parametrize(("change", "words"), MISMATCHES.values(), ids=MISMATCHES.keys())
def test_an_error_names_what_is_incompatible_in_a_model(change, words, changed_model: ChangedModel):
    """predict ends with exit 5 and one short line without control characters, for any metadata."""
    shown = CliRunner().invoke(app, ["predict", str(ASSETS), "--model", str(changed_model(change))])
    assert shown.exit_code == 5
    assert re.search(words, shown.stderr), shown.stderr
    assert "changed.onnx" in shown.stderr
    assert len(shown.stderr.splitlines()) == 1
    assert len(shown.stderr) < 600
    assert "\x1b" not in shown.stderr


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x08\x12\x00" * 9, b"\x3a\x00", b"\x38\x01", b"\x00" * 50])
def test_files_that_are_not_onnx_models_are_refused(content, tmp_path):
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"x\.onnx is not"):
        open_session(path)


def test_a_truncated_model_is_refused(small_model, tmp_path):
    """The file is cut at about 20 places."""
    content = small_model.read_bytes()
    path = tmp_path / "part.onnx"
    for length in range(1, len(content), len(content) // 20):
        path.write_bytes(content[:length])
        with pytest.raises(ModelError, match=r"part\.onnx"):
            open_session(path)


class Bomb:
    """An object whose unpickling creates the file `mark`."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("suffix", ["onnx", "pt", "pth", "safetensors", "npz", "pkl"])
def test_commands_never_unpickle_a_model_file(suffix, tmp_path):
    """Every command that takes a model ends with exit 5. No message suggests `weights_only=False`."""
    mark, bomb = tmp_path / "mark", tmp_path / f"bomb.{suffix}"
    bomb.write_bytes(pickle.dumps(Bomb(mark)))
    commands = [["predict", str(ASSETS), "--model"], ["evaluate", "--data", "synthetic"], ["export"]]
    for words in commands:
        shown = CliRunner().invoke(app, [*words, str(bomb)])
        assert shown.exit_code == 5, shown.output
        assert "weights_only" not in shown.output
    assert not mark.exists()


def test_packaged_models_are_accepted():
    for path in ASSETS.rglob("*.onnx"):
        check_model(path.read_bytes(), name=path.name)


def test_doc_strings_and_metadata_in_a_model_are_accepted(changed_model: ChangedModel):
    """Other tools write such texts into a model, its graph, nodes, weights and inputs. onnxruntime ignores them."""

    def note(model: ModelProto) -> None:
        graph = model.graph
        for part in (model, graph, graph.node[0], graph.initializer[0], graph.input[0], graph.output[0]):
            part.doc_string = "a note"
            part.metadata_props.add(key="tool", value="1.0")

    check_model(changed_model(note).read_bytes(), name="noted.onnx")


@pytest.mark.parametrize("missing_bytes", [1, 3])
def test_a_model_without_its_last_bytes_is_refused_before_it_is_loaded(missing_bytes, small_model):
    """The last field of the file gives a length beyond its end."""
    with pytest.raises(ModelError, match="not a complete ONNX model"):
        check_model(small_model.read_bytes()[:-missing_bytes], name="cut.onnx")


def test_fields_finds_the_same_nodes_and_tensors_as_onnx():
    """The operator of every node and the size of every tensor are compared, in the default model."""
    path = packaged_models()["default"]
    known = onnx.load(path).graph
    (graph,) = (value for number, value in fields(memoryview(path.read_bytes())) if number == 7)
    assert isinstance(graph, memoryview)
    parts = list(fields(graph))
    nodes = [dict(fields(value)) for number, value in parts if number == 1 and isinstance(value, memoryview)]
    assert [bytes(node[4]).decode() for node in nodes if isinstance(node[4], memoryview)] == [
        node.op_type for node in known.node
    ]
    tensors = [dict(fields(value)) for number, value in parts if number == 5 and isinstance(value, memoryview)]
    raw = [tensor.get(9, memoryview(b"")) for tensor in tensors]  # small int8 tensors have no raw data
    assert [len(value) for value in raw if isinstance(value, memoryview)] == [
        len(tensor.raw_data) for tensor in known.initializer
    ]
    assert sum(map(bool, raw)) > 30


def test_checking_a_damaged_model_raises_only_model_error(small_model):
    """1000 models with randomly changed bytes are checked."""
    rng = random.Random(4)
    seed = small_model.read_bytes()
    head, tail = seed[:300], seed[-700:]  # without the weights, whose bytes are not checked
    for _ in range(1000):
        content = bytearray(head + tail)
        for _ in range(rng.choice((1, 2, 8))):
            content[rng.randrange(len(content))] = rng.randrange(256)
        with contextlib.suppress(ModelError):
            check_model(bytes(content), name="x.onnx")


def add_8_bit_tensor(
    values: list[int], *, dims: tuple[int, ...] = (1, 2), raw: bool = True, kind: int = TensorProto.INT8
):
    """Return a change that adds an 8-bit tensor, stored as raw bytes or as single numbers."""
    array = np.array(values).astype(np.int8 if kind == TensorProto.INT8 else np.uint8).tobytes()
    tensor = helper.make_tensor("w", kind, dims, array if raw else values, raw=raw)
    return lambda model: model.graph.initializer.append(tensor)


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("values", [[-64, 64], [0, 63], [-65, 0], [65, 0], [-128, 127]])
def test_int8_weights_beyond_64_are_detected(values, raw, changed_model: ChangedModel):
    """The largest allowed value is 64, in both ways that a file can store the weights."""
    content = changed_model(add_8_bit_tensor(values, raw=raw)).read_bytes()
    assert check_model(content, name="x.onnx") == (max(map(abs, values)) > 64)


def test_many_int8_weights_stored_as_single_numbers_count_as_large(changed_model: ChangedModel):
    """The check does not read them all. onnx stores only small tensors in this way."""
    for count, large in ((10_000, False), (10_001, True)):
        change = add_8_bit_tensor([1] * count, dims=(1, count), raw=False)
        assert check_model(changed_model(change).read_bytes(), name="x.onnx") == large


def test_int8_vectors_and_uint8_weights_do_not_saturate(changed_model: ChangedModel):
    for change in (add_8_bit_tensor([-128, 127], dims=(2,)), add_8_bit_tensor([0, 255], kind=TensorProto.UINT8)):
        assert not check_model(changed_model(change).read_bytes(), name="x.onnx")


def test_models_that_may_saturate_use_exact_sums(changed_model: ChangedModel):
    """Exact sums take more time than sums in 16 bits, so only models that need them use them."""

    def precision_option(values: list[int]) -> str:
        session = start_session(changed_model(add_8_bit_tensor(values)).read_bytes(), name="x.onnx", hint="")
        return str(session.get_session_options().get_session_config_entry("session.x64quantprecision"))

    assert precision_option([-128, 127]) == "1"
    with pytest.raises(RuntimeError, match="does not have"):
        precision_option([-64, 64])
