"""One door to every source: what `--data` may be, and where it is looked for when it is not given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from emotify.arrays import Int64Array
from emotify.choices import Split
from emotify.data.archives import CSV_NAMES, open_csv
from emotify.data.duplicates import describe_duplicates, drop_duplicates
from emotify.data.fer2013 import COLUMNS, read_fer2013
from emotify.data.ferplus import add_votes
from emotify.data.folders import read_folder
from emotify.data.notes import Findings, describe_absent_classes, describe_blanks
from emotify.data.types import Dataset, LabelledImages
from emotify.emotions import EMOTIONS
from emotify.errors import InputError
from emotify.files import printable

SYNTHETIC: Final = "synthetic"
FERPLUS_NAME: Final = "fer2013new.csv"
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
    folder = path if path.is_dir() else path.parent
    if source == SYNTHETIC or not (path.is_file() or any((path / name).is_file() for name in CSV_NAMES)):
        return None
    if environment.get("EMOTIFY_FERPLUS"):
        return Path(environment["EMOTIFY_FERPLUS"])
    beside = folder / FERPLUS_NAME
    return beside if beside.is_file() else None


def read_dataset(
    source: str | Path,
    *,
    ferplus: Path | None = None,
    seed: int = 0,
    dedupe: bool = False,
    look_for_duplicates: bool = True,
) -> Dataset:
    """Read a csv, an archive of one, folders of classes, or "synthetic", with notes on what is odd about it.

    `ferplus` adds the votes of FER+ to the challenge's csv. `seed` draws the faces of "synthetic", and the valid split
    where folders have none. `dedupe` drops from train what is repeated, or also in another split.
    `look_for_duplicates` notes what is there more than once, which takes about a third of the time.
    """
    findings = Findings()
    try:
        splits = _read_source(source, findings, seed=seed, ferplus=ferplus)
    except OSError as error:
        name = printable(error.filename or str(source))
        raise InputError(f"cannot read {name}: {error.strerror or error}") from error
    notes = findings.notes
    _require_classes(splits, source)
    if look_for_duplicates:
        notes += describe_duplicates(splits)
    if dedupe:
        splits, more_notes = drop_duplicates(splits)
        notes += more_notes
        _require_classes(splits, source)
    notes += [*describe_blanks(splits), *describe_absent_classes(splits)]
    return Dataset(str(source), splits, tuple(notes), tuple(findings.warnings))


def _read_source(
    source: str | Path, findings: Findings, *, seed: int, ferplus: Path | None
) -> dict[Split, LabelledImages]:
    path = Path(source)
    if path.is_dir():
        path = next((path / name for name in CSV_NAMES if (path / name).is_file()), path)
    if str(source) != SYNTHETIC and path.is_file():
        with open_csv(path, COLUMNS) as stream:
            splits = read_fer2013(stream, printable(path))
        return add_votes(splits, ferplus, findings) if ferplus else splits
    if ferplus:
        raise InputError("the votes of FER+ go by the order of the challenge's csv; give that as --data")
    if str(source) == SYNTHETIC:
        from emotify.data.synthetic import synthetic_splits

        return dict(synthetic_splits(seed=seed))
    if path.is_dir():
        return read_folder(path, findings, seed=seed)
    problem = "is neither a file nor a folder" if path.exists() else "is not there"
    raise InputError(f"{printable(path)} {problem}. {_ADVICE}")


def _require_classes(splits: Mapping[Split, LabelledImages], source: str | Path) -> None:
    """Refuse what cannot be trained or chosen on, nor scored, and show how many images each class has."""
    counts = {split: images.counts() for split, images in splits.items()} or {Split.TRAIN: np.zeros(len(EMOTIONS), int)}
    for split, numbers in counts.items():
        present = np.count_nonzero(numbers)
        if present < (2 if split == Split.TEST else len(EMOTIONS)):
            table = [f"{split}: {_count_line(numbers)}" for split, numbers in counts.items()]
            problem = f"{split} has images of {present} of the {len(EMOTIONS)} classes"
            raise InputError("\n  ".join([f"{printable(str(source))}: {problem}", *table]))


def _count_line(numbers: Int64Array) -> str:
    return ", ".join(f"{emotion} {number:,}" for emotion, number in zip(EMOTIONS, numbers, strict=True))
