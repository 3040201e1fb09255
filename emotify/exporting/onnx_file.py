"""Make a reproducible ONNX model from torch, with metadata and optionally float16 weights."""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from emotify import __version__
from emotify.emotions import EMOTIONS
from emotify.ensembling.pooling import CrowdPooling, Pooling
from emotify.exporting.graph import ExportedClassifier
from emotify.onnx_runtime.classifier import SCHEMA
from emotify.onnx_runtime.reference import KEY as REFERENCE

# Opset -> its IR version. onnxruntime 1.16 refuses newer IR versions, even if the file needs nothing new.
_IR_VERSIONS = {18: 8, 20: 9}
OPSET = 18  # the lowest that torch can write
OPSET_WITH_GELU = 20  # the first that has a GELU operator


def to_onnx(classifier: ExportedClassifier, opset: int = OPSET) -> ModelProto:
    """Return an ONNX model with the input `images` and the output `probabilities` (and `labels`); N is dynamic."""
    if opset < OPSET_WITH_GELU:
        classifier.write_out_gelu()
    example = torch.zeros(2, 1, 48, 48, dtype=torch.uint8)
    with _quiet():
        program = torch.onnx.export(
            classifier.eval(),
            (example,),
            input_names=["images"],
            output_names=classifier.outputs,
            dynamic_shapes=({0: torch.export.Dim("N")},),
            opset_version=opset,
            dynamo=True,
            external_data=False,
        )
    assert program is not None
    model = program.model_proto
    model.ir_version = _IR_VERSIONS[opset]
    _strip(model)
    return model


def describe(
    model: ModelProto,
    *,
    members: Sequence[str],
    models: Sequence[str],
    pooling: Pooling,
    crowd: CrowdPooling | None,
    scores: Mapping[str, Any],
    precision: str,
    views: str,
    reference: str,
) -> None:
    """Write the metadata of the model. They contain no path, host or user name."""
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
        "emotify.heads": json.dumps(["labels"] if crowd is None else ["labels", "crowd"]),
        "emotify.scores": json.dumps(scores),
        "emotify.precision": precision,
        "emotify.views": views,
        REFERENCE: reference,
    }
    if crowd is not None:
        metadata["emotify.crowd_weights"] = json.dumps(crowd.pooling.weights)
        metadata["emotify.crowd_temperature"] = repr(crowd.pooling.temperature)
        metadata["emotify.crowd_prior"] = json.dumps([round(share, 6) for share in crowd.prior])
        metadata["emotify.prior_power"] = repr(crowd.prior_power)
    helper.set_model_props(model, metadata)


def with_half_weights(model: ModelProto) -> None:
    """Store the weights as float16, with casts to float32 in the graph; the computation stays float32."""
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


def _strip(model: ModelProto) -> None:
    """Remove traces, stacks and doc strings, which are useless in the file and may show where it was made."""
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
    """Suppress output, logs and warnings of torch's exporter."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(None):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
