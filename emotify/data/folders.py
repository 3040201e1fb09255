"""Folders of classes, `happy/*.jpg`, with or without `train/`, `test/` and `valid/` above them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Final

import numpy as np

from emotify.choices import Split
from emotify.data.images import Unread, read_images
from emotify.data.notes import Findings, amount
from emotify.data.splits import hold_out
from emotify.data.types import LabelledImages
from emotify.emotions import EMOTIONS, emotion_index, suggest_emotion
from emotify.errors import SHOWN, InputError, list_mistakes
from emotify.files import printable
from emotify.pictures.finding import IMAGE_EXTENSIONS

_SPLITS: Final = {
    **dict.fromkeys(("train", "training"), Split.TRAIN),
    **dict.fromkeys(("valid", "val", "validation", "publictest"), Split.VALID),
    **dict.fromkeys(("test", "testing", "privatetest"), Split.TEST),
}


def read_folder(folder: Path, findings: Findings, *, seed: int) -> dict[Split, LabelledImages]:
    """Read folders of images as 48x48 grey; what the user should know of it is added to `findings`.

    `train/` without `valid/`, and a folder of classes that is not split at all, give a tenth of each class to valid.
    """
    while len(inside := _folders(folder)) == 1 and not _has_meaning(inside[0]) and _folders(inside[0]):
        folder = inside[0]  # an archive's own folder, around what it holds
    if any(path.name.casefold() in _SPLITS for path in inside):
        splits = _read_splits(inside, findings)
        _tell_loose(folder, findings)
    else:
        splits = {Split.TRAIN: _read_classes(folder, findings)}
    if findings.mistakes:
        raise InputError(list_mistakes(printable(folder) if len(findings.mistakes) > 1 else "", findings.mistakes))
    if Split.TRAIN in splits and Split.VALID not in splits and len(splits[Split.TRAIN]):
        train, valid = hold_out(splits[Split.TRAIN], seed=seed)
        splits |= {Split.TRAIN: train, Split.VALID: valid}
        findings.notes.append(
            f"train gave {amount(len(valid), 'image')}, a tenth of each class, to valid (seed {seed})."
        )
    return {split: splits[split] for split in Split if split in splits}


def _read_splits(folders: list[Path], findings: Findings) -> dict[Split, LabelledImages]:
    splits: dict[Split, LabelledImages] = {}
    for folder in folders:
        split = _SPLITS.get(folder.name.casefold())
        if split is None:
            if nearest := get_close_matches(folder.name.casefold(), _SPLITS, n=1):
                raise InputError(f"{printable(folder)} is none of train, valid and test; did you mean {nearest[0]}?")
            findings.warnings.append(f"{printable(folder)} was not read: it is none of train, valid and test.")
            continue
        if split in splits:
            raise InputError(f"{printable(folder)} is a second folder for {split}; put them together")
        splits[split] = _read_classes(folder, findings)
    return splits


def _read_classes(folder: Path, findings: Findings) -> LabelledImages:
    paths = []
    labels = []
    others = []
    for class_folder in _folders(folder):
        label = _label(class_folder)
        for path in _files(class_folder):
            if _is_image(path):
                paths.append(path)
                labels.append(label)
            else:
                others.append(path)
    if others:
        count = amount(len(others), "file")
        findings.warnings.append(
            f"{printable(folder)} has {count} without a picture's name, not read: {_endings(others)}."
        )
    _tell_loose(folder, findings)
    images, read, unread = read_images(paths)
    findings.mistakes += [
        f"{printable(path)}: {failure.message}" for path, failure in unread if failure.status != "unsupported"
    ]
    _tell_unsupported(folder, [each for each in unread if each.failure.status == "unsupported"], findings)
    return LabelledImages(images, np.array(labels, np.int64)[read])


def _tell_unsupported(folder: Path, unread: Sequence[Unread], findings: Findings) -> None:
    """Count the pictures in formats that are not read, by what is to be done about them."""
    for message, count in Counter(failure.message for _, failure in unread).items():
        first = next(path for path, failure in unread if failure.message == message)
        findings.warnings.append(
            f"{printable(folder)} has {amount(count, 'picture')} left out, {printable(first)} first: {message}."
        )


def _endings(paths: Sequence[Path]) -> str:
    """Return how often each ending is there, the most frequent first."""
    counts = Counter(path.suffix.casefold() or "no ending" for path in paths).most_common(SHOWN)
    return ", ".join(f"{printable(ending)} {count:,}" for ending, count in counts)


def _tell_loose(folder: Path, findings: Findings) -> None:
    """Say how many images lie beside the folders in `folder`, where they have no class."""
    loose = sum(_is_image(path) and path.is_file() and not _is_hidden(path.name) for path in folder.iterdir())
    if loose:
        findings.warnings.append(
            f"{printable(folder)} has {amount(loose, 'image')} outside the folders in it, not read."
        )


def _is_image(path: Path) -> bool:
    return path.suffix.casefold() in IMAGE_EXTENSIONS


def _has_meaning(folder: Path) -> bool:
    return folder.name.casefold() in _SPLITS or emotion_index(folder.name) is not None


def _label(folder: Path) -> int:
    label = emotion_index(folder.name)
    if label is not None:
        return label
    nearest = suggest_emotion(folder.name)
    advice = f"did you mean {nearest}?" if nearest else "move it away, or rename it"
    raise InputError(f"{printable(folder)} is none of the classes {', '.join(EMOTIONS)}; {advice}")


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not _is_hidden(path.name))


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and the folders in it, sorted, without the hidden ones."""
    for parent, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        yield from (Path(parent, name) for name in sorted(files) if not _is_hidden(name))


def _raise(error: OSError) -> None:
    raise error


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.casefold() in {"__macosx", "thumbs.db", "desktop.ini"}
