"""Settings that go together, by name. What each is worth: docs/results.md."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from emotify.errors import UsageError

RECIPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # A first result in minutes on a CPU.
        "fast": {"augment": True, "strength": 0.5, "epochs": 12},
        # What a CPU reaches in an hour.
        "standard": {"augment": True, "epochs": 40},
        # Minutes on a GPU, hours without.
        "best": {
            "augment": True,
            "epochs": 100,
            "batch_size": 512,
            "learning_rate": 0.2,
            "warmup": 0.05,
            "mixup": 0.3,
            "drop_path": 0.1,
            "ema_decay": 0.999,
            "grow": False,
        },
    }
)


def recipe(name: str) -> dict[str, Any]:
    """Return the options of a recipe. Raises UsageError for a name that there is not."""
    if name not in RECIPES:
        msg = f"--recipe {name!r}: there are {', '.join(RECIPES)}"
        raise UsageError(msg)
    return dict(RECIPES[name])
