"""The data of a command, and what is told about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emotify.cli.console import Talk

if TYPE_CHECKING:
    from emotify.data import Dataset


def load_dataset(
    data: str | None, talk: Talk, *, ferplus: Path | None = None, dedupe: bool = False, aloud: bool = False
) -> Dataset:
    """Read the data that was named, else that of the usual places.

    What was left out of it, and what was taken for what, is always told. What else was noticed is told `aloud`, else
    to --verbose only, and else not looked for.
    """
    from emotify.data import find_data, find_ferplus, read_dataset

    source = find_data(data)
    wanted = aloud or talk.verbose
    votes = ferplus or find_ferplus(source)
    dataset = read_dataset(source, ferplus=votes, dedupe=dedupe, look_for_duplicates=wanted)
    tell = talk.detail if data else talk.notice  # which of the usual places it was, nobody said
    tell(f"data: {source}")
    if votes and not ferplus:
        talk.notice(f"votes of FER+: {votes}")
    for warning in dataset.warnings:
        talk.error(f"data: {warning}")
    if wanted:
        for note in dataset.notes:
            talk.notice(f"data: {note}")
    return dataset
