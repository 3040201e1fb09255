"""The .onnx file: written from torch, made smaller, described, and the same bytes every time."""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from emotify import __version__
from emotify.data.types import UInt8Array
from emotify.emotions import EMOTIONS
from emotify.ensembling.combining import Pooling
from emotify.exporting.graph import ExportedClassifier
from emotify.files import explain_write_errors
from emotify.onnx_runtime import import_onnxruntime
from emotify.prediction.session import SCHEMA

OPSET = 20  # the first with Gelu as one operator
PRECISIONS = ("fp32", "fp16", "int8")
CALIBRATION_BATCH = 8  # images


def to_onnx(classifier: ExportedClassifier) -> ModelProto:
    """Return the classifier as an ONNX model: input `images`, output `probabilities`, N dynamic."""
    example = torch.zeros(2, 1, 48, 48, dtype=torch.uint8)
    with _quiet():
        program = torch.onnx.export(
            classifier.eval(),
            (example,),
            input_names=["images"],
            output_names=["probabilities"],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
        )
    assert program is not None
    model = program.model_proto
    _strip(model)
    return model


def describe(
    model: ModelProto,
    *,
    members: Sequence[str],
    models: Sequence[str],
    pooling: Pooling,
    scores: Mapping[str, Any],
    precision: str,
    views: str,
) -> None:
    """Write into the model's metadata what it is; no path, host or user name."""
    model.producer_name, model.producer_version = "emotify", __version__
    model.doc_string = "Facial expressions of grey 48x48 faces; made by emotify."
    metadata = {
        "emotify.schema": SCHEMA,
        "emotify.version": __version__,
        "emotify.classes": json.dumps(EMOTIONS),
        "emotify.members": json.dumps(list(members)),
        "emotify.models": json.dumps(list(models)),
        "emotify.weights": json.dumps(pooling.weights),
        "emotify.pooling": "probabilities" if pooling.linear else "logarithms",
        "emotify.temperature": repr(pooling.temperature),
        "emotify.scores": json.dumps(scores),
        "emotify.precision": precision,
        "emotify.views": views,
    }
    helper.set_model_props(model, metadata)


def with_half_weights(model: ModelProto) -> None:
    """Store the weights as float16; they are widened when the model is loaded, and computed with in float32."""
    graph, casts = model.graph, []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < 64:
            continue
        wide = tensor.name
        half = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{wide}.half")
        tensor.CopyFrom(half)
        casts.append(helper.make_node("Cast", [half.name], [wide], name=f"{wide}.widen", to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def with_int8(model: ModelProto, calibration: UInt8Array) -> ModelProto:
    """Return the model with convolutions and what lies between them in 8 bits, ranges taken from `calibration`.

    calibration: uint8 (N, 1, 48, 48), of the train split. A range reaches from the mean of the minima of batches to the
    mean of their maxima: what only one image in hundreds has is cut off, and all others have finer levels.
    """
    import_onnxruntime()
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches: Iterator[dict[str, UInt8Array]] = iter(
                {"images": calibration[start : start + CALIBRATION_BATCH]}
                for start in range(0, len(calibration), CALIBRATION_BATCH)
            )

        def get_next(self) -> dict[str, UInt8Array] | None:
            return next(self.batches, None)

    with tempfile.TemporaryDirectory() as folder, explain_write_errors(Path(folder)), _quiet():
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        quantize_static(
            source,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Add", "Relu"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
            extra_options={"CalibMovingAverage": True},
        )
        quantized = onnx.load(target)
    _strip(quantized)
    return quantized


def _strip(model: ModelProto) -> None:
    """Remove what is of no use to a reader of the file and may tell where it was made: traces, stacks, doc strings."""
    del model.metadata_props[:]
    model.doc_string = ""
    graph = model.graph
    graph.name, graph.doc_string = "emotify", ""
    del graph.metadata_props[:]
    del graph.value_info[:]
    for element in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        element.doc_string = ""
        del element.metadata_props[:]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' own talk off the screen."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(None):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
