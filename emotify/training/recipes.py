"""Recipes: named sets of options for `emotify train`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from emotify.choices import Recipe, choose
from emotify.settings import option
from emotify.training.config import MACHINE, TrainConfig

RECIPES: Mapping[Recipe, Mapping[str, Any]] = MappingProxyType(
    {
        # A first result in minutes on a CPU.
        "fast": {"augment": True, "strength": 0.5, "epochs": 12, "optimizer": "muon"},
        # An hour on two CPU threads.
        "standard": {"augment": True, "strength": 0.75, "epochs": 76, "optimizer": "muon", "warmup": 0.1},
        # Minutes on a GPU, hours on a CPU.
        "best": {
            "augment": True,
            "epochs": 60,
            "batch_size": 512,
            "optimizer": "muon",
            "learning_rate": 0.2,
            "warmup": 0.05,
            "mixup": 0.3,
            "drop_path": 0.1,
            "grow": False,
        },
    }
)


def recipe(name: Recipe | str) -> dict[str, Any]:
    """Return the options of a recipe. Raises UsageError for an unknown name."""
    return dict(RECIPES[choose(Recipe, name, option="--recipe")])


def distinguish(configs: Sequence[TrainConfig], data: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name each training by its model and by the options in which the trainings differ, as they are typed.

    data: the `data` of each run.json. A name leaves out the seed, the options of the machine, and options with their
    default value. Trainings have the same name if and only if they differ at most in seed and machine.
    """
    names = [field.name for field in dataclasses.fields(TrainConfig) if field.name not in {"model", "seed", *MACHINE}]
    differing = [name for name in names if len({getattr(config, name) for config in configs}) > 1]
    digests = [str(sorted(one["sha256"].items())) for one in data]
    given: dict[str, list[object]] = {}  # name -> the distinct trainings of this name, without seed and machine
    spelled = []
    for config, one, digest in zip(configs, data, digests, strict=True):
        words = [
            config.model,
            *_spell(config, differing),
            *([f"--data {one['name']}"] if len(set(digests)) > 1 else []),
        ]
        same = given.setdefault(" ".join(words), [])
        training = ([getattr(config, name) for name in names], digest)
        if training not in same:
            same.append(training)
        number = same.index(training) + 1
        spelled.append(" ".join(words) + (f" ({number})" if number > 1 else ""))
    return spelled


def _spell(config: TrainConfig, names: Sequence[str]) -> list[str]:
    words = []
    for name in names:
        value = getattr(config, name)
        if value == getattr(TrainConfig(), name):
            continue
        if isinstance(value, bool):
            words.append(option(name) if value else option(f"no_{name}"))
        else:
            words.append(f"{option(name)} {PurePath(value).name if isinstance(value, str) else f'{value:g}'}")
    return words
