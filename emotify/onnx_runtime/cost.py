"""Estimate the cost of running a model from the shapes of its tensors. A file of a few kB could compute for hours.

Shapes are inferred from the input on, by https://onnx.ai/onnx/operators. The values of small tensors are followed too,
since they may be shapes. A model is refused if a shape depends on data, or if an operator is not listed here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

MOST_STEPS: Final = 200_000_000_000  # multiply-accumulates per picture; some seconds of CPU time
_STEPS_PER_ELEMENT: Final = 8  # multiply-accumulates assumed per element read or written; powers take many
_FREE_SIDE: Final = 1280  # assumed length of a dynamic height or width; a dynamic batch has one picture
_SMALL: Final = 64  # elements; values of larger tensors are not followed

Shape: TypeAlias = tuple[int, ...]
Values: TypeAlias = npt.NDArray[Any]


class TooCostlyError(Exception):
    """The model costs too much, or its cost is unknown; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the graph: operator, names of inputs and outputs, and attributes (numbers, texts, small tensors)."""

    operator: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tensor:
    """The shape of a tensor, known before the model runs."""

    shape: Shape
    values: Values | None = None  # if they are known and few


@dataclass(slots=True)
class Graph:
    """The parts of a model that determine its cost."""

    tensors: dict[str, Tensor] = field(default_factory=dict)  # inputs and weights
    nodes: list[Node] = field(default_factory=list)


def assumed_shape(lengths: Sequence[int | None]) -> Shape:
    """Return the assumed shape of an input. None is a dynamic length: 1 on the first axis, _FREE_SIDE on the others."""
    return tuple(length or (1 if axis == 0 else _FREE_SIDE) for axis, length in enumerate(lengths))


def count_steps(graph: Graph) -> int:
    """Return the approximate number of multiply-accumulates per picture.

    Raises TooCostlyError if there are more than MOST_STEPS, or if a shape cannot be inferred.
    """
    return sum(steps for _, steps in _walk(graph))


def known_shapes(graph: Graph) -> dict[str, Tensor]:
    """Return every tensor of a model by name. Raises TooCostlyError as `count_steps` does."""
    return {**graph.tensors, **{name: tensor for results, _ in _walk(graph) for name, tensor in results.items()}}


def _walk(graph: Graph) -> Iterator[tuple[dict[str, Tensor], int]]:
    """Yield the outputs of each node by name, and its number of steps."""
    known, total = dict(graph.tensors), 0
    for node in graph.nodes:
        call = _Call(node, known)
        try:
            results, steps = _RULES[node.operator](call)
            taken = sum(map(math.prod, call.shapes()))
        except (IndexError, KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
            msg = f"the output shape of {node.operator} is unknown before it runs"
            raise TooCostlyError(msg) from error
        steps += _STEPS_PER_ELEMENT * (taken + sum(math.prod(result.shape) for result in results))
        total += steps
        if total > MOST_STEPS or any(length < 0 for result in results for length in result.shape):
            msg = f"it needs more than {MOST_STEPS // 10**9} billion multiply-accumulates per picture"
            raise TooCostlyError(msg)
        named = dict(zip(node.outputs, results, strict=False))
        known.update(named)
        yield named, steps


@dataclass(frozen=True, slots=True)
class _Call:
    """One node with the known tensors. Methods raise KeyError, IndexError or ValueError for unknown values."""

    node: Node
    known: Mapping[str, Tensor]

    def tensor(self, place: int) -> Tensor:
        return self.known[self.node.inputs[place]]

    def shape(self, place: int = 0) -> Shape:
        return self.tensor(place).shape

    def shapes(self) -> list[Shape]:
        return [self.known[name].shape for name in self.node.inputs if name]

    def has(self, place: int) -> bool:
        return place < len(self.node.inputs) and bool(self.node.inputs[place])

    def values(self, place: int) -> Values:
        values = self.tensor(place).values
        if values is None:
            raise ValueError(place)
        return values

    def numbers(self, place: int, name: str) -> list[int] | None:
        """Return integers that newer operators have as input `place` and older ones as attribute `name`, or None."""
        if self.has(place):
            return [int(value) for value in self.values(place).ravel()]
        return self.integers(name)

    def integers(self, name: str) -> list[int] | None:
        found = self.node.attributes.get(name)
        return None if found is None else [int(value) for value in found]

    def integer(self, name: str, default: int) -> int:
        return int(self.node.attributes.get(name, default))


Result: TypeAlias = tuple[list[Tensor], int]  # outputs of a node, and its steps without those per element
_Rule: TypeAlias = Callable[[_Call], Result]


def _one(shape: Sequence[int], steps: int = 0, values: Values | None = None) -> Result:
    if values is not None and (values.size > _SMALL or values.shape != tuple(shape)):
        values = None
    return [Tensor(tuple(int(length) for length in shape), values)], steps


def _known(call: _Call, *places: int) -> list[Values] | None:
    """Return the values of these inputs, or None if any is unknown."""
    found = [call.tensor(place).values for place in places]
    return None if any(values is None for values in found) else found  # type: ignore[return-value]


def _same(call: _Call) -> Result:
    values = call.tensor(0).values if call.node.operator in _KEEPS else None
    result, _ = _one(call.shape(), values=values)
    return result * max(len(call.node.outputs), 1), 0


def _broadcast(call: _Call) -> Result:
    shape = np.broadcast_shapes(*call.shapes())
    compute = _ARITHMETIC.get(call.node.operator)
    known = _known(call, 0, 1) if compute and len(call.node.inputs) == 2 and math.prod(shape) <= _SMALL else None
    if not (compute and known):
        return _one(shape)
    with np.errstate(all="ignore"):
        return _one(shape, values=np.asarray(compute(*known)))


def _matrices(first: Shape, second: Shape) -> Result:
    one, other = ((1, *first) if len(first) == 1 else first), ((*second, 1) if len(second) == 1 else second)
    batch = np.broadcast_shapes(one[:-2], other[:-2])
    if one[-1] != other[-2]:
        raise ValueError
    shape = (*batch, *(one[-2:-1] if len(first) > 1 else ()), *(other[-1:] if len(second) > 1 else ()))
    return _one(shape, math.prod(batch) * one[-2] * one[-1] * other[-1])


def _gemm(call: _Call) -> Result:
    one = call.shape(0)[::-1] if call.integer("transA", 0) else call.shape(0)
    return _matrices(one, call.shape(1)[::-1] if call.integer("transB", 0) else call.shape(1))


def _einsum(call: _Call) -> Result:
    inputs, _, output = str(call.node.attributes["equation"]).replace(" ", "").partition("->")
    lengths: dict[str, int] = {}
    for names, shape in zip(inputs.split(","), call.shapes(), strict=True):
        for name, length in zip(names, shape, strict=True):
            lengths[name] = max(length, lengths.get(name, 1))
    return _one([lengths[name] for name in output], math.prod(lengths.values()))


def _windows(call: _Call, kernel: Sequence[int]) -> Shape:
    """Return the number of kernel positions along each spatial axis."""
    space = call.shape(0)[2:]
    strides = call.integers("strides") or [1] * len(space)
    dilations = call.integers("dilations") or [1] * len(space)
    pads = call.integers("pads") or [0] * (2 * len(space))
    same = str(call.node.attributes.get("auto_pad", "")).startswith("SAME")
    places = []
    for axis, (length, side, stride) in enumerate(zip(space, kernel, strides, strict=True)):
        reach = dilations[axis] * (side - 1) + 1
        free = length + pads[axis] + pads[axis + len(space)] - reach
        places.append(-(-length // stride) if same else free // stride + 1 + call.integer("ceil_mode", 0))
    return tuple(places)


def _conv(call: _Call) -> Result:
    weights = call.shape(3 if call.node.operator == "QLinearConv" else 1)
    shape = (call.shape(0)[0], weights[0], *_windows(call, weights[2:]))
    return _one(shape, math.prod(shape) * math.prod(weights[1:]))


def _conv_transpose(call: _Call) -> Result:
    shape, weights = call.shape(0), call.shape(1)
    strides = call.integers("strides") or [1] * (len(shape) - 2)
    dilations = call.integers("dilations") or [1] * (len(shape) - 2)
    more = call.integers("output_padding") or [0] * (len(shape) - 2)
    space = (
        call.integers("output_shape")
        or [
            (length - 1) * stride + dilation * (side - 1) + 1 + extra  # an upper bound, before pads are subtracted
            for length, stride, dilation, side, extra in zip(
                shape[2:], strides, dilations, weights[2:], more, strict=True
            )
        ]
    )
    pads = call.integers("pads") or [0] * (2 * len(space))
    space = [length - pads[axis] - pads[axis + len(space)] for axis, length in enumerate(space)]
    channels = weights[1] * call.integer("group", 1)
    return _one((shape[0], channels, *space), math.prod(shape) * math.prod(weights[1:]))


def _pool(call: _Call) -> Result:
    kernel = call.integers("kernel_shape") or []
    shape = (*call.shape(0)[:2], *_windows(call, kernel))
    result, steps = _one(shape, math.prod(shape) * math.prod(kernel))
    return result * max(len(call.node.outputs), 1), steps


def _global_pool(call: _Call) -> Result:
    return _one((*call.shape(0)[:2], *[1] * (len(call.shape(0)) - 2)))


def _reduce(call: _Call) -> Result:
    shape = call.shape(0)
    if call.node.operator in {"ArgMax", "ArgMin"}:
        axes = [call.integer("axis", 0)]
    else:
        axes = call.numbers(1, "axes") or ([] if call.integer("noop_with_empty_axes", 0) else [*range(len(shape))])
    over = {axis % len(shape) for axis in axes}
    keep = call.integer("keepdims", 1)
    return _one([1 if axis in over else length for axis, length in enumerate(shape) if keep or axis not in over])


def _reshape(call: _Call) -> Result:
    shape, wanted = call.shape(0), call.numbers(1, "shape") or []
    keeps = not call.integer("allowzero", 0)
    lengths = [shape[axis] if length == 0 and keeps else length for axis, length in enumerate(wanted)]
    if -1 in lengths:
        rest = math.prod(length for length in lengths if length != -1)
        lengths[lengths.index(-1)] = math.prod(shape) // rest
    if math.prod(lengths) != math.prod(shape):
        raise ValueError
    values = call.tensor(0).values
    return _one(lengths, values=None if values is None else values.reshape(lengths))


def _flatten(call: _Call) -> Result:
    shape, axis = call.shape(0), call.integer("axis", 1)
    return _one((math.prod(shape[:axis]), math.prod(shape[axis:])))


def _transpose(call: _Call) -> Result:
    shape = call.shape(0)
    order = call.integers("perm") or [*range(len(shape))][::-1]
    return _one([shape[axis] for axis in order])


def _concat(call: _Call) -> Result:
    shapes, axis = call.shapes(), call.integer("axis", 0)
    axis %= len(shapes[0])
    shape = [*shapes[0]]
    shape[axis] = sum(other[axis] for other in shapes)
    known = _known(call, *range(len(shapes))) if math.prod(shape) <= _SMALL else None
    return _one(shape, values=None if known is None else np.concatenate(known, axis))


def _split(call: _Call) -> Result:
    shape, axis = call.shape(0), call.integer("axis", 0)
    axis %= len(shape)
    count = len(call.node.outputs)
    lengths = call.numbers(1, "split") or [-(-shape[axis] // count)] * count
    return [Tensor((*shape[:axis], length, *shape[axis + 1 :])) for length in lengths], 0


def _slice(call: _Call) -> Result:
    shape = call.shape(0)
    starts, ends = call.numbers(1, "starts") or [], call.numbers(2, "ends") or []
    axes = call.numbers(3, "axes") or [*range(len(starts))]
    steps = call.numbers(4, "steps") or [1] * len(starts)
    parts = [slice(None)] * len(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # An end far below zero is before the first element, which a Python slice writes as None.
        parts[axis] = slice(start, None if step < 0 and end < -shape[axis] else end, step)
    lengths = [len(range(*part.indices(length))) for part, length in zip(parts, shape, strict=True)]
    values = call.tensor(0).values
    return _one(lengths, values=None if values is None else values[tuple(parts)])


def _pad(call: _Call) -> Result:
    shape, pads = call.shape(0), call.numbers(1, "pads") or []
    axes = call.numbers(3, "axes") or [*range(len(shape))]
    lengths = [*shape]
    for place, axis in enumerate(axes):
        lengths[axis] += pads[place] + pads[place + len(axes)]
    return _one(lengths)


def _gather(call: _Call) -> Result:
    shape, places, axis = call.shape(0), call.shape(1), call.integer("axis", 0)
    axis %= len(shape)
    found = _known(call, 0, 1) if math.prod(places) <= _SMALL else None
    values = None if found is None else np.take(found[0], found[1].astype(np.int64), axis)
    return _one((*shape[:axis], *places, *shape[axis + 1 :]), values=values)


def _gather_nd(call: _Call) -> Result:
    shape, places, batch = call.shape(0), call.shape(1), call.integer("batch_dims", 0)
    return _one((*places[:-1], *shape[batch + places[-1] :]))


def _squeeze(call: _Call) -> Result:
    shape, axes = call.shape(0), call.numbers(1, "axes")
    gone = {axis % len(shape) for axis in axes} if axes else {axis for axis, length in enumerate(shape) if length == 1}
    lengths = [length for axis, length in enumerate(shape) if axis not in gone]
    values = call.tensor(0).values
    return _one(lengths, values=None if values is None else values.reshape(lengths))


def _unsqueeze(call: _Call) -> Result:
    shape, axes = call.shape(0), call.numbers(1, "axes") or []
    rank = len(shape) + len(axes)
    new, rest = {axis % rank for axis in axes}, iter(shape)
    lengths = [1 if axis in new else next(rest) for axis in range(rank)]
    values = call.tensor(0).values
    return _one(lengths, values=None if values is None else values.reshape(lengths))


def _expand(call: _Call) -> Result:
    return _one(np.broadcast_shapes(call.shape(0), tuple(call.numbers(1, "shape") or ())))


def _tile(call: _Call) -> Result:
    return _one([length * times for length, times in zip(call.shape(0), call.numbers(1, "repeats") or [], strict=True)])


def _resize(call: _Call) -> Result:
    shape = call.shape(0)
    place = {"Upsample": 1, "Resize": 1 if len(call.node.inputs) == 2 else 2}[call.node.operator]
    if call.has(3):
        sizes = call.numbers(3, "sizes") or []
        axes = call.integers("axes") or [*range(len(shape))]
        lengths = [*shape]
        for axis, size in zip(axes, sizes, strict=True):
            lengths[axis] = size
    else:
        scales = call.values(place).ravel() if call.has(place) else np.asarray(call.node.attributes["scales"])
        axes = call.integers("axes") or [*range(len(shape))]
        lengths = [*shape]
        for axis, scale in zip(axes, scales.tolist(), strict=True):
            lengths[axis] = math.floor(lengths[axis] * scale)
    return _one(lengths, 16 * math.prod(lengths))  # cubic interpolation reads 16 neighbours


def _shape(call: _Call) -> Result:
    shape = call.shape(0)[call.integer("start", 0) : call.node.attributes.get("end")]
    return _one((len(shape),), values=np.array(shape, np.int64))


def _size(call: _Call) -> Result:
    return _one((), values=np.array(math.prod(call.shape(0))))


def _constant(call: _Call) -> Result:
    attributes = call.node.attributes
    value = attributes.get("value")
    if isinstance(value, Tensor):
        return [value], 0
    names = ("value_int", "value_float", "value_ints", "value_floats")
    (number,) = [attributes[name] for name in names if name in attributes]
    values = np.asarray(number)
    return _one(values.shape, values=values)


def _top_k(call: _Call) -> Result:
    shape, axis = call.shape(0), call.integer("axis", -1)
    (count,) = call.numbers(1, "k") or [int(call.node.attributes["k"])]
    lengths = [*shape]
    lengths[axis] = count
    return [Tensor(tuple(lengths))] * 2, 32 * math.prod(shape)


def _depth_to_space(call: _Call) -> Result:
    batch, channels, height, width = call.shape(0)
    side = call.integer("blocksize", 0)
    return _one((batch, channels // side**2, height * side, width * side))


def _space_to_depth(call: _Call) -> Result:
    batch, channels, height, width = call.shape(0)
    side = call.integer("blocksize", 0)
    return _one((batch, channels * side**2, height // side, width // side))


def _like_second(call: _Call) -> Result:
    return _one(call.shape(1))


def _quantise(call: _Call) -> Result:
    return [Tensor(call.shape(0)), Tensor(()), Tensor(())], 0


def _normalise(call: _Call) -> Result:
    shape = call.shape(0)
    return [Tensor(shape), *[Tensor(())] * (len(call.node.outputs) - 1)], 0


def _neighbours(call: _Call) -> Result:
    return _one(call.shape(0), math.prod(call.shape(0)) * call.integer("size", 1))


_KEEPS: Final = frozenset({"Cast", "Identity"})
_ARITHMETIC: Final[dict[str, Callable[..., Any]]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply,
    "Div": lambda one, other: one // other if one.dtype.kind in "iu" else one / other,
}  # fmt: skip
_OF_ALL: Final[dict[_Rule, str]] = {
    _same: """Abs Cast CastLike Ceil Celu Clip Cos CumSum DequantizeLinear Elu Erf Exp Floor Gelu GroupNormalization
        HardSigmoid HardSwish Identity InstanceNormalization LeakyRelu Log LogSoftmax Mish Neg Not QuantizeLinear
        RMSNormalization Reciprocal Relu Round ScatterElements Selu Sigmoid Sign Sin Softmax Softplus Softsign Sqrt
        Tan Tanh ThresholdedRelu""",
    _normalise: "BatchNormalization Dropout LayerNormalization",
    _broadcast: """Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mul Or PRelu Pow Sub Sum
        Where""",
    lambda call: _matrices(call.shape(0), call.shape(1)): "MatMul MatMulInteger",
    lambda call: _matrices(call.shape(0), call.shape(3)): "QLinearMatMul",
    _gemm: "Gemm",
    _einsum: "Einsum",
    _conv: "Conv ConvInteger QLinearConv",
    _conv_transpose: "ConvTranspose",
    _pool: "AveragePool MaxPool",
    _global_pool: "GlobalAveragePool GlobalMaxPool",
    _reduce: """ArgMax ArgMin ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
        ReduceSumSquare""",
    _reshape: "Reshape", _flatten: "Flatten", _transpose: "Transpose", _concat: "Concat", _split: "Split",
    _slice: "Slice", _pad: "Pad", _gather: "Gather", _gather_nd: "GatherND", _like_second: "GatherElements",
    _squeeze: "Squeeze", _unsqueeze: "Unsqueeze", _expand: "Expand", _tile: "Tile", _resize: "Resize Upsample",
    _shape: "Shape", _size: "Size", _constant: "Constant", _top_k: "TopK", _depth_to_space: "DepthToSpace",
    _space_to_depth: "SpaceToDepth", _quantise: "DynamicQuantizeLinear", _neighbours: "LRN",
}  # fmt: skip
_RULES: Final[dict[str, _Rule]] = {name: rule for rule, names in _OF_ALL.items() for name in names.split()}
OPERATORS: Final = frozenset(_RULES)  # all compute numbers from numbers
