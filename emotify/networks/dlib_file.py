"""Read the weights of a network from dlib's own file format.

This reads the format of dlib's `serialize` functions (King 2009, JMLR 10, http://dlib.net; Boost Software License)
without dlib. A file does not describe its layers, so the reader must know their order. The file begins with the version
of each layer, from last to first. The contents of the layers follow, from first to last. Anything unexpected is an
error.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from emotify.arrays import Float32Array
from emotify.errors import ModelError
from emotify.files import printable

Weights = tuple[Float32Array, Float32Array]  # filters (O, I, H, W) and biases, or factors and offsets of the channels
_RANK: Final = 4  # of every tensor
_LAYER_VERSION: Final = 2
_FIRST_LAYER_VERSION: Final = 3
_TENSOR_VERSION: Final = 2
_WRAPPER_VERSION: Final = 1  # of the loss, of tags and of views of a tensor


@dataclass(frozen=True)
class Layer:
    """An expected layer of a file: its name and its window."""

    name: str
    window: tuple[int, ...] = ()  # height, width, vertical and horizontal stride, vertical and horizontal padding


TAG: Final = Layer("tag")  # also a jump to a tag; both have no content
AFFINE: Final = Layer("affine_")
RELU: Final = Layer("relu_")
ADD: Final = Layer("add_prev_")
LINEAR: Final = Layer("fc_2")


def convolution(size: int, stride: int) -> Layer:
    """Return a convolution with dlib's default padding: only without a stride."""
    return Layer("con_4", (size, size, stride, stride, *[0 if stride > 1 else size // 2] * 2))


def pooling(name: str, size: int, stride: int) -> Layer:
    """Return a layer `max_pool_2` or `avg_pool_2`; size 0 pools over the whole input."""
    return Layer(name, (size, size, stride, stride, 0, 0))


def read_dlib(content: bytes, layers: Sequence[Layer], *, name: str) -> list[Weights]:
    """Return the weights of convolutions, affine and linear layers, in the order of `layers`.

    content: a network for colour pictures with the loss `loss_metric_2`. A linear layer (outputs, inputs) has no
    biases. Raises ModelError, with the file's `name`, for anything else.
    """
    reader = _Reader(content)
    try:
        weights = reader.network(layers)
    except _UnexpectedError as reason:
        msg = f"{printable(name)} is damaged or not the expected network of dlib: {printable(str(reason))}"
        raise ModelError(msg) from None
    return weights


class _UnexpectedError(Exception):
    """A difference between a file and the expected content."""


class _Reader:
    """The content of a file and the position of the next byte to read."""

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)
        self._position = 0

    def network(self, layers: Sequence[Layer]) -> list[Weights]:
        self._expect(_WRAPPER_VERSION)
        self._expect_text("loss_metric_2")
        self._number(), self._number()
        for layer in reversed(layers[1:]):
            self._expect(_WRAPPER_VERSION if layer == TAG else _LAYER_VERSION)
        self._expect(_FIRST_LAYER_VERSION)
        self._picture()
        weights = [self._layer(layer, first=place == 0) for place, layer in enumerate(layers) if layer != TAG]
        if self._position != len(self._content):
            raise _UnexpectedError(f"{len(self._content) - self._position} bytes follow its end")
        return [weight for weight in weights if weight is not None]

    def _picture(self) -> None:
        self._expect_text("input_rgb_image_sized")
        for _ in "rgb":
            self._number()
        height = self._integer()
        self._expect(height)

    def _layer(self, layer: Layer, *, first: bool) -> Weights | None:
        self._expect_text(layer.name)
        weights = self._contents(layer)
        for _ in range(3):  # settings of the training
            self._boolean()
        for _ in range(3):  # gradients and outputs
            self._tensor()
        if first:
            self._expect(1)  # number of samples per picture
        return weights

    def _contents(self, layer: Layer) -> Weights | None:
        match layer.name:
            case "con_4":
                return self._convolution(layer.window)
            case "affine_":
                weights = self._shaped(self._tensor())
                self._expect(0)  # the mode with one factor per channel
                return weights
            case "fc_2":
                return self._linear()
            case _:
                for number in layer.window:
                    self._expect(number)
                return None

    def _convolution(self, window: Sequence[int]) -> Weights:
        values = self._tensor()
        filters = self._integer()
        for number in window:
            self._expect(number)
        weights = self._shaped(values)
        if (len(weights[0]), *weights[0].shape[2:]) != (filters, *window[:2]):
            raise _UnexpectedError("the filters of a convolution do not have its declared shape")
        self._rates()
        return weights

    def _linear(self) -> Weights:
        outputs, inputs = self._integer(), self._integer()
        weight, bias = self._shaped(self._tensor())
        if weight.size != outputs * inputs or bias.size:
            raise _UnexpectedError("the weights of a linear layer do not have its declared shape")
        self._expect(1)  # without biases
        self._rates()
        return weight.reshape(inputs, outputs).T, bias

    def _rates(self) -> None:
        for _ in range(4):  # rates of learning and weight decay, for weights and biases
            self._number()

    def _shaped(self, values: Float32Array) -> Weights:
        """Split values into two tensors; the file has their shapes next."""
        first, second = self._view(), self._view()
        size = math.prod(first)
        if values.size != size + math.prod(second):
            raise _UnexpectedError("the number of weights does not fit their shapes")
        return values[:size].reshape(first), values[size:].reshape(-1)

    def _view(self) -> list[int]:
        self._expect(_WRAPPER_VERSION)
        return [self._integer() for _ in range(_RANK)]

    def _tensor(self) -> Float32Array:
        self._expect(_TENSOR_VERSION)
        size = math.prod(self._integer() for _ in range(_RANK))
        values = np.frombuffer(self._take(4 * size), dtype="<f4").astype(np.float32)
        if not np.isfinite(values).all():
            raise _UnexpectedError("a weight is not finite")
        return values

    def _number(self) -> float:
        """Read a floating-point number, stored as mantissa and binary exponent."""
        mantissa, exponent = self._signed(), self._signed()
        if abs(exponent) > 1000:  # infinity or NaN
            raise _UnexpectedError("a setting is not finite")
        return math.ldexp(mantissa, exponent)

    def _integer(self) -> int:
        number = self._signed()
        if number < 0:
            raise _UnexpectedError(f"a size is {number}")
        return number

    def _signed(self) -> int:
        """Read an integer: one byte with the sign and the number of bytes, then these bytes in little-endian order."""
        (control,) = self._take(1)
        size = control & 0x7F
        if not 1 <= size <= 8:
            raise _UnexpectedError(f"an integer has {size} bytes")
        number = int.from_bytes(self._take(size), "little")
        return -number if control & 0x80 else number

    def _boolean(self) -> bool:
        (byte,) = struct.unpack("c", self._take(1))
        if byte not in b"01":
            raise _UnexpectedError(f"a boolean is {byte!r}")
        return byte == b"1"

    def _expect(self, number: int) -> None:
        if (found := self._signed()) != number:
            raise _UnexpectedError(f"found {found} instead of {number}")

    def _expect_text(self, text: str) -> None:
        size = self._integer()
        found = bytes(self._take(size) if size < 100 else b"")
        if found != text.encode():
            raise _UnexpectedError(f"found {found.decode('ascii', 'replace')!r} instead of {text!r}")

    def _take(self, size: int) -> memoryview:
        taken = self._content[self._position : self._position + size]
        if len(taken) < size:
            raise _UnexpectedError("the file ends too early")
        self._position += size
        return taken
