"""Write a model and prove it: the file must answer as torch does, or there is no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from onnx import ModelProto

from emotify.cpus import describe_cpu
from emotify.data.types import Float32Array, LabelledImages, Split, UInt8Array
from emotify.ensembling.combining import Pooling
from emotify.errors import GateError, ModelError, UsageError
from emotify.evaluation.classifier import Viewed
from emotify.evaluation.metrics import Scores, score
from emotify.exporting.eight_bits import to_int8
from emotify.exporting.gates import fold_constant_gates
from emotify.exporting.graph import ExportedClassifier
from emotify.exporting.onnx_file import PRECISIONS, describe, to_onnx, with_half_weights
from emotify.files import check_output, explain_write_errors, printable, write_bytes
from emotify.models import Network
from emotify.models.inference import predict_probabilities
from emotify.prediction.model_check import check_model
from emotify.prediction.reference import encode
from emotify.prediction.session import Session

# Largest difference of a probability. In fp32 a label can then differ only where two are equal but for twice as much.
TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "int8": 0.15}
USUAL = "graph optimisation on"
ARITHMETICS = {USUAL: True, "graph optimisation off": False}  # the second computes 8 bits by way of float32
LARGEST_DISAGREEMENT = 0.03  # between the probabilities of one file
LABELS_ALIKE = 0.995  # share of the images
LARGEST_LOSS = 0.005  # of accuracy on valid, for fp16 and int8
PARITY_IMAGES = 280  # drawn ones, 40 of each expression
CALIBRATION_IMAGES = 512


@dataclass(frozen=True)
class Export:
    """A file that was written and proved."""

    path: Path
    bytes: int
    difference: float  # largest, of a probability, from torch in float32
    images: int  # that this was measured on
    drawn_images: int  # of them, where valid has too few
    torch_scores: Scores | None  # on valid, when it was there
    file_scores: Scores | None
    folded_gates: int  # of squeeze-and-excitation that did the same to every image, in int8


def export(
    members: Sequence[tuple[str, Network]],
    path: Path,
    *,
    pooling: Pooling,
    precision: str = "fp32",
    views: str = "one",
    valid: LabelledImages | None = None,
    calibration: UInt8Array | None = None,
    overwrite: bool = False,
    threads: int = 0,
) -> Export:
    """Write members (name, network), pooled as `pooling` says, as one classifier to `path`.

    valid: scores written into the file are measured on it; fp16 and int8 need it. calibration: train images, which
    int8 needs. Raises GateError, leaving no file, when the file does not answer as torch does.
    """
    check_target(path, precision=precision, overwrite=overwrite)
    networks = [network for _, network in members]
    images = np.zeros((0, 1, 48, 48), np.uint8) if valid is None else valid.images
    drawn = _drawn_faces() if len(images) < PARITY_IMAGES else images[:0]
    images = np.concatenate([images, drawn])
    expected = Viewed(_AsTrained(networks, pooling), views).probabilities(images)
    torch_scores = None if valid is None else score(expected[: len(valid)], valid.labels)

    classifier = ExportedClassifier(networks, pooling, views=views).eval()
    folded = 0
    if precision == "int8":
        assert calibration is not None
        calibration = calibration[:: max(len(calibration) // CALIBRATION_IMAGES, 1)]
        folded = fold_constant_gates(classifier, calibration)
        model = to_int8(classifier, calibration)
    else:
        model = to_onnx(classifier)
    if precision == "fp16":
        with_half_weights(model)
    names = [name for name, _ in members]
    kinds = [network.name for network in networks]
    about = partial(describe, model, members=names, models=kinds, pooling=pooling, precision=precision, views=views)
    about(scores={}, reference="")
    answers = _answers(path, _bytes(model), images, threads)
    file_scores = None if valid is None else score(answers[USUAL][: len(valid)], valid.labels)
    for arithmetic, each in answers.items():
        scores = None if valid is None else score(each[: len(valid)], valid.labels)
        _check_parity(path, precision, arithmetic, _difference(each, expected), torch_scores, scores)
    _check_alike(path, answers)
    difference = max(_difference(each, expected) for each in answers.values())
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    about(scores=_summary(file_scores), reference=_reference(_bytes(model), path.name, threads))
    content = _bytes(model)
    write_bytes(path, content, overwrite=overwrite)
    return Export(path, len(content), difference, len(images), len(drawn), torch_scores, file_scores, folded)


def check_target(path: Path, *, precision: str, overwrite: bool) -> None:
    """Raise UsageError for a precision there is not, WriteError when `path` exists and must stay, or cannot be."""
    if precision not in PRECISIONS:
        msg = f"--precision {precision!r}: there are {', '.join(PRECISIONS)}"
        raise UsageError(msg)
    check_output(path, overwrite=overwrite)


def _answers(path: Path, content: bytes, images: UInt8Array, threads: int) -> dict[str, Float32Array]:
    """Return what the file answers with every arithmetic there is. Raises GateError for a file that cannot be run."""
    try:
        if check_model(content, name=path.name):
            msg = (
                f"{printable(path)} was not written: it has 8-bit weights beyond +-64; sums of two of their products "
                "can saturate on CPUs without VNNI, which would then answer otherwise"
            )
            raise GateError(msg)
        return {
            arithmetic: Session(content, name=path.name, threads=threads, optimise=optimise).probabilities(images)
            for arithmetic, optimise in ARITHMETICS.items()
        }
    except ModelError as error:
        msg = f"{printable(path)} was not written: {error}"
        raise GateError(msg) from error


def _difference(a: Float32Array, b: Float32Array) -> float:
    return float(np.abs(a - b).max())


def _check_parity(
    path: Path, precision: str, arithmetic: str, difference: float, before: Scores | None, after: Scores | None
) -> None:
    """Raise GateError unless what the file answers is as near to torch, and as accurate, as `precision` has to be."""
    where = f"{arithmetic}, on {describe_cpu()}"
    if not difference <= TOLERANCE[precision]:
        msg = (
            f"{printable(path)} was not written: with {where}, its probabilities differ from torch by {difference:.2g} "
            f"(allowed {TOLERANCE[precision]:.2g} for {precision}); export with --precision fp32"
        )
        raise GateError(msg)
    lost = before.accuracy - after.accuracy if before is not None and after is not None else 0.0
    if lost > LARGEST_LOSS:
        msg = (
            f"{printable(path)} was not written: with {where}, {precision} loses {lost:.2%} of accuracy on "
            f"valid (allowed {LARGEST_LOSS:.1%}); export with --precision fp16 or fp32"
        )
        raise GateError(msg)


def _check_alike(path: Path, answers: Mapping[str, Float32Array]) -> None:
    """Raise GateError unless all ways to compute the file answer alike."""
    for arithmetic, each in answers.items():
        difference = _difference(each, answers[USUAL])
        alike = float((each.argmax(1) == answers[USUAL].argmax(1)).mean())
        if not (difference <= LARGEST_DISAGREEMENT and alike >= LABELS_ALIKE):
            msg = (
                f"{printable(path)} was not written: on {describe_cpu()}, its probabilities with {arithmetic} and with "
                f"{USUAL} differ by {difference:.2g} (allowed {LARGEST_DISAGREEMENT:.2g}), and {alike:.2%} of its "
                f"labels agree (at least {LABELS_ALIKE:.1%}); export with --precision fp32"
            )
            raise GateError(msg)


def _summary(scores: Scores | None) -> dict[str, object]:
    if scores is None:
        return {}
    recalls = {name: round(row.recall, 4) for name, row in scores.per_class.items()}
    return {
        "split": "valid",
        "n": scores.n,
        "accuracy": round(scores.accuracy, 4),
        "nll": round(scores.nll, 4),
        "ece": round(scores.ece, 4),
        "recall": recalls,
    }


@dataclass(frozen=True)
class _AsTrained:
    """What the file must answer: the networks as they were trained, with nothing of what is made of them for it."""

    networks: Sequence[Network]
    pooling: Pooling
    name: str = "torch"

    def probabilities(self, images: UInt8Array) -> Float32Array:
        device = torch.device("cpu")
        return self.pooling(np.stack([predict_probabilities(each, images, device=device) for each in self.networks]))


def _drawn_faces() -> UInt8Array:
    """Return images to compare on where there is no data."""
    from emotify.data.synthetic import synthetic_splits

    return synthetic_splits(seed=0, counts=(PARITY_IMAGES, 7, 7))[Split.TRAIN].images


def _reference(content: bytes, name: str, threads: int) -> str:
    """Return a drawn face of each expression, and what the file answers, as its metadata hold them."""
    from emotify.data.synthetic import synthetic_splits

    images = synthetic_splits(seed=0, counts=(7, 7, 7))[Split.VALID].images
    return encode(images, Session(content, name=name, threads=threads).probabilities(images))


def _bytes(model: ModelProto) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))
