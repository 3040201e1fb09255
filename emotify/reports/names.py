"""Names of models as they are shown."""

from __future__ import annotations

import re

from emotify.files import printable


def short_name(text: str) -> str:
    """Return a model's name, printable, without the time that run folders begin with: it says little and is long."""
    return re.sub(r"^\d{8}-\d{6}-", "", printable(text))


def cut(name: str, length: int = 32) -> str:
    """Return a name, no longer than `length`."""
    return name if len(name) <= length else f"{name[: length - 1]}…"
