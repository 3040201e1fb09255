"""An ensemble folder: which runs it has, and what they answer together."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from emotify.data.types import Float32Array, LabelledImages, UInt8Array
from emotify.ensembling.combining import fit_temperature, with_temperature
from emotify.ensembling.diversity import Diversity, measure_diversity
from emotify.errors import ModelError
from emotify.evaluation.classifier import Classifier, pool_probabilities
from emotify.evaluation.metrics import Scores, score
from emotify.files import file_sha256, printable, read_json, write_json

FILE = "ensemble.json"
CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Ensemble:
    """Members whose log-probabilities are averaged, then divided by one temperature."""

    name: str
    members: tuple[Classifier, ...]
    temperature: float

    def probabilities(self, images: UInt8Array) -> Float32Array:
        """Return probabilities (N, 7) of uint8 images (N, 1, 48, 48)."""
        pooled = pool_probabilities(np.stack([member.probabilities(images) for member in self.members]))
        return with_temperature(pooled, self.temperature)


@dataclass(frozen=True)
class Combination:
    """What combining members on `valid` came to."""

    temperature: float
    scores: Scores  # of the ensemble, calibrated
    member_scores: tuple[Scores, ...]
    diversity: Diversity


def combine(members: Sequence[Classifier], valid: LabelledImages) -> Combination:
    """Pool members by the mean of their log-probabilities and fit the temperature on `valid`."""
    answers = np.stack([member.probabilities(valid.images) for member in members])
    pooled = pool_probabilities(answers)
    temperature = fit_temperature(pooled, valid.labels)
    return Combination(
        temperature,
        score(with_temperature(pooled, temperature), valid.labels),
        tuple(score(answer, valid.labels) for answer in answers),
        measure_diversity(answers, valid.labels),
    )


def save_ensemble(folder: Path, runs: Sequence[Path], combination: Combination) -> None:
    """Write ensemble.json into `folder`; runs are named relative to it, with the digest of their checkpoint."""
    members = [
        {
            "run": _relative(run, folder),
            "sha256": file_sha256(run / CHECKPOINT),
            "weight": 1 / len(runs),
            "valid": scores.document(),
        }
        for run, scores in zip(runs, combination.member_scores, strict=True)
    ]
    document = {
        "schema": 1,
        "method": "mean",
        "members": members,
        "temperature": combination.temperature,
        "valid": combination.scores.document(),
        "diversity": combination.diversity.document(),
    }
    write_json(folder / FILE, document)


def open_ensemble(folder: Path, open_member: Callable[[Path], Classifier]) -> Ensemble:
    """Open an ensemble folder, each member with `open_member`.

    Raises ModelError when the folder is damaged, or a member is gone or no longer what was combined.
    """
    path = folder / FILE
    try:
        document = read_json(path)
        members = [(folder / member["run"], str(member["sha256"])) for member in document["members"]]
        temperature = float(document["temperature"])
        known = document["schema"] == 1 and temperature > 0 and math.isfinite(temperature)
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{printable(path)} is damaged or of a form this version does not know"
        raise ModelError(msg) from error
    if not known:
        msg = f"{printable(path)} is of a form this version does not know; combine again with: emotify ensemble"
        raise ModelError(msg)
    for run, digest in members:
        _check_member(run / CHECKPOINT, digest)
    return Ensemble(folder.resolve().name, tuple(open_member(run) for run, _ in members), temperature)


def _relative(run: Path, folder: Path) -> str:
    """Return the way from `folder` to `run`, so that both can be moved together."""
    run, folder = run.resolve(), folder.resolve()
    try:
        return PurePath(os.path.relpath(run, folder)).as_posix()
    except ValueError:  # on another drive of Windows
        return str(run)


def _check_member(checkpoint: Path, digest: str) -> None:
    if not checkpoint.exists():
        msg = (
            f"no checkpoint at {printable(checkpoint)}, a member of the ensemble; combine again with: emotify ensemble"
        )
        raise ModelError(msg)
    if file_sha256(checkpoint) != digest:
        msg = f"{printable(checkpoint)} is no longer what was combined; combine again with: emotify ensemble"
        raise ModelError(msg)
