"""The options that name the data of a command, and the messages about it."""

# ruff: noqa: RUF009 - each default is declared by a function that returns a field

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emotify.cli.console import Messages
from emotify.cli.options import TRAIN_FIELDS
from emotify.cli.working import working
from emotify.files import printable
from emotify.settings import declare
from emotify.waiting import waiting_for

if TYPE_CHECKING:
    from emotify.data import Dataset, Split


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """The options that say where the data is."""

    data: str | None = declare(
        None,
        "fer2013.csv or icml_face_data.csv, also zipped; a folder of classes; or 'synthetic'. "
        "Default: $EMOTIFY_DATA, else fer2013.csv or fer2013/, here or in data/.",
        metavar="PATH",
    )
    ferplus: Path | None = declare(
        None,
        "fer2013new.csv, the votes of ten people for each image. Default: $EMOTIFY_FERPLUS, else that file beside "
        "fer2013.csv.",
        metavar="FILE",
    )


@dataclass(frozen=True, kw_only=True)
class ClassifiedData(DataOptions):
    """The options that say where the data is and what its classes mean. In `train` the latter are in TrainConfig."""

    class_order: str = dataclasses.field(default="", metadata=TRAIN_FIELDS["class_order"].metadata)
    exclude_classes: str = dataclasses.field(default="", metadata=TRAIN_FIELDS["exclude_classes"].metadata)

    @property
    def class_words(self) -> list[str]:
        """The options about classes as words of the command line."""
        order = ["--class-order", self.class_order] if self.class_order else []
        return [*order, *(["--exclude-classes", self.exclude_classes] if self.exclude_classes else [])]


def load_dataset(
    wanted: ClassifiedData,
    messages: Messages,
    *,
    dedupe: bool = False,
    show_notes: bool = False,
    scored: Split | None = None,
) -> Dataset:
    """Read the data that --data names, else the data in the usual places. Raises InputError.

    scored: the one split that is needed. Warnings, such as images that were left out, are always printed. Notes, such
    as duplicates, are looked for and printed with `show_notes` or --verbose.
    """
    from emotify.data import ClassRules, find_data, find_ferplus, read_dataset

    rules = ClassRules(wanted.class_order, wanted.exclude_classes)
    source = find_data(wanted.data)
    look = show_notes or messages.verbose
    votes = wanted.ferplus or find_ferplus(source)
    with working(messages, f"reading {printable(source)}"), waiting_for("reading", source):
        dataset = read_dataset(
            source, ferplus=votes, dedupe=dedupe, look_for_duplicates=look, rules=rules, scored=scored
        )
    tell = (
        messages.detail if wanted.data else messages.notice
    )  # without --data the user does not know yet which one was found
    tell(f"data: {source}")
    if votes and not wanted.ferplus:
        messages.notice(f"votes of FER+: {votes}")
    for warning in dataset.warnings:
        messages.error(f"data: {warning}")
    if look:
        for note in dataset.notes:
            messages.notice(f"data: {note}")
    return dataset
