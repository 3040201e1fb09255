"""One door to every source: what `--data` may be, and where it is looked for when it is not given."""

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
from emotify.data.foreign import explain_missing
from emotify.data.notes import Findings, describe_absent_classes, describe_blanks, first_few
from emotify.data.types import Dataset, LabelledImages
from emotify.emotions import EMOTIONS, class_name
from emotify.errors import InputError, UsageError
from emotify.files import printable
from emotify.words import amount

SYNTHETIC: Final = "synthetic"
FERPLUS_NAME: Final = "fer2013new.csv"
DEFAULT_RULES: Final = ClassRules()
_CSV_ENDINGS: Final = (".csv", ".zip", ".tar", ".gz", ".tgz")
_USUAL_PLACES: Final = ("fer2013.csv", "data/fer2013.csv", "data/fer2013", "fer2013")
_ADVICE: Final = (
    "FER-2013 is to be had at https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-"
    "recognition-challenge (as a csv) and https://www.kaggle.com/datasets/msambare/fer2013 (as folders); "
    "name it with --data. To try emotify without it, on drawn faces: --data synthetic"
)


def find_data(given: str | Path | None, *, environment: Mapping[str, str] = os.environ, folder: Path = Path()) -> str:
    """Return where the data is: what was given, else $EMOTIFY_DATA, else the first usual place below `folder`."""
    if given is not None:
        return str(given)
    if environment.get("EMOTIFY_DATA"):
        return environment["EMOTIFY_DATA"]
    for place in _USUAL_PLACES:
        if (folder / place).exists():
            return str(folder / place)
    raise InputError(f"no data: none of {', '.join(_USUAL_PLACES)} is here. {_ADVICE}")


def find_ferplus(source: str, *, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return where the votes for the challenge's csv `source` are: $EMOTIFY_FERPLUS, else fer2013new.csv beside it.

    None where there is no such file, and for data whose order is not the challenge's.
    """
    path = Path(source)
    named = environment.get("EMOTIFY_FERPLUS")
    votes = Path(named) if named else (path if path.is_dir() else path.parent) / FERPLUS_NAME
    if source == SYNTHETIC or not (named or votes.is_file()):
        return None
    try:
        return votes if path.is_file() or _csv_in(path, DEFAULT_RULES) else None
    except OSError:  # reading the data tells it
        return None


def _csv_in(folder: Path, rules: ClassRules) -> Path | None:
    """Return the challenge's csv in a folder; else, in a folder without folders of classes, the only file with one.

    Raises InputError where several files have one, and nothing says which is meant.
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
    """Read a csv, an archive of one, folders of classes, or "synthetic", with notes on what is odd about it.

    `ferplus` adds the votes of FER+ to the challenge's csv. `seed` draws the faces of "synthetic", and the valid split
    where folders have none. `dedupe` drops from train what is repeated, or also in another split.
    `look_for_duplicates` notes what is there more than once, which takes about a third of the time. `rules` say what
    folders named by numbers mean, and which classes to leave out. `scored`: the split that is scored and nothing else,
    which may lack classes; without it train and valid must have all. Raises InputError, UsageError.
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
        raise InputError("the votes of FER+ go by the order of the challenge's csv; give that as --data")
    if table or synthetic:
        if rules.order:
            raise UsageError("--class-order is about folders named by numbers; a csv has FER-2013's numbers")
        splits = _read_table(table, path, findings, ferplus) if table else _synthetic(seed)
        return _exclude(splits, rules, findings)
    if path.is_dir():
        return read_folder(path, rules, findings, seed=seed, scored=scored)
    if not path.exists() and (hint := explain_missing(str(source))):
        raise InputError(f"{printable(str(source))} is not there: {hint}")
    problem = "is neither a file nor a folder" if path.exists() else "is not there"
    raise InputError(f"{printable(path)} {problem}. {_ADVICE}")


def _read_table(table: Path, given: Path, findings: Findings, ferplus: Path | None) -> dict[Split, LabelledImages]:
    """Read the csv `table`, which lies in the folder `given` or is it."""
    if table != given:
        others = [printable(path.name) for path in sorted(given.iterdir()) if _is_other_data(path, table)]
        if others or table.name not in CSV_NAMES:
            findings.warnings.append(
                f"{printable(table)} is read{f', and not {first_few(others)} beside it' if others else ''}."
            )
    with open_csv(table, COLUMNS) as stream:
        splits = read_fer2013(stream, printable(table))
    return add_votes(splits, ferplus, findings) if ferplus else splits


def _is_other_data(path: Path, table: Path) -> bool:
    """Whether a path could have been meant as the data, too."""
    if path.name.startswith(".") or path.name in {table.name, FERPLUS_NAME}:
        return False
    return path.is_dir() or path.suffix.casefold() in _CSV_ENDINGS


def _synthetic(seed: int) -> dict[Split, LabelledImages]:
    from emotify.data.synthetic import synthetic_splits

    return dict(synthetic_splits(seed=seed))


def _exclude(splits: dict[Split, LabelledImages], rules: ClassRules, findings: Findings) -> dict[Split, LabelledImages]:
    """Leave out the images of the classes that the rules name."""
    for name in rules.excluded_names:
        label = EMOTIONS.index(meaning) if (meaning := class_name(name)) in EMOTIONS else None
        count = sum(int(images.counts()[label]) for images in splits.values()) if label is not None else 0
        if not count:
            findings.warnings.append(f"--exclude-classes {printable(name)}: there is no such class.")
            continue
        findings.warnings.append(f"{amount(count, 'image')} of {meaning} left out (--exclude-classes).")
        splits = {split: images.take(images.labels != label) for split, images in splits.items()}
    return splits


def _require_classes(splits: Mapping[Split, LabelledImages], source: str | Path, scored: Split | None) -> None:
    """Refuse what cannot be trained or chosen on, nor scored, and show how many images each class has.

    scored: the one split that is scored; without it train and valid need all classes, and test needs two.
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
