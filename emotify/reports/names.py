"""Names of models and times, as reports show them."""

from __future__ import annotations

import re

from emotify.files import printable


def short_name(text: str) -> str:
    """Return a model's name, escaped, without the long time at the start of a run folder's name."""
    return re.sub(r"^\d{8}-\d{6}-", "", printable(text))


def cut(name: str, length: int = 32) -> str:
    """Return a name, cut to `length` characters."""
    return name if len(name) <= length else f"{name[: length - 1]}…"


def clock(seconds: float) -> str:
    """Return a time in a clip as 1:02:03, 2:03 or, within the first minute, 0:03.5."""
    if seconds < 59.95 and abs(seconds - round(seconds)) > 0.05:
        return f"0:{seconds:04.1f}"
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
