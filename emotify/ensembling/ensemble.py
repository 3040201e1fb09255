"""Save and open an ensemble folder: its member runs, their weights, and their combined answer."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from emotify.arrays import UInt8Array
from emotify.choices import Method, Views
from emotify.ensembling.combine import Combination
from emotify.ensembling.pooling import Pooling
from emotify.errors import ModelError, list_mistakes
from emotify.evaluation.classifier import VIEWS, Answers, AveragedViews, Classifier, pool_answers
from emotify.files import file_sha256, printable, read_json, write_json
from emotify.runs import CHECKPOINT, ENSEMBLE

SCHEMA = 3  # in schema 2 both heads had the same weights; schema 1 had only the method mean, without weights
_AGAIN = "combine again with: emotify ensemble"


@dataclass(frozen=True)
class Ensemble:
    """A classifier that combines its members."""

    name: str
    members: tuple[Classifier, ...]
    pooling: Pooling
    crowd_pooling: Pooling | None = None  # None without crowd heads, or without votes to fit it to
    views: Views = "one"  # over which each member's answer is averaged

    def answers(self, images: UInt8Array) -> Answers:
        """Return the probabilities of each head for uint8 images (N, 1, 48, 48)."""
        answers = [AveragedViews(member, self.views).answers(images) for member in self.members]
        if self.crowd_pooling is not None:
            heads = [answer.crowd is not None for answer in answers]
            check_crowd_weights(self.name, self.crowd_pooling, heads)
        return pool_answers(answers, self.pooling, self.crowd_pooling)


def check_crowd_weights(name: str, pooling: Pooling, heads: Sequence[bool]) -> None:
    """Raise ModelError if a member without a crowd head has a weight in the crowd's pooling.

    name: of the ensemble. heads: whether each member has a crowd head.
    """
    if any(weight and not head for weight, head in zip(pooling.weights, heads, strict=True)):
        msg = f"{printable(name)} gives a weight in the crowd head to a member without one; {_AGAIN}"
        raise ModelError(msg)


def save_ensemble(folder: Path, runs: Sequence[Path], combination: Combination, *, views: Views = "one") -> None:
    """Write ensemble.json into `folder`, with the relative path and the checkpoint's SHA-256 of each run.

    views: the test-time variants of an image over which each member's answer is averaged.
    runs: the runs of the combination, in its order. Runs with weight 0 in all heads are saved as dropped, not as
    members.
    """
    pooling = combination.pooling
    known: list[dict[str, Any]] = [
        {
            "run": _relative(run, folder),
            "sha256": file_sha256(run / CHECKPOINT),
            "weight": weight,
            "valid": one.document(),
        }
        for run, weight, one in zip(runs, pooling.weights, combination.member_scores, strict=True)
    ]
    if combination.crowd is not None:
        for member, weight in zip(known, combination.crowd.pooling.weights, strict=True):
            member["crowd_weight"] = weight
    document = {
        "schema": SCHEMA,
        "method": combination.method,
        "taken": combination.taken,
        "views": views,
        "members": [member for member, used in zip(known, combination.used, strict=True) if used],
        "dropped": [member for member, used in zip(known, combination.used, strict=True) if not used],
        "temperature": pooling.temperature,
        "crowd": combination.crowd and combination.crowd.document(),
        "valid": combination.scores.document(),
        "cross_fitted": vars(combination.cross_fitted),
        "methods": [trial.document() for trial in combination.trials.values()],
        "diversity": {"runs": [member["run"] for member in known], **combination.diversity.document()},
        "conclusion": combination.conclusion,
        "worse_than_best_member": combination.worse_in(),
    }
    write_json(folder / ENSEMBLE, document)


def open_ensemble(folder: Path, open_member: Callable[[Path], Classifier]) -> Ensemble:
    """Open an ensemble folder, each member with `open_member`.

    Raises ModelError when ensemble.json is damaged, or a member is missing or has changed since it was combined.
    """
    path = folder / ENSEMBLE
    try:
        document = read_json(path)
        members = [(folder / member["run"], str(member["sha256"])) for member in document["members"]]
        pooling = _read_pooling(document)
        crowd = _read_crowd_pooling(document)
        views = document.get("views", "one")  # older folders have none
        VIEWS[views]
        mistakes = [text for run, digest in members if (text := _find_mistake(run / CHECKPOINT, digest))]
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        msg = f"{printable(path)} is damaged or has an unknown format; {_AGAIN}"
        raise ModelError(msg) from error
    if mistakes:
        raise ModelError(f"{list_mistakes('', mistakes, noun='members are missing or changed')}; {_AGAIN}")
    return Ensemble(folder.resolve().name, tuple(open_member(run) for run, _ in members), pooling, crowd, views)


def read_recipes(runs: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the config.json of each run, or an empty dict when it is not readable."""
    recipes = []
    for run in runs:
        try:
            recipe = read_json(run / "config.json")
        except (OSError, ValueError):
            recipe = {}
        recipes.append(recipe if isinstance(recipe, dict) else {})
    return recipes


def _read_pooling(document: dict[str, Any]) -> Pooling:
    """Return the pooling of the labels heads in an ensemble.json.

    Raises ValueError, KeyError or TypeError when it is invalid.
    """
    if document["schema"] not in (1, 2, SCHEMA):
        raise ValueError
    weights = [member["weight"] for member in document["members"]]
    return _pooling(weights, document["temperature"], Method(document["method"]))


def _read_crowd_pooling(document: dict[str, Any]) -> Pooling | None:
    """Return the pooling of the crowd heads in an ensemble.json. Before schema 3, both heads have the same weights."""
    crowd = document.get("crowd")
    if crowd is None:
        return None
    weight = "crowd_weight" if document["schema"] == SCHEMA else "weight"
    weights = [member[weight] for member in document["members"]]
    return _pooling(weights, crowd["temperature"], Method(document["method"]))


def _pooling(weights: Sequence[Any], temperature: object, method: Method) -> Pooling:
    """Return a pooling. Raises ValueError or TypeError when a number is invalid."""
    shares, divisor = tuple(map(float, weights)), float(temperature)  # type: ignore[arg-type]
    if not (shares and min(shares) >= 0 and math.isclose(sum(shares), 1, abs_tol=1e-6)):
        raise ValueError
    if not (divisor > 0 and math.isfinite(divisor)):
        raise ValueError
    return Pooling(shares, divisor, linear=method is Method.PROBABILITIES)


def _relative(run: Path, folder: Path) -> str:
    """Return the relative path from `folder` to `run`, so that the user can move both together."""
    run, folder = run.resolve(), folder.resolve()
    try:
        return PurePath(os.path.relpath(run, folder)).as_posix()
    except ValueError:  # on another drive of Windows
        return str(run)


def _find_mistake(checkpoint: Path, digest: str) -> str | None:
    """Return what is wrong with the checkpoint of a member, or None."""
    if not checkpoint.exists():
        return f"{printable(checkpoint)} of a member is missing"
    if file_sha256(checkpoint) != digest:
        return f"{printable(checkpoint)} of a member has changed"
    return None
