"""Quantise a classifier to int8: convolutions, sums and max pooling in integers, GELU and the last layer in float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from emotify.arrays import Float32Array, UInt8Array
from emotify.exporting.graph import ExportedClassifier
from emotify.exporting.onnx_file import OPSET, OPSET_WITH_GELU, to_onnx
from emotify.exporting.rounding import round_weights
from emotify.onnx_runtime.session import run_model, start_session

_BATCH = 8  # images
_SAMPLES = 2000  # values of a tensor that are kept from each batch
_SHARES = np.linspace(0.5, 1.0, 26)  # candidate ranges as shares of the largest one, on either side of zero
_PIXELS = (-128 / 64, 127 / 64)  # the range of normalised pixels; its 256 levels are exactly their values

Range = tuple[float, float]


def to_int8(classifier: ExportedClassifier, calibration: UInt8Array) -> ModelProto:
    """Return the classifier as an int8 ONNX model with weights of 7 bits. Rounds the classifier's weights in place.

    calibration: uint8 (N, 1, 48, 48), from the train split.
    """
    scales = round_weights(classifier, calibration)
    # In int8, onnxruntime does not recognise a GELU of several operators, so the file needs GELU as one operator.
    model = to_onnx(classifier, OPSET_WITH_GELU if classifier.has_gelu() else OPSET)
    shared = _quantised_tensors(model)
    ranges = _ranges(model, sorted(set(shared.values())), calibration)
    _insert(model, {tensor: ranges[source] for tensor, source in shared.items()}, scales)
    return model


def _quantised_tensors(model: ModelProto) -> dict[str, str]:
    """Return a dict of the tensors to quantise to the tensors whose ranges they use.

    These are inputs and outputs of convolutions, sums of such tensors, and max pooling. Where a ReLU follows, its
    output is quantised instead.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    after_relu = _followed_by_relu(model)
    quantised: dict[str, str] = {}
    for node in model.graph.node:
        output = after_relu.get(node.output[0], node.output[0])
        if node.op_type == "Conv":
            quantised.setdefault(node.input[0], node.input[0])
            quantised[output] = output
        elif node.op_type == "Add" and quantised.keys() & set(node.input) and not constants & set(node.input):
            for tensor in (*node.input, output):
                quantised.setdefault(tensor, tensor)
        elif node.op_type == "MaxPool" and node.input[0] in quantised:
            quantised[output] = quantised[node.input[0]]
    return quantised


def _followed_by_relu(model: ModelProto) -> dict[str, str]:
    """Return a dict of the tensors whose only consumer is a ReLU to the outputs of these ReLUs."""
    consumers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for tensor in node.input:
            consumers.setdefault(tensor, []).append(node)
    return {
        tensor: nodes[0].output[0]
        for tensor, nodes in consumers.items()
        if len(nodes) == 1 and nodes[0].op_type == "Relu"
    }


def _ranges(model: ModelProto, tensors: Sequence[str], calibration: UInt8Array) -> dict[str, Range]:
    """Return for each tensor the range to cover with 256 levels."""
    if not tensors:  # a network without convolutions stays float32
        return {}
    probe = ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(helper.make_empty_tensor_value_info(tensor) for tensor in tensors)
    session = start_session(probe.SerializeToString(), name="the network", hint="")
    kept: dict[str, list[Float32Array]] = {tensor: [] for tensor in tensors}
    ends: dict[str, list[Range]] = {tensor: [] for tensor in tensors}
    generator = np.random.default_rng(0)
    for start in range(0, len(calibration), _BATCH):
        answers = run_model(session, tensors, {"images": calibration[start : start + _BATCH]}, name="the network")
        for tensor, answer in zip(tensors, answers, strict=True):
            ends[tensor].append((float(answer.min()), float(answer.max())))
            kept[tensor].append(generator.choice(answer.ravel(), _SAMPLES))
    return {tensor: _best_range(ends[tensor], np.stack(kept[tensor])) for tensor in tensors}


def _best_range(ends: Sequence[Range], values: Float32Array) -> Range:
    """Return the range with the smallest rounding error of `values` (batches, N).

    ends: minimum and maximum of each batch. The range reaches at most from the median minimum to the median maximum.
    The error is the geometric mean of the batches' squared errors. So values that only one image in hundreds has are
    clipped, and all others get finer levels.
    """
    if min(ends)[0] >= _PIXELS[0] and np.array_equal(_rounded(values, _PIXELS), values):
        return _PIXELS

    def error(covered: Range) -> float:
        return float(np.log(np.square(_rounded(values, covered) - values).mean(1) + 1e-12).mean())

    low = min(float(np.median([end[0] for end in ends])), 0.0)
    high = max(float(np.median([end[1] for end in ends])), 1e-6)
    best = low, high
    for _ in range(2):
        best = min(((best[0], high * float(share)) for share in _SHARES), key=error)
        best = min(((low * float(share), best[1]) for share in _SHARES), key=error) if low < 0 else best
    return best


def _levels(covered: Range) -> tuple[np.float32, np.uint8]:
    """Return the scale and the zero point of a range."""
    scale = np.float32((covered[1] - covered[0]) / 255)
    return scale, np.uint8(round(-covered[0] / float(scale)))


def _rounded(values: Float32Array, covered: Range) -> Float32Array:
    scale, zero = _levels(covered)
    return (np.clip(np.rint(values / scale) + zero, 0, 255) - zero) * scale


def _insert(model: ModelProto, ranges: Mapping[str, Range], scales: Mapping[str, Float32Array]) -> None:
    """Insert QuantizeLinear and DequantizeLinear after each tensor of `ranges`, and quantise all weights and biases."""
    graph = model.graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    levels = {tensor: _levels(covered) for tensor, covered in ranges.items()}
    merged = {before: after for before, after in _followed_by_relu(model).items() if after in ranges}
    whole: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}  # tensor -> integers, scale
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.op_type == "Relu" and node.input[0] in merged:
            continue  # the levels begin at zero, so quantisation does the same
        if node.op_type == "Conv":
            name, scale = node.input[1], scales[node.input[1]]
            whole[name] = _divided(weights[name], scale, np.int8)
            if len(node.input) > 2:
                whole[node.input[2]] = _divided(weights[node.input[2]], scale * levels[node.input[0]][0], np.int32)
        for place, tensor in enumerate(node.input):
            if tensor in levels or tensor in whole:
                node.input[place] = f"{tensor}_dequantized"
        output = node.output[0] = merged.get(node.output[0], node.output[0])
        nodes.append(node)
        if output in levels:
            nodes.append(helper.make_node("QuantizeLinear", _names(output, of=output), [f"{output}_quantized"]))
            nodes.append(_widening(output))
    nodes = [
        *(_widening(tensor, axis=0) for tensor in whole),
        *(NodeProto.FromString(node.SerializeToString()) for node in nodes),
    ]
    del graph.node[:]
    graph.node.extend(nodes)
    others = [tensor for tensor in graph.initializer if tensor.name not in whole]
    added = {f"{tensor}_quantized": numbers for tensor, (numbers, _) in whole.items()}
    for tensor, (numbers, scale) in whole.items():
        added |= {f"{tensor}_scale": scale, f"{tensor}_zero_point": np.zeros(scale.shape, numbers.dtype)}
    for tensor, (step, zero) in levels.items():
        added |= {f"{tensor}_scale": np.asarray(step), f"{tensor}_zero_point": np.asarray(zero)}
    others += [numpy_helper.from_array(array, name) for name, array in added.items()]
    del graph.initializer[:]
    graph.initializer.extend(others)


def _divided(
    values: Float32Array, scale: Float32Array, kind: type[np.integer[Any]]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return values (C, ...) divided by the scale (C,) and rounded to integers, and the scale."""
    across = scale.reshape(-1, *(1,) * (values.ndim - 1))
    limits = np.iinfo(kind)
    return np.rint(values / across).clip(limits.min, limits.max).astype(kind), scale


def _widening(tensor: str, axis: int | None = None) -> NodeProto:
    options: dict[str, Any] = {} if axis is None else {"axis": axis}
    inputs = _names(f"{tensor}_quantized", of=tensor)
    return helper.make_node("DequantizeLinear", inputs, [f"{tensor}_dequantized"], **options)


def _names(tensor: str, *, of: str) -> list[str]:
    return [tensor, f"{of}_scale", f"{of}_zero_point"]
