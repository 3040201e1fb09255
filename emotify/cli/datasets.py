"""The data of a command, and what is told about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emotify.cli.console import Talk
from emotify.cli.working import working
from emotify.files import printable
from emotify.waiting import waiting_for

if TYPE_CHECKING:
    from emotify.data import Dataset, Split


def load_dataset(
    data: str | None,
    talk: Talk,
    *,
    ferplus: Path | None = None,
    class_order: str = "",
    exclude_classes: str = "",
    dedupe: bool = False,
    aloud: bool = False,
    scored: Split | None = None,
) -> Dataset:
    """Read the data that was named, else that of the usual places. `scored`: the one split that is wanted.

    What was left out of it, and what was taken for what, is always told. What else was noticed is told `aloud`, else
    to --verbose only, and else not looked for.
    """
    from emotify.data import ClassRules, find_data, find_ferplus, read_dataset

    rules = ClassRules(class_order, exclude_classes)
    source = find_data(data)
    wanted = aloud or talk.verbose
    votes = ferplus or find_ferplus(source)
    with working(talk, f"reading {printable(source)}"), waiting_for("reading", source):
        dataset = read_dataset(
            source, ferplus=votes, dedupe=dedupe, look_for_duplicates=wanted, rules=rules, scored=scored
        )
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


def class_words(class_order: str, exclude_classes: str) -> list[str]:
    """Return the options about classes as a command to show has them."""
    order = ["--class-order", class_order] if class_order else []
    return [*order, *(["--exclude-classes", exclude_classes] if exclude_classes else [])]
