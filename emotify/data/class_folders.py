"""Find the label of each class folder by its name: a word, or a number in a class order."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from emotify.data.notes import Findings
from emotify.emotions import (
    CLASS_ORDERS,
    EMOTIONS,
    FER2013,
    class_name,
    class_number,
    describe_order,
    explain_ambiguous_numbers,
    parse_class_order,
    suggest_emotion,
)
from emotify.errors import UsageError
from emotify.files import parse_json, printable

_LIST_NAMES: Final = (
    *("classes", "class_names", "classnames", "labels", "label_names", "emotions", "class_to_idx", "label_map"),
)
_LIST_ENDINGS: Final = (".txt", ".json")
_LARGEST_LIST: Final = 1 << 16  # bytes
_NUMBER_FIRST: Final = re.compile(r"(?P<number>\d{1,2})\s*[:=,;\s]\s*(?P<word>\D.*)")
_NUMBER_LAST: Final = re.compile(r"(?P<word>\D+?)\s*[:=,;\s]\s*(?P<number>\d{1,2})")


@dataclass(frozen=True)
class ClassRules:
    """The user's options about classes. Raises UsageError when `order` is not a class order."""

    order: str = ""  # a name in CLASS_ORDERS, or a list of classes; "": not given
    excluded: str = ""  # names of the classes to exclude, separated by commas

    def __post_init__(self) -> None:
        if self.order:
            try:
                parse_class_order(self.order)
            except ValueError as error:
                msg = f"--class-order: {error}"
                raise UsageError(msg) from error

    @property
    def excluded_names(self) -> tuple[str, ...]:
        """The names of the classes to exclude."""
        return tuple(name.strip() for name in self.excluded.split(",") if name.strip())

    def names_class(self, folder: str) -> bool:
        """Return whether a folder's name is that of a class: a known word, a class number, or an excluded name."""
        known = class_name(folder) is not None or class_number(folder) is not None
        return known or folder.casefold() in map(str.casefold, self.excluded_names)


def read_labels(
    folders: Sequence[Path], top: Path, beside: Iterable[Path], rules: ClassRules, findings: Findings
) -> dict[str, int | None]:
    """Return name -> label (0..6) for each class folder; None for an excluded class.

    top: the folder of the data. It and the folders in `beside` may have a list of the classes. Adds unknown names to
    the mistakes.
    """
    numbers = {number for path in folders if (number := class_number(path.name)) is not None}
    order = _find_order(numbers, top, beside, rules, findings) if numbers else {}
    if rules.order and not numbers:
        findings.warnings.append("--class-order has no effect: no class folder is a number.")
    labels: dict[str, int | None] = {}
    unused = list(rules.excluded_names)
    for path in folders:
        number = class_number(path.name)
        meaning = class_name(path.name) if number is None else order.get(number)
        excluding = [word for word in rules.excluded_names if _matches(word, path.name, meaning)]
        if excluding:
            labels[path.name] = None
            unused = [word for word in unused if word not in excluding]
        elif meaning in EMOTIONS:
            labels[path.name] = EMOTIONS.index(meaning)
        elif number is None or order:  # without an order, one mistake covers all numbers
            findings.mistakes.append(f"{printable(path)} {_explain(path.name, meaning)}")
    findings.warnings += [
        f"--exclude-classes {printable(word)} has no effect: the data has no such class." for word in unused
    ]
    return labels


def _matches(word: str, folder: str, meaning: str | None) -> bool:
    return word.casefold() == folder.casefold() or (meaning is not None and class_name(word) == meaning)


def _explain(name: str, meaning: str | None) -> str:
    is_number = class_number(name) is not None
    if is_number and meaning is None:
        return "is a number that the class order does not have"
    what = f"is {meaning}, which is not one" if is_number else "is not one"
    nearest = None if meaning else suggest_emotion(name)
    advice = f"did you mean {nearest}? Otherwise exclude" if nearest else "exclude"
    option = f"--exclude-classes {printable(meaning or name)}"
    return f"{what} of the classes {', '.join(EMOTIONS)}; {advice} it with {option}"


def _find_order(
    numbers: Collection[int], top: Path, beside: Iterable[Path], rules: ClassRules, findings: Findings
) -> Mapping[int, str]:
    """Return the class of each number, and warn about it. Add a mistake and return {} when the order is unclear."""
    lists = [path for folder in dict.fromkeys([top, *beside]) for path in _lists_in(folder)]
    understood = [(path, order) for path in lists if (order := _read_list(path, numbers)) is not None]
    aside = "; use --class-order for another order"
    if rules.order:
        source, order, aside = f"the order of --class-order {rules.order}", parse_class_order(rules.order), ""
    elif understood:
        path, order = understood[0]
        if any(other != order for _, other in understood):
            findings.mistakes.append(
                f"{printable(path)} and {printable(understood[-1][0])} give the classes different numbers; choose an "
                "order with --class-order"
            )
            return {}
        source = f"the order of {printable(path)}"
    elif doubt := explain_ambiguous_numbers(numbers):
        findings.mistakes.append(f"{printable(top)}: its class folders have {doubt}")
        return {}
    else:
        source, order = "FER-2013's order", CLASS_ORDERS[FER2013]
        if (named := _order_in_name(top)) is not None:
            aside = f"; the name of the data suggests --class-order {named}"
        if lists:
            source += f", because {printable(lists[0])} is not a readable list of classes"
    known = [number for number in numbers if number in order]
    findings.warnings.append(f"class folders with numbers are read in {source}: {describe_order(order, known)}{aside}.")
    return order


def _order_in_name(folder: Path) -> str | None:
    """Return the class order of the data set in a folder's name, or None. FER-2013's order does not count."""
    name = re.sub(r"[\W_]", "", folder.absolute().name.casefold().replace("+", "plus"))
    return next((order for order in CLASS_ORDERS if order in name and order != FER2013), None)


def _lists_in(folder: Path) -> list[Path]:
    names = [f"{name}{ending}" for name in _LIST_NAMES for ending in _LIST_ENDINGS]
    return [path for path in sorted(folder.iterdir()) if path.name.casefold() in names and path.is_file()]


def _read_list(path: Path, numbers: Collection[int]) -> Mapping[int, str] | None:
    """Return number -> class of a list file, or None when it is not a list of known classes.

    A list without numbers counts from 0. It counts from 1 when `numbers` are exactly 1 to its length.
    """
    with path.open("rb") as file:
        content = file.read(_LARGEST_LIST + 1)
    if len(content) > _LARGEST_LIST:
        return None
    items = _items(content.decode("utf-8-sig", "replace"))
    first = 1 if set(numbers) == set(range(1, len(items) + 1)) else 0
    order = {place if number is None else number: class_name(word) for place, (number, word) in enumerate(items, first)}
    counted = {number is None for number, _ in items}
    if len(order) < len(items) or len(counted) != 1:
        return None
    known = {number: meaning for number, meaning in order.items() if meaning is not None}
    return known if len(known) == len(items) else None


def _items(text: str) -> list[tuple[int | None, str]]:
    """Return (number, word) of each line or JSON item of a list. The number is None when the list has none."""
    try:
        document = parse_json(text)
    except ValueError:
        return [_item(line.strip()) for line in text.splitlines() if line.strip()]
    if isinstance(document, list):
        return [(None, str(word)) for word in document]
    if isinstance(document, dict):
        return [_item(f"{key}:{value}") for key, value in document.items()]
    return []


def _item(line: str) -> tuple[int | None, str]:
    match = _NUMBER_FIRST.fullmatch(line) or _NUMBER_LAST.fullmatch(line)
    return (int(match["number"]), match["word"]) if match else (None, line)
