"""Read any data source: the values of `--data`, and the places to search without it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from emotify.arrays import Int64Array
from emotify.choices import Split
from emotify.data.archives import CSV_NAMES, holds_csv, open_csv
from emotify.data.class_folders import ClassRules
from emotify.data.duplicates import describe_duplicates, drop_duplicates
from emotify.data.fer2013 import COLUMNS, read_fer2013
from emotify.data.ferplus import add_votes
from emotify.data.folders import holds_classes, read_folder
from emotify.data.notes import Findings, describe_absent_classes, describe_blanks, first_few
from emotify.data.types import Dataset, LabelledImages
from emotify.emotions import EMOTIONS, class_name
from emotify.errors import InputError, UsageError
from emotify.files import printable
from emotify.paths import exists, explain_missing
from emotify.runs import SYNTHETIC
from emotify.words import amount

FERPLUS_NAME: Final = "fer2013new.csv"
DEFAULT_RULES: Final = ClassRules()
_CSV_ENDINGS: Final = (".csv", ".zip", ".tar", ".gz", ".tgz")
_USUAL_PLACES: Final = ("fer2013.csv", "data/fer2013.csv", "data/fer2013", "fer2013")
_ADVICE: Final = (
    "Download FER-2013 from https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-"
    "recognition-challenge (as a csv) or https://www.kaggle.com/datasets/msambare/fer2013 (as folders), and "
    "name it with --data. To try emotify on drawn faces instead: --data synthetic"
)


def find_data(given: str | Path | None, *, environment: Mapping[str, str] = os.environ, folder: Path = Path()) -> str:
    """Return the data source: `given`, else $EMOTIFY_DATA, else the first usual place below `folder` that exists.

    Raises InputError when there is none.
    """
    if given is not None:
        return str(given)
    if environment.get("EMOTIFY_DATA"):
        return environment["EMOTIFY_DATA"]
    for place in _USUAL_PLACES:
        try:
            found = exists(folder / place)
        except OSError:  # reading the data reports why it is not accessible
            found = True
        if found:
            return str(folder / place)
    raise InputError(f"no data: none of {', '.join(_USUAL_PLACES)} exists here. {_ADVICE}")


def find_ferplus(source: str, *, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the file with FER+'s votes for a csv `source`: $EMOTIFY_FERPLUS, else fer2013new.csv beside the csv.

    Return None when there is no such file, or when `source` does not have the order of FER-2013's csv.
    """
    path = Path(source)
    named = environment.get("EMOTIFY_FERPLUS")
    try:
        votes = Path(named) if named else (path if path.is_dir() else path.parent) / FERPLUS_NAME
        if source == SYNTHETIC or not (named or votes.is_file()):
            return None
        return votes if path.is_file() or _csv_in(path, DEFAULT_RULES) else None
    except OSError:  # reading the data reports it
        return None


def _csv_in(folder: Path, rules: ClassRules) -> Path | None:
    """Return FER-2013's csv in a folder: a file with a usual name, or the only file with FER-2013's columns.

    Files with other names count only in a folder without class folders. Raises InputError when several files qualify.
    """
    if not folder.is_dir():
        return None
    named = next((folder / name for name in CSV_NAMES if (folder / name).is_file()), None)
    if named is not None or holds_classes(folder, rules):
        return named
    files = [path for path in sorted(folder.iterdir()) if path.suffix.casefold() in _CSV_ENDINGS and path.is_file()]
    found = [path for path in files if holds_csv(path, COLUMNS)]
    if len(found) > 1:
        names = ", ".join(printable(path.name) for path in found)
        raise InputError(
            f"{printable(folder)} has several files with FER-2013's columns: {names}; name one with --data"
        )
    return found[0] if found else None


def read_dataset(
    source: str | Path,
    *,
    ferplus: Path | None = None,
    seed: int = 0,
    dedupe: bool = False,
    look_for_duplicates: bool = True,
    rules: ClassRules = DEFAULT_RULES,
    scored: Split | None = None,
) -> Dataset:
    """Read a csv, an archive of a csv, class folders, or "synthetic", with notes and warnings.

    ferplus: the file of FER+'s votes, for FER-2013's csv.
    seed: seed of the synthetic faces, and of the choice of valid images when folders have no valid split.
    dedupe: remove from train repeated images and images that are (nearly) in another split.
    look_for_duplicates: add notes about duplicates, which takes about a third of the time.
    rules: the order of class folders with numbers, and the classes to exclude.
    scored: the only split that is scored; it may lack classes. Without it, train and valid need all classes.

    Raises InputError or UsageError.
    """
    findings = Findings()
    try:
        splits = _read_source(source, findings, seed=seed, ferplus=ferplus, rules=rules, scored=scored)
    except OSError as error:
        name = str(error.filename or source)
        hint = explain_missing(name) if isinstance(error, FileNotFoundError) else None
        raise InputError(f"cannot read {printable(name)}: {hint or error.strerror or error}") from error
    notes = findings.notes
    _require_classes(splits, source, scored)
    if look_for_duplicates:
        notes += describe_duplicates(splits)
    if dedupe:
        splits, more_notes = drop_duplicates(splits)
        notes += more_notes
        _require_classes(splits, source, scored)
    notes += describe_blanks(splits)
    for split, note in describe_absent_classes(splits).items():
        (findings.warnings if split is scored else notes).append(note)
    return Dataset(str(source), splits, tuple(notes), tuple(dict.fromkeys(findings.warnings)))


def _read_source(
    source: str | Path, findings: Findings, *, seed: int, ferplus: Path | None, rules: ClassRules, scored: Split | None
) -> dict[Split, LabelledImages]:
    path = Path(source)
    synthetic = str(source) == SYNTHETIC
    table = None if synthetic else path if path.is_file() else _csv_in(path, rules)
    if ferplus and not table:
        raise InputError("FER+'s votes have the order of FER-2013's csv; name that csv with --data")
    if table or synthetic:
        if rules.order:
            raise UsageError("--class-order works only with class folders; remove it, as a csv has FER-2013's order")
        splits = _read_table(table, path, findings, ferplus) if table else _synthetic(seed)
        return _exclude(splits, rules, findings)
    if path.is_dir():
        return read_folder(path, rules, findings, seed=seed, scored=scored)
    if not (found := exists(path)) and (hint := explain_missing(str(source))):
        raise InputError(f"{printable(str(source))} does not exist: {hint}")
    problem = "is neither a file nor a folder" if found else "does not exist"
    raise InputError(f"{printable(path)} {problem}. {_ADVICE}")


def _read_table(table: Path, given: Path, findings: Findings, ferplus: Path | None) -> dict[Split, LabelledImages]:
    """Read the csv `table`. The user named it, or the folder that holds it, as `given`."""
    if table != given:
        others = [printable(path.name) for path in sorted(given.iterdir()) if _is_other_data(path, table)]
        if others or table.name not in CSV_NAMES:
            findings.warnings.append(
                f"read {printable(table)}{f', and skipped {first_few(others)} beside it' if others else ''}."
            )
    with open_csv(table, COLUMNS) as stream:
        splits = read_fer2013(stream, printable(table))
    return add_votes(splits, ferplus, findings) if ferplus else splits


def _is_other_data(path: Path, table: Path) -> bool:
    """Return whether the user may have meant `path` as data, too."""
    if path.name.startswith(".") or path.name in {table.name, FERPLUS_NAME}:
        return False
    return path.is_dir() or path.suffix.casefold() in _CSV_ENDINGS


def _synthetic(seed: int) -> dict[Split, LabelledImages]:
    from emotify.data.synthetic import synthetic_splits

    return dict(synthetic_splits(seed=seed))


def _exclude(splits: dict[Split, LabelledImages], rules: ClassRules, findings: Findings) -> dict[Split, LabelledImages]:
    """Drop the images of the classes that the rules exclude."""
    for name in rules.excluded_names:
        label = EMOTIONS.index(meaning) if (meaning := class_name(name)) in EMOTIONS else None
        count = sum(int(images.counts()[label]) for images in splits.values()) if label is not None else 0
        if not count:
            findings.warnings.append(f"--exclude-classes {printable(name)} has no effect: the data has no such class.")
            continue
        findings.warnings.append(f"excluded {amount(count, 'image')} of {meaning} (--exclude-classes).")
        splits = {split: images.take(images.labels != label) for split, images in splits.items()}
    return splits


def _require_classes(splits: Mapping[Split, LabelledImages], source: str | Path, scored: Split | None) -> None:
    """Raise InputError, with the number of images per class, when a split has too few classes.

    scored: the split to score, which needs two classes. Without it, train and valid need all classes, test needs two.
    """
    counts = {split: images.counts() for split, images in splits.items()} or {Split.TRAIN: np.zeros(len(EMOTIONS), int)}
    needed = {Split.TRAIN: len(EMOTIONS), Split.VALID: len(EMOTIONS), Split.TEST: 2} if scored is None else {scored: 2}
    for split, numbers in counts.items():
        present = np.count_nonzero(numbers)
        if present < needed.get(split, 0):
            table = [f"{split}: {_count_line(numbers)}" for split, numbers in counts.items()]
            problem = f"{split} has images of {present} of the {len(EMOTIONS)} classes"
            raise InputError("\n  ".join([f"{printable(str(source))}: {problem}", *table]))


def _count_line(numbers: Int64Array) -> str:
    return ", ".join(f"{emotion} {number:,}" for emotion, number in zip(EMOTIONS, numbers, strict=True))
