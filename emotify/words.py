"""Numbers with their nouns, for sentences."""

from __future__ import annotations

from typing import SupportsInt


def amount(number: SupportsInt, noun: str) -> str:
    """Return `1 image`, `2 images`, `1,033 images`."""
    number = int(number)
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
