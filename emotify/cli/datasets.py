"""The data of a command, and what is told about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emotify.cli.console import Talk

if TYPE_CHECKING:
    from emotify.data import Dataset


def load_dataset(data: str | None, talk: Talk, *, ferplus: Path | None = None, dedupe: bool = False) -> Dataset:
    """Read the data that was named, else that of the usual places; --verbose tells what was noticed in it."""
    from emotify.data import find_data, read_dataset

    source = find_data(data)
    dataset = read_dataset(source, ferplus=ferplus, dedupe=dedupe)
    talk.detail(f"data: {source}")
    for note in dataset.notes:
        talk.detail(f"data: {note}")
    return dataset
