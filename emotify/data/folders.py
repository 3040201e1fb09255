"""Folders of classes, `happy/*.jpg`, with or without `train/`, `test/` and `valid/` above them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Final

import numpy as np

from emotify.choices import Split
from emotify.data.images import SUFFIXES, read_images
from emotify.data.notes import amount
from emotify.data.splits import hold_out
from emotify.data.types import LabelledImages
from emotify.emotions import EMOTIONS, emotion_index, suggest_emotion
from emotify.errors import InputError
from emotify.files import printable

_SPLITS: Final = {
    **dict.fromkeys(("train", "training"), Split.TRAIN),
    **dict.fromkeys(("valid", "val", "validation", "publictest"), Split.VALID),
    **dict.fromkeys(("test", "testing", "privatetest"), Split.TEST),
}


def read_folder(folder: Path, *, seed: int) -> tuple[dict[Split, LabelledImages], list[str]]:
    """Read folders of images as 48x48 grey, and what the user should know of it.

    `train/` without `valid/`, and a folder of classes that is not split at all, give a tenth of each class to valid.
    """
    while len(inside := _folders(folder)) == 1 and not _has_meaning(inside[0]) and _folders(inside[0]):
        folder = inside[0]  # an archive's own folder, around what it holds
    if any(path.name.casefold() in _SPLITS for path in inside):
        splits, notes = _read_splits(inside)
        notes += _tell_loose(folder)
    else:
        images, notes = _read_classes(folder)
        splits = {Split.TRAIN: images}
    if Split.TRAIN in splits and Split.VALID not in splits and len(splits[Split.TRAIN]):
        train, valid = hold_out(splits[Split.TRAIN], seed=seed)
        splits |= {Split.TRAIN: train, Split.VALID: valid}
        notes.append(f"train gave {amount(len(valid), 'image')}, a tenth of each class, to valid (seed {seed}).")
    return {split: splits[split] for split in Split if split in splits}, notes


def _read_splits(folders: list[Path]) -> tuple[dict[Split, LabelledImages], list[str]]:
    splits: dict[Split, LabelledImages] = {}
    notes = []
    for folder in folders:
        split = _SPLITS.get(folder.name.casefold())
        if split is None:
            if nearest := get_close_matches(folder.name.casefold(), _SPLITS, n=1):
                raise InputError(f"{printable(folder)} is none of train, valid and test; did you mean {nearest[0]}?")
            notes.append(f"{printable(folder)} was not read: it is none of train, valid and test.")
            continue
        if split in splits:
            raise InputError(f"{printable(folder)} is a second folder for {split}; put them together")
        splits[split], new_notes = _read_classes(folder)
        notes += new_notes
    return splits, notes


def _read_classes(folder: Path) -> tuple[LabelledImages, list[str]]:
    paths = []
    labels = []
    skipped = 0
    for class_folder in _folders(folder):
        label = _label(class_folder)
        for path in _files(class_folder):
            if _is_image(path):
                paths.append(path)
                labels.append(label)
            else:
                skipped += 1
    notes = []
    if skipped:
        notes.append(f"{printable(folder)} has {amount(skipped, 'file')} in no format that is read here.")
    return LabelledImages(read_images(paths), np.array(labels, np.int64)), notes + _tell_loose(folder)


def _tell_loose(folder: Path) -> list[str]:
    """Say how many images lie beside the folders in `folder`, where they have no class."""
    loose = sum(_is_image(path) and path.is_file() and not _is_hidden(path.name) for path in folder.iterdir())
    return [f"{printable(folder)} has {amount(loose, 'image')} outside the folders in it, not read."] if loose else []


def _is_image(path: Path) -> bool:
    return path.suffix.casefold() in SUFFIXES


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
    return name.startswith(".") or name == "__MACOSX"
