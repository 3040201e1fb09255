"""Export a model and compare it with torch. A file that differs is not written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from onnx import ModelProto

from emotify.arrays import Float32Array, UInt8Array
from emotify.choices import FilePrecision, Split, choose
from emotify.data.types import LabelledImages
from emotify.ensembling.pooling import CrowdPooling, Pooling
from emotify.errors import GateError, ModelError
from emotify.evaluation.classifier import Answers, AveragedViews, pool_answers
from emotify.evaluation.crowd import TRUTH, Crowd, score_crowd
from emotify.evaluation.metrics import Scores, score
from emotify.exporting.eight_bits import to_int8
from emotify.exporting.gates import fold_constant_gates
from emotify.exporting.graph import ExportedClassifier
from emotify.exporting.onnx_file import describe, to_onnx, with_half_weights
from emotify.files import check_output, explain_write_errors, printable, write_bytes
from emotify.machine import describe_cpu
from emotify.networks import Network
from emotify.networks.inference import predict_answers
from emotify.onnx_runtime.classifier import Session
from emotify.onnx_runtime.reference import encode
from emotify.onnx_runtime.safety import check_model

# Largest allowed difference between a probability of the file and of torch. In fp32, a label can then differ only if
# two probabilities differ by less than twice this value.
TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "int8": 0.15}
EXCEPT = {"fp32": 0.0, "fp16": 0.0, "int8": 0.001}  # share of images that may differ by more
USUAL = "graph optimisation on"
ARITHMETICS = {USUAL: True, "graph optimisation off": False}  # without it, int8 is computed in float32
LARGEST_DISAGREEMENT = 0.03  # between the probabilities of one file with both arithmetics
LABELS_ALIKE = 0.995  # smallest share of images with the same label
LARGEST_LOSS = 0.005  # largest loss of accuracy on valid, for fp16 and int8
PARITY_IMAGES = 280  # drawn images, 40 of each expression
CALIBRATION_IMAGES = 512


@dataclass(frozen=True)
class Export:
    """The report of an exported file that passed all checks."""

    path: Path
    bytes: int
    difference: float  # largest difference of a probability from torch in float32
    images: int  # number of images for this comparison
    drawn_images: int  # how many of these images are drawn, because valid has too few
    torch_scores: Scores | None  # of the labels head on valid, if there is valid data
    file_scores: Scores | None
    torch_crowd: Crowd | None  # of the crowd head on valid, if valid has votes
    file_crowd: Crowd | None
    folded_gates: int  # int8: constant squeeze-and-excitation gates that were folded into convolutions


def export(
    members: Sequence[tuple[str, Network]],
    path: Path,
    *,
    pooling: Pooling,
    crowd: CrowdPooling | None = None,
    precision: str = "fp32",
    views: str = "one",
    valid: LabelledImages | None = None,
    calibration: UInt8Array | None = None,
    overwrite: bool = False,
    threads: int = 0,
) -> Export:
    """Write members (name, network) with their pooling as one ONNX classifier to `path`.

    crowd: pooling of the crowd heads, with weight 0 for members without one; without it the file has only the labels
    head. valid: images for the scores in the metadata of the file; required for fp16 and int8. calibration: train
    images, required for int8.

    Raises GateError, without writing a file, if the probabilities of the file differ too much from torch's.
    """
    check_target(path, precision=precision, overwrite=overwrite)
    networks = [network for _, network in members]
    images = np.zeros((0, 1, 48, 48), np.uint8) if valid is None else valid.images
    drawn = _drawn_faces() if len(images) < PARITY_IMAGES else images[:0]
    images = np.concatenate([images, drawn])
    expected = _expected(networks, pooling, crowd, views, images)
    before = _score(expected, valid)

    classifier = ExportedClassifier(networks, pooling, crowd=crowd, views=views).eval()
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
    about = partial(
        describe, model, members=names, models=kinds, pooling=pooling, crowd=crowd, precision=precision, views=views
    )
    about(scores={}, reference="")
    answers = _answers(path, _bytes(model), images, threads)
    after = _score(answers[USUAL], valid)
    for arithmetic, each in answers.items():
        difference = _difference_but_for(EXCEPT[precision], each, expected)
        _check_parity(path, precision, arithmetic, difference, before, _score(each, valid))
    _check_alike(path, answers)
    difference = max(max(map(_difference, _by_head(each), _by_head(expected))) for each in answers.values())
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    about(scores=_summary(after), reference=_reference(_bytes(model), path.name, threads))
    content = _bytes(model)
    write_bytes(path, content, overwrite=overwrite)
    return Export(
        path,
        len(content),
        difference,
        len(images),
        len(drawn),
        before.labels,
        after.labels,
        before.crowd,
        after.crowd,
        folded,
    )


def check_target(path: Path, *, precision: str, overwrite: bool) -> None:
    """Raise UsageError for an unknown precision, WriteError if `path` exists without `overwrite` or is not writable."""
    choose(FilePrecision, precision, option="--precision")
    check_output(path, overwrite=overwrite)


@dataclass(frozen=True)
class _OnValid:
    """The scores of both heads on `valid`; None without data or votes."""

    labels: Scores | None
    crowd: Crowd | None


def _score(answers: Answers, valid: LabelledImages | None) -> _OnValid:
    """Score the first rows of the answers, which belong to `valid`."""
    if valid is None:
        return _OnValid(None, None)
    voted = answers.crowd is not None and valid.votes is not None
    crowd = score_crowd(answers.crowd[: len(valid)], valid.votes) if voted else None  # type: ignore[index,arg-type]
    return _OnValid(score(answers.labels[: len(valid)], valid.labels), crowd)


def _by_head(answers: Answers) -> list[Float32Array]:
    return [answer for answer in (answers.labels, answers.crowd) if answer is not None]


def _answers(path: Path, content: bytes, images: UInt8Array, threads: int) -> dict[str, Answers]:
    """Return the file's answers with each of ARITHMETICS. Raises GateError if the file cannot be run."""
    try:
        if check_model(content, name=path.name):
            msg = (
                f"{printable(path)} was not written: it has int8 weights beyond +-64, whose sums can saturate on CPUs "
                "without VNNI and change the results; export with --precision fp32"
            )
            raise GateError(msg)
        return {
            arithmetic: Session(content, name=path.name, threads=threads, optimise=optimise).answers(images)
            for arithmetic, optimise in ARITHMETICS.items()
        }
    except ModelError as error:
        msg = f"{printable(path)} was not written: {error}"
        raise GateError(msg) from error


def _difference(a: Float32Array, b: Float32Array) -> float:
    return float(np.abs(a - b).max())


def _difference_but_for(share: float, a: Answers, b: Answers) -> float:
    """Return the largest difference of a probability, after ignoring the `share` of images that differ most."""
    each = [np.abs(one - other).max(1) for one, other in zip(_by_head(a), _by_head(b), strict=True)]
    return float(np.quantile(np.max(each, axis=0), 1 - share))


def _check_parity(
    path: Path, precision: str, arithmetic: str, difference: float, before: _OnValid, after: _OnValid
) -> None:
    """Raise GateError if the file's difference from torch or its loss of accuracy is too large for `precision`."""
    where = f"{arithmetic}, on {describe_cpu()}"
    if not difference <= TOLERANCE[precision]:
        msg = (
            f"{printable(path)} was not written: with {where}, its probabilities differ from torch by {difference:.2g} "
            f"(allowed {TOLERANCE[precision]:.2g} for {precision}); export with --precision fp32"
        )
        raise GateError(msg)
    lost = 0.0
    if before.labels is not None and after.labels is not None:
        lost = before.labels.accuracy - after.labels.accuracy
    if before.crowd is not None and after.crowd is not None:
        lost = max(lost, before.crowd.scores.accuracy - after.crowd.scores.accuracy)
    if lost > LARGEST_LOSS:
        msg = (
            f"{printable(path)} was not written: with {where}, {precision} loses {lost:.2%} of accuracy on "
            f"valid (allowed {LARGEST_LOSS:.1%}); export with --precision fp16 or fp32"
        )
        raise GateError(msg)


def _check_alike(path: Path, answers: Mapping[str, Answers]) -> None:
    """Raise GateError if the answers of any head differ too much between the arithmetics."""
    usual = _by_head(answers[USUAL])
    for arithmetic, each in answers.items():
        heads = list(zip(_by_head(each), usual, strict=True))
        difference = max(_difference(*head) for head in heads)
        alike = min(float((one.argmax(1) == other.argmax(1)).mean()) for one, other in heads)
        if not (difference <= LARGEST_DISAGREEMENT and alike >= LABELS_ALIKE):
            msg = (
                f"{printable(path)} was not written: on {describe_cpu()}, its probabilities with {arithmetic} and with "
                f"{USUAL} differ by {difference:.2g} (allowed {LARGEST_DISAGREEMENT:.2g}), and {alike:.2%} of its "
                f"labels agree (at least {LABELS_ALIKE:.1%}); export with --precision fp32"
            )
            raise GateError(msg)


def _summary(on_valid: _OnValid) -> dict[str, object]:
    if on_valid.labels is None:
        return {}
    document = _headline(on_valid.labels)
    if on_valid.crowd is not None:
        document["crowd"] = {
            **_headline(on_valid.crowd.scores),
            "truth": TRUTH,
            "cross_entropy": round(on_valid.crowd.cross_entropy, 4),
        }
    return {"split": "valid", **document}


def _headline(scores: Scores) -> dict[str, object]:
    recalls = {name: round(row.recall, 4) for name, row in scores.per_class.items()}
    return {
        "n": scores.n,
        "accuracy": round(scores.accuracy, 4),
        "nll": round(scores.nll, 4),
        "ece": round(scores.ece, 4),
        "recall": recalls,
    }


def _expected(
    networks: Sequence[Network], pooling: Pooling, crowd: CrowdPooling | None, views: str, images: UInt8Array
) -> Answers:
    """Return torch's answers for the networks as trained, without the changes made for the export."""
    answers = AveragedViews(_AsTrained(networks, pooling, crowd), views).answers(images)
    return answers if crowd is not None else Answers(answers.labels)


@dataclass(frozen=True)
class _AsTrained:
    """The networks as trained, with their pooling."""

    networks: Sequence[Network]
    pooling: Pooling
    crowd: CrowdPooling | None
    name: str = "torch"

    def answers(self, images: UInt8Array) -> Answers:
        device = torch.device("cpu")
        answers = [predict_answers(each, images, device=device) for each in self.networks]
        return pool_answers(answers, self.pooling, self.crowd)


def _drawn_faces() -> UInt8Array:
    """Return drawn images for the comparison with torch, for use without enough data."""
    from emotify.data.synthetic import synthetic_splits

    return synthetic_splits(seed=0, counts=(PARITY_IMAGES, 7, 7))[Split.TRAIN].images


def _reference(content: bytes, name: str, threads: int) -> str:
    """Return a drawn face of each expression with the file's answers, encoded for its metadata."""
    from emotify.data.synthetic import synthetic_splits

    images = synthetic_splits(seed=0, counts=(7, 7, 7))[Split.VALID].images
    return encode(images, Session(content, name=name, threads=threads).answers(images))


def _bytes(model: ModelProto) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))
