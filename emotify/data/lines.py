"""Read rows of a foreign csv file. Lines have a limited length, several encodings work, errors name the line."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from emotify.errors import SHOWN, InputError, list_mistakes
from emotify.files import printable

MAX_LINE = 1 << 16  # bytes; the line of an image has at most 9,300
_HEAD = 4096  # bytes; a header is shorter
_MOST_BAD = 100_000  # lines; a packed file of a few kB can have millions, FER-2013 has 35,887
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

Row = TypeVar("Row")


def parse_rows(
    stream: io.BufferedReader, name: str, columns: Sequence[str], parse: Callable[[list[bytes]], Row]
) -> Iterator[Row]:
    """Yield `parse(fields)` of each row. The fields have the order of `columns`; header names ignore case.

    Skips a row for which `parse` raises ValueError. After the last row, one InputError reports the number of such
    rows and the first five. It stops at 100,000 such rows. `name` is the name of the file in errors.
    """
    lines = _read_lines(stream, name)
    header = _read_header(lines)
    missing = [column for column in columns if column.casefold() not in header]
    if missing:
        raise InputError(f"{name}: line 1: no column {', '.join(missing)}; {_describe_header(header)}")
    places = [header.index(column.casefold()) for column in columns]
    bad: list[str] = []
    bad_count = 0
    for number, line in lines:
        try:
            fields = _split(line, columns=len(header))
            row = parse([fields[place] for place in places])
        except ValueError as error:
            bad_count += 1
            if len(bad) < SHOWN:
                bad.append(f"line {number}: {error}")
            if bad_count == _MOST_BAD:
                raise InputError(list_mistakes(name, bad, count=bad_count, noun="bad lines or more")) from None
        else:
            yield row
    if bad:
        raise InputError(list_mistakes(name, bad, count=bad_count, noun="bad lines"))


def has_columns(stream: io.BufferedReader, name: str, columns: Sequence[str]) -> bool:
    """Return whether a stream begins with a header that has these columns."""
    try:
        header = _read_header(_read_lines(stream, name))
    except InputError:
        return False
    return {column.casefold() for column in columns} <= set(header)


def quote(field: bytes) -> str:
    """Return the first 20 characters of a field, quoted and escaped, for an error message."""
    text = field.decode("utf-8", "backslashreplace")
    return f"'{printable(text[:20])}{'...' if len(text) > 20 else ''}'"


def _read_lines(stream: io.BufferedReader, name: str) -> Iterator[tuple[int, bytes]]:
    """Yield (number, line) of each non-blank line, without the byte order mark. UTF-16 becomes UTF-8."""
    end = "\r" if _ends_in_returns(stream) else "\n"
    if stream.peek(2)[:2] in _UTF16:
        text = io.TextIOWrapper(stream, "utf-16", newline=end)
        lines = iter(lambda: text.readline(MAX_LINE).encode(), b"")
    elif end == "\r":
        text = io.TextIOWrapper(stream, "latin-1", newline=end)  # one character per byte, for any encoding
        lines = iter(lambda: text.readline(MAX_LINE).encode("latin-1"), b"")
    else:
        lines = iter(lambda: stream.readline(MAX_LINE), b"")
    number = 0
    try:
        for number, line in enumerate(lines, 1):
            if len(line) >= MAX_LINE:
                raise InputError(f"{name}: line {number}: longer than {MAX_LINE:,} bytes, too long for an image")
            if not line.isspace():
                yield number, line.removeprefix(codecs.BOM_UTF8)
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: line {number + 1}, or soon after it: not valid UTF-16, {error.reason}") from error


def _ends_in_returns(stream: io.BufferedReader) -> bool:
    """Return whether lines end with CR only, as in files of old Macs."""
    head = stream.peek(_HEAD)[:_HEAD].replace(b"\0", b"")  # UTF-16 has a zero byte in each ASCII character
    return b"\r" in head and b"\n" not in head


def _read_header(lines: Iterator[tuple[int, bytes]]) -> list[str]:
    """Return the column names in lower case, without the spaces that some of FER-2013's files have before them."""
    _, line = next(lines, (1, b""))
    return [field.decode("utf-8", "replace").casefold() for field in _split(line)]


def _describe_header(header: list[str]) -> str:
    """Describe a header that lacks columns."""
    if any(not field.isprintable() or "\ufffd" in field for field in header if "\t" not in field):
        return "it is not a text file, so not a csv"
    for sign, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and sign in header[0]:
            return f"its columns are separated by {name}; save it with commas"
    return f"the columns are: {printable(', '.join(header))[:200] or 'none'}"


def _split(line: bytes, *, columns: int | None = None) -> list[bytes]:
    """Return the fields of a line, without quotes and surrounding white space.

    Raises ValueError when the number of fields is not `columns`.
    """
    fields = line.split(b",")
    if b'"' in line:
        text = line.decode("latin-1").replace("\r", " ")  # csv would end the line at a CR
        fields = [field.encode("latin-1") for field in next(csv.reader([text], skipinitialspace=True))]
    if columns not in {None, len(fields)}:
        raise ValueError(f"{len(fields)} columns, expected {columns}")
    return [field.strip() for field in fields]
