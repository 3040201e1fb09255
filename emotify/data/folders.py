"""Read class folders, `happy/*.jpg`, with or without split folders (`train/`, `test/`) above or below them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from emotify.choices import Split
from emotify.data.class_folders import ClassRules, read_labels
from emotify.data.images import UnreadPicture, read_images
from emotify.data.notes import Findings, first_few
from emotify.data.split_folders import explain_unclear_split, is_plain, split_folders
from emotify.data.splits import hold_out
from emotify.data.types import LabelledImages
from emotify.errors import SHOWN, InputError, list_mistakes
from emotify.files import printable
from emotify.pictures.formats import IMAGE_EXTENSIONS
from emotify.words import amount

ARCHIVES: Final = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".xz", ".bz2", ".zst")


@dataclass
class _Tree:
    """The folders with the pictures of each class in each split."""

    top: Path  # the first folder that holds more than one folder
    classes: list[tuple[Split, Path, Path]] = field(default_factory=list)  # split, class folder, folder of its pictures
    beside: list[Path] = field(default_factory=list)  # folders above the class folders; files there have no class


def read_folder(
    folder: Path, rules: ClassRules, findings: Findings, *, seed: int, scored: Split | None = None
) -> dict[Split, LabelledImages]:
    """Read class folders as 48x48 grey images. Adds warnings and notes to `findings`.

    Without `valid/`, 10 % of each class of train become valid. Class folders without splits count as train.
    Raises InputError with the first five mistakes and their number.
    """
    tree = _find_classes(folder, rules, findings)
    folders = list(dict.fromkeys(path for _, path, _ in tree.classes))
    labels = read_labels(folders, folder, tree.beside, rules, findings)
    _raise_mistakes(folder, findings)
    if not tree.classes:
        raise InputError(f"{printable(folder)} {_describe_no_classes(tree.top)}")
    for path in tree.beside:
        _report_loose_files(path, findings)
    splits = {
        split: _read_split(split, tree, labels, findings)
        for split in Split
        if split in {each for each, *_ in tree.classes}
    }
    _raise_mistakes(folder, findings)
    if Split.TRAIN in splits and Split.VALID not in splits and len(splits[Split.TRAIN]):
        train, valid = hold_out(splits[Split.TRAIN], seed=seed)
        splits |= {Split.TRAIN: train, Split.VALID: valid}
        messages = findings.notes if scored in {None, Split.TEST} else findings.warnings
        messages.append(
            f"valid is missing: {amount(len(valid), 'image')} of train, 10 % of each class, become valid (seed {seed})."
        )
    return {split: splits[split] for split in Split if split in splits}


def holds_classes(folder: Path, rules: ClassRules) -> bool:
    """Return whether a folder has a class folder or a split folder in it."""
    inside = _folders(_unwrap(folder, rules))
    return any(rules.names_class(path.name) for path in inside) or bool(split_folders(path.name for path in inside))


def _raise_mistakes(folder: Path, findings: Findings) -> None:
    if mistakes := findings.mistakes:
        raise InputError(list_mistakes(printable(folder) if len(mistakes) > 1 else "", mistakes))


def _find_classes(folder: Path, rules: ClassRules, findings: Findings) -> _Tree:
    """Find the split folders and class folders. Either kind may be above the other."""
    tree = _Tree(_unwrap(folder, rules))
    inside = _folders(tree.top)
    tree.beside.append(tree.top)
    if splits := split_folders(path.name for path in inside):
        _check_splits(inside, splits, findings)
        for path in inside:
            if path.name in splits:
                _add_split(splits[path.name], path, tree, rules, findings)
        return tree
    below = {path: split_folders(child.name for child in _folders(path)) for path in inside}
    if any(below.values()):
        _add_inverted(below, tree, findings)
        return tree
    for path in inside:
        doubt = None if rules.names_class(path.name) else explain_unclear_split(path.name, beside_splits=False)
        if doubt:
            findings.mistakes.append(f"{printable(path)} {doubt}")
        else:
            tree.classes.append((Split.TRAIN, path, path))
    return tree


def _check_splits(inside: Sequence[Path], splits: dict[str, Split], findings: Findings) -> None:
    """Warn about skipped folders and unusual names of splits. Add unclear and repeated names to the mistakes."""
    first: dict[Split, Path] = {}
    for path in inside:
        if path.name not in splits:
            if doubt := explain_unclear_split(path.name, beside_splits=True):
                findings.mistakes.append(f"{printable(path)} {doubt}")
            else:
                findings.warnings.append(f"skipped {printable(path)}: its name is not train, valid or test.")
        elif (other := first.setdefault(splits[path.name], path)) is not path:
            split = splits[path.name]
            findings.mistakes.append(
                f"{printable(path)} is a second folder for {split}, beside {printable(other.name)}; remove one of them"
            )
    renamed = [f"{printable(path.name)} as {split}" for split, path in first.items() if not is_plain(path.name)]
    if renamed:
        findings.warnings.append(f"folders are read as splits: {', '.join(renamed)}.")


def _add_split(split: Split, path: Path, tree: _Tree, rules: ClassRules, findings: Findings) -> None:
    """Add the class folders in a split folder."""
    top = _unwrap(path, rules, within=split)
    tree.beside.append(top)
    inside = _folders(top)
    if not inside:
        # The test split of a contest has no class folders.
        messages = findings.warnings if split is Split.TEST else findings.mistakes
        messages.append(f"{printable(path)} {_describe_no_classes(top)}")
    for below in inside:
        if other := split_folders([below.name]).get(below.name):
            findings.mistakes.append(f"{printable(below)} is a folder for {other} inside one for {split}; remove one")
            continue
        for deeper in split_folders(child.name for child in _folders(below)):
            findings.mistakes.append(
                f"{printable(below / deeper)} is a split folder inside the one for {split}; remove it"
            )
        tree.classes.append((split, below, below))


def _add_inverted(below: dict[Path, dict[str, Split]], tree: _Tree, findings: Findings) -> None:
    """Add class folders that contain split folders: `happy/train/`, `happy/test/`."""
    for path, splits in below.items():
        if not splits:
            findings.mistakes.append(f"{printable(path)} has no split folders, unlike the folders beside it")
        _check_splits(_folders(path), splits, findings)
        tree.beside.append(path)
        tree.classes += [(split, path, path / name) for name, split in splits.items()]
    findings.warnings.append("split folders inside the class folders are read as the splits.")


def _unwrap(folder: Path, rules: ClassRules, *, within: Split | None = None) -> Path:
    """Skip outer folders that hold only one folder, as in unpacked archives. Stop at the name of a class or split."""
    while len(inside := _folders(folder)) == 1 and _folders(inside[0]):
        name = inside[0].name
        again = within is not None and split_folders([name]).get(name) == within  # train/train/
        if not again and (
            rules.names_class(name) or split_folders([name]) or explain_unclear_split(name, beside_splits=False)
        ):
            break
        folder = inside[0]
    return folder


def _describe_no_classes(folder: Path) -> str:
    """Describe the content of a folder without class folders."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not _is_hidden(path.name)]
    packed = [printable(path.name) for path in files if path.suffix.casefold() in {*ARCHIVES, ".csv"}]
    loose = sum(_is_image(path) for path in files)
    found = [
        *([first_few(packed)] if packed else []),
        *([amount(loose, "image")] if loose else []),
    ]
    content = f"has {' and '.join(found)}, but no class folders" if found else "has no class folders"
    return f"{content}; expected happy/, sad/ and so on, or train/happy/, test/happy/"


def _read_split(split: Split, tree: _Tree, labels: dict[str, int | None], findings: Findings) -> LabelledImages:
    paths, truth = [], []
    others, excluded = [], Counter[str]()
    links = 0
    for each, class_folder, folder in tree.classes:
        if each is not split:
            continue
        label = labels[class_folder.name]
        files, linked = _files(folder)
        links += linked
        for path in files:
            if not _is_image(path):
                others.append(path)
            elif label is None:
                excluded[class_folder.name] += 1
            else:
                paths.append(path)
                truth.append(label)
    images = read_images(paths)
    findings.warnings += [
        f"{split}: excluded {amount(count, 'image')} of {printable(name)} (--exclude-classes)."
        for name, count in excluded.items()
    ]
    if others:
        number = amount(len(others), "file")
        findings.warnings.append(f"{split}: skipped {number} without a picture's extension: {_endings(others)}.")
    if links:
        findings.warnings.append(f"{split}: skipped {amount(links, 'link')} to folders inside the class folders.")
    if images.with_frames:
        number = amount(images.with_frames, "picture")
        findings.warnings.append(f"{split}: {number} with several frames; only the first frame of each is read.")
    _sort_unread(split, images.unread, findings)
    return LabelledImages(images.pixels, np.array(truth, np.int64)[images.read])


def _sort_unread(split: Split, unread: Sequence[UnreadPicture], findings: Findings) -> None:
    """Warn once per message about pictures in unsupported formats. Add all other unread pictures to the mistakes."""
    unsupported = [each for each in unread if each.failure.status == "unsupported"]
    for message, count in Counter(failure.message for _, failure in unsupported).items():
        first = next(path for path, failure in unsupported if failure.message == message)
        findings.warnings.append(f"{split}: skipped {amount(count, 'picture')}, first {printable(first)}: {message}.")
    findings.mistakes += [
        f"{printable(path)}: {failure.message}" for path, failure in unread if failure.status != "unsupported"
    ]


def _endings(paths: Sequence[Path]) -> str:
    """Return the five most frequent extensions with their counts, as text."""
    counts = Counter(path.suffix.casefold() or "no extension" for path in paths).most_common(SHOWN)
    return ", ".join(f"{printable(ending)} {count:,}" for ending, count in counts)


def _report_loose_files(folder: Path, findings: Findings) -> None:
    """Warn about images and archives directly in `folder`, where they have no class."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not _is_hidden(path.name)]
    if loose := sum(_is_image(path) for path in files):
        findings.warnings.append(f"skipped {amount(loose, 'image')} in {printable(folder)}, outside its folders.")
    if packed := [printable(path.name) for path in files if path.suffix.casefold() in ARCHIVES]:
        findings.warnings.append(
            f"skipped {amount(len(packed), 'archive')} in {printable(folder)}: {first_few(packed)}."
        )


def _is_image(path: Path) -> bool:
    return path.suffix.casefold() in IMAGE_EXTENSIONS


def _folders(folder: Path) -> list[Path]:
    """Return the folders, and links to folders, in a folder: sorted, without hidden ones."""
    with os.scandir(folder) as entries:  # knows which entries are folders without a stat of each file
        return sorted(Path(entry.path) for entry in entries if not _is_hidden(entry.name) and _is_folder(entry))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _files(folder: Path) -> tuple[list[Path], int]:
    """Return the files below a folder, sorted, and the number of links to folders, which are not followed.

    Skips hidden files and folders. Follows links to files.
    """
    found, links = [], 0
    for parent, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        links += sum(os.path.islink(os.path.join(parent, name)) for name in folders)  # noqa: PTH114, PTH118 - faster
        found += [Path(parent, name) for name in sorted(files) if not _is_hidden(name)]
    return found, links


def _raise(error: OSError) -> None:
    raise error


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.casefold() in {"__macosx", "thumbs.db", "desktop.ini"}
