"""Check the bytes of an .onnx file before onnxruntime loads it: no external data, no loops, no unknown parts.

onnxruntime trusts the files that it loads. This module reads the format without the onnx package, whose import takes
longer than running a small model. A file is nested (field number, value) pairs, as described in onnx.proto and
https://protobuf.dev/programming-guides/encoding. Unknown fields are refused, not skipped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from emotify.errors import ModelError
from emotify.files import printable
from emotify.onnx_runtime.cost import OPERATORS, Graph, Node, Tensor, TooCostlyError, assumed_shape, count_steps

MAX_NODES: Final = 10_000
MAX_FIELDS: Final = 200_000  # fields read in the whole file; a model from emotify export has some thousands
MAX_RANK: Final = 16
LARGEST_EXACT_WEIGHT: Final = 64  # CPUs without VNNI add two products in 16 bits; two of 255 and 64 fit

# Operators only compute numbers from numbers: no loops or branches, random numbers, other files, text or other domains.
# cost.py has their list, with the cost of each.

# Allowed field numbers of onnx.proto. Refused, since not listed: training (model 20), functions (model 25), devices
# (model 26, node 10), sparse tensors (graph 15, attribute 22 and 23), graphs inside nodes (attribute 6 and 11) and
# external data (tensor 13).
_MODEL: Final = frozenset([1, 2, 3, 4, 5, 6, 7, 8, 14])
_GRAPH: Final = frozenset([1, 2, 5, 10, 11, 12, 13, 14, 16])
_NODE: Final = frozenset([1, 2, 3, 4, 5, 6, 7, 8, 9])
_ATTRIBUTE: Final = frozenset([1, 2, 3, 4, 5, 7, 8, 9, 10, 13, 20, 21])
_TENSOR: Final = frozenset([1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16])
_DESCRIPTION: Final = frozenset(range(1, 10))  # of an input, which has only names and shapes
_REFUSED: Final = {
    ("model", 20): "training steps",
    ("model", 25): "functions of its own",
    ("graph", 15): "sparse tensors",
    ("attribute", 6): "a graph inside a node",
    ("attribute", 11): "graphs inside a node",
    ("attribute", 22): "a sparse tensor",
    ("attribute", 23): "sparse tensors",
    ("tensor", 13): "data in another file",
}

Value: TypeAlias = int | memoryview
_FEW: Final = 10_000  # bytes
_FEW_NUMBERS: Final = 64
_KINDS: Final = {1: "<f4", 6: "<i4", 7: "<i8", 11: "<f8"}  # values of TensorProto.DataType that shapes may have
_INT8: Final = 3  # value of TensorProto.DataType


def check_model(content: bytes, *, name: str, hint: str = "make a model with: emotify export RUN") -> bool:
    """Raise ModelError unless `content` is safe to load; the message begins with `name` and ends in `hint`.

    Return whether 8-bit weights may saturate on CPUs without VNNI: whether one is beyond +-64.
    """
    check = _Check(len(content))
    try:
        check.model(memoryview(content))
    except _RefusedError as reason:
        msg = f"{printable(name)} is not run: {printable(str(reason))}; {hint}"
        raise ModelError(msg) from None
    return check.large_weights


class _RefusedError(Exception):
    """The model is refused; the message is the reason."""


class _Check:
    """One pass through the fields of a model, with its counts so far."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._nodes = self._fields = 0
        self._known = Graph()
        self.large_weights = False  # whether an 8-bit weight is beyond +-64

    def model(self, message: memoryview) -> None:
        graphs = [value for number, value in self._read(message, "model", _MODEL) if number == 7]
        if len(graphs) != 1:
            raise _RefusedError("it is not an ONNX model")
        self._graph(_bytes(graphs[0]))
        try:
            count_steps(self._known)
        except TooCostlyError as error:
            raise _RefusedError(str(error)) from None

    def _graph(self, message: memoryview) -> None:
        for number, value in self._read(message, "graph", _GRAPH):
            if number == 1:
                self._node(_bytes(value))
            elif number == 5:
                name, tensor = self._tensor(_bytes(value))
                self._known.tensors[name] = tensor
            elif number == 11:
                name, lengths = self._input(_bytes(value))
                self._known.tensors.setdefault(name, Tensor(assumed_shape(lengths)))

    def _input(self, message: memoryview) -> tuple[str, list[int | None]]:
        """Return the name of a graph's input and its lengths; None is a dynamic length."""
        name, lengths = "", []
        for number, value in self._read(message, "input", _DESCRIPTION):
            if number == 1:
                name = _text(value)
            elif number == 2:  # nested: type, tensor type, shape, lengths
                kinds = [kind for place, kind in self._read(_bytes(value), "type", _DESCRIPTION) if place == 1]
                shapes = [
                    shape
                    for kind in kinds
                    for place, shape in self._read(_bytes(kind), "type", _DESCRIPTION)
                    if place == 2
                ]
                lengths = [length for shape in shapes for _, length in self._read(_bytes(shape), "shape", _DESCRIPTION)]
        sizes = [dict(self._read(_bytes(length), "length", _DESCRIPTION)).get(1) for length in lengths]
        return name, [size if isinstance(size, int) else None for size in sizes]

    def _node(self, message: memoryview) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _RefusedError(f"it has more than {MAX_NODES} nodes")
        domain = operator = ""
        names: tuple[list[str], list[str]] = ([], [])
        attributes: dict[str, Any] = {}
        for number, value in self._read(message, "node", _NODE):
            if number in {1, 2}:
                names[number - 1].append(_text(value))
            elif number == 4:
                operator = _text(value)[:100]
            elif number == 7:
                domain = _text(value)[:100]
            elif number == 5:
                attributes.update(self._attribute(_bytes(value)))
        if domain not in {"", "ai.onnx"} or operator not in OPERATORS:
            raise _RefusedError(
                f"it has an operator that emotify does not allow, {domain}{'.' * bool(domain)}{operator}"
            )
        self._known.nodes.append(Node(operator, *names, attributes))

    def _attribute(self, message: memoryview) -> dict[str, Any]:
        """Return the name and value of an attribute, or an empty dict for a value that is not needed for the cost."""
        name, numbers = "", []
        found: Any = None
        for number, value in self._read(message, "attribute", _ATTRIBUTE):
            if number == 1:
                name = _text(value)
            elif number in {5, 10}:
                _, found = self._tensor(_bytes(value))
            elif number == 2:
                found = float(np.frombuffer(_bytes(value)[:4], "<f4").sum())
            elif number == 3 and isinstance(value, int):
                found = _signed(value)
            elif number == 4:
                found = _text(value)
            elif number in {7, 8}:
                numbers += _several(value, floats=number == 7)
        if len(numbers) > _FEW_NUMBERS:
            return {}  # too many for a shape; an operator that needs them is refused
        return {name: numbers or found} if numbers or found is not None else {}

    def _tensor(self, message: memoryview) -> tuple[str, Tensor]:
        sizes: list[int] = []
        kind: Value = 0
        name = ""
        numbers = raw = memoryview(b"")
        given: list[float] = []
        for number, value in self._read(message, "tensor", _TENSOR):
            if number == 14 and value != 0:
                raise _RefusedError("it has data in another file")
            if number == 1:
                sizes += [value] if isinstance(value, int) else islice(_numbers(value), MAX_RANK + 1)
            elif number == 2:
                kind = value
            elif number == 5 and not isinstance(value, int):
                numbers = value
            elif number == 8:
                name = _text(value)
            elif number == 9:
                raw = _bytes(value)
            if number in {4, 5, 7} and len(given) <= _FEW_NUMBERS:
                given += _several(value, floats=number == 4)
            if len(sizes) > MAX_RANK:
                raise _RefusedError(f"it has a tensor of more than {MAX_RANK} dimensions")
        # Elements have at least four bits. A negative size reads as a huge one.
        if math.prod(sizes) > 2 * self._size + 1:
            raise _RefusedError("it has a tensor that is larger than the file")
        if kind == _INT8 and len(sizes) > 1 and not self.large_weights:  # one dimension: zero points per channel
            self.large_weights = _is_large(raw, numbers)
        return name, Tensor(tuple(sizes), _values(sizes, kind, raw, given))

    def _read(self, message: memoryview, kind: str, known: frozenset[int]) -> Iterator[tuple[int, Value]]:
        for number, value in fields(message):
            self._fields += 1
            if self._fields > MAX_FIELDS:
                raise _RefusedError("it has more parts than any model emotify runs")
            if number not in known:
                what = _REFUSED.get((kind, number), f"a part that this version does not know ({kind} field {number})")
                raise _RefusedError(f"it has {what}")
            yield number, value


def fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """Yield (field number, value) of an encoded message: varints as int, other values as bytes."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        match key & 7:
            case 0:
                number, position = _varint(message, position)
                yield key >> 3, number
                continue
            case 1:
                length = 8
            case 2:
                length, position = _varint(message, position)
            case 5:
                length = 4
            case _:
                raise _RefusedError("it is not an ONNX model")
        end = position + length
        if end > len(message):
            raise _RefusedError("it is not a complete ONNX model")
        yield key >> 3, message[position:end]
        position = end


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return the varint (seven bits per byte) at `position`, and the position of its end."""
    number = 0
    for place in range(min(10, len(message) - position)):
        byte = message[position + place]
        number |= (byte & 127) << 7 * place
        if byte < 128:
            return number, position + place + 1
    raise _RefusedError("it is not a complete ONNX model")


def _numbers(packed: memoryview) -> Iterator[int]:
    position = 0
    while position < len(packed):
        number, position = _varint(packed, position)
        yield number


def _several(value: Value, *, floats: bool) -> list[Any]:
    """Return numbers that are stored one by one or packed, at most _FEW_NUMBERS + 1."""
    if isinstance(value, int):
        return [_signed(value)]
    if floats:
        return list(np.frombuffer(value[: len(value) // 4 * 4][: 4 * (_FEW_NUMBERS + 1)], "<f4").tolist())
    return [_signed(number) for number in islice(_numbers(value), _FEW_NUMBERS + 1)]


def _values(sizes: list[int], kind: Value, raw: memoryview, given: list[float]) -> npt.NDArray[Any] | None:
    """Return the values of a small tensor, or None if its type is not one that shapes may have."""
    count = math.prod(sizes)
    dtype = _KINDS.get(kind) if isinstance(kind, int) else None
    if dtype is None or count > _FEW_NUMBERS:
        return None
    try:
        values = np.frombuffer(raw, dtype) if len(raw) else np.array(given, dtype)
        return values.reshape(sizes)
    except (ValueError, OverflowError):  # a wrong number of values, or values out of range
        return None


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number


def _text(value: Value) -> str:
    return str(_bytes(value), "utf-8", "replace")


def _is_large(raw: memoryview, numbers: memoryview) -> bool:
    """Return whether an int8 value is beyond +-64. Values are stored as raw bytes or as varints."""
    if len(numbers) > _FEW:
        return True  # onnx writes only small tensors as varints; assuming large weights is slower but not wrong
    values = [*map(_signed, _numbers(numbers))]
    whole = np.frombuffer(raw, np.int8)
    ends = [int(whole.min()), int(whole.max())] if len(whole) else []
    return any(abs(value) > LARGEST_EXACT_WEIGHT for value in [*values, *ends])


def _bytes(value: Value) -> memoryview:
    if isinstance(value, int):
        raise _RefusedError("it is not an ONNX model")
    return value
