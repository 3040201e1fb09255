"""Random changes of files: of bytes, and of the structure of a format."""

from __future__ import annotations

import contextlib
import copy
import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from onnx import ModelProto

Mutate = Callable[[bytes, Random, Sequence[bytes]], bytes]  # content, random generator, other seeds -> content

LARGEST = 1 << 20  # bytes; the maximum size of an input
_SIZES = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0xFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 63)
_NUMBERS = (b"0", b"-1", b"1e999", b"nan", b"65536", b"4294967296", b"9" * 25, b"9" * 6000, b"0x10", "٣".encode())
_TEXTS = (b"\0", b"\n", b"\r\n", b",", b'"', b"\xef\xbb\xbf", b"\xff\xfe", b"\x80", b"../", b"/", b"[", b"{", b" ")
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 0.5, 1e308, -1e308, float("nan"), float("inf")),
    *(
        "",
        "x",
        "\0",
        "\ud800",
        "../..",
        "/dev/null",
        "x" * 5000,
        "1",
        "auto",
        [],
        {},
        [[]],
        [None],
        {"": {}},
        [1] * 1000,
    ),
)


def change_bytes(content: bytes, chance: Random, others: Sequence[bytes]) -> bytes:
    """Change the content at one to eight positions."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        _change_once(changed, chance, others)
    return bytes(changed[:LARGEST])


def _change_once(content: bytearray, chance: Random, others: Sequence[bytes]) -> None:
    place, length = chance.randrange(len(content) + 1), chance.choice((1, 2, 4, 16, 100, 1000))
    match chance.randrange(9):
        case 0:
            content[place : place + 1] = bytes([chance.randrange(256)])
        case 1 | 2:
            size, order = chance.choice((1, 2, 4, 8)), chance.choice(("<", ">"))
            number = (chance.choice(_SIZES) + chance.choice((-1, 0, 0, 1))) % (1 << 8 * size)
            content[place : place + size] = struct.pack(order + {1: "B", 2: "H", 4: "I", 8: "Q"}[size], number)
        case 3:
            del content[place : place + length]
        case 4:
            content[place:place] = chance.randbytes(length)
        case 5:
            content[place:place] = chance.choice((*_NUMBERS, *_TEXTS))
        case 6:
            stretch = bytes(content[place : place + length])
            content[place:place] = stretch * chance.choice((1, 1, 1, 10, 1000 if len(content) < LARGEST // 8 else 1))
        case 7:
            other = chance.choice(others)
            start = chance.randrange(len(other) + 1)
            content[place:] = other[start:]
        case _:
            del content[place:]


def change_picture(content: bytes, chance: Random, others: Sequence[bytes]) -> bytes:
    """Change the start of a file more often than the rest, and mostly correct the checksums of a PNG file."""
    head = chance.choice((64, 512, len(content)))
    content = change_bytes(content[:head], chance, others) + content[head:]
    return _with_checksums(content) if chance.random() < 0.8 else content


def _with_checksums(png: bytes) -> bytes:
    """Correct the checksum of each complete PNG chunk."""
    if not png.startswith(b"\x89PNG\r\n\x1a\n"):
        return png
    right, place = bytearray(png), 8
    while place + 12 <= len(png):
        end = place + 8 + int.from_bytes(png[place : place + 4], "big")
        if end + 4 > len(png):
            break
        right[end : end + 4] = zlib.crc32(png[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    return bytes(right)


def change_archive(content: bytes, chance: Random, others: Sequence[bytes]) -> bytes:
    """Change the bytes of an archive, or change its members and pack them again."""
    if chance.random() < 0.5:
        return change_bytes(content, chance, others)
    try:
        if content.startswith(b"PK"):
            return _change_zip(content, chance, others)
        if content.startswith(b"\x1f\x8b"):
            inner = gzip.GzipFile(fileobj=io.BytesIO(content)).read(LARGEST)
            return gzip.compress(_change_tar(inner, chance, others), 1)
    except Exception:  # noqa: BLE001 - an archive changed before can be damaged in any way
        return change_bytes(content, chance, others)
    return _change_tar(content, chance, others)


def _change_zip(content: bytes, chance: Random, others: Sequence[bytes]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info.filename, archive.open(info).read(LARGEST)) for info in archive.infolist()[:5]]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, inner in members:
            changed = change_bytes(inner, chance, others) if chance.random() < 0.5 else inner
            archive.writestr(f"{chance.choice(('', '', '../', '/', '.', 'a/'))}{name}", changed)
    return buffer.getvalue()


def _change_tar(content: bytes, chance: Random, others: Sequence[bytes]) -> bytes:
    """Change a tar archive, mostly in its headers, and correct the checksums of these headers."""
    blocks = [place for place in range(0, len(content), 512) if content[place + 257 : place + 262] == b"ustar"]
    if not blocks or chance.random() < 0.3:
        return change_bytes(content, chance, others)
    changed, place = bytearray(content), chance.choice(blocks)
    block = bytearray(change_bytes(content[place : place + 512], chance, others)[:512].ljust(512, b"\0"))
    if chance.random() < 0.5:
        block[156:157] = chance.choice((b"0", b"1", b"2", b"3", b"5", b"6", b"L", b"K", b"x", b"g", b"S", b"\0"))
    block[257:262] = b"ustar"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    changed[place : place + 512] = block
    return bytes(changed)


def change_json(content: bytes, chance: Random, others: Sequence[bytes]) -> bytes:
    """Change values, keys and members of a JSON document, and sometimes its text."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return change_bytes(content, chance, others)
    if chance.random() < 0.2:
        return change_bytes(content, chance, others)
    for _ in range(chance.choice((1, 1, 2, 4))):
        document = _change_document(document, chance)
    return json.dumps(document).encode()


def _change_document(document: Any, chance: Random) -> Any:
    holders = list(_holders(document))
    if not holders or chance.random() < 0.01:
        return copy.deepcopy(chance.choice(_VALUES))
    holder = chance.choice(holders)
    key = chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    match chance.randrange(6):
        case 0:
            del holder[key]
        case 1:
            holder[key] = [holder[key]]
        case 2:
            holder[key] = _near(holder[key], chance)
        case 3 if isinstance(holder, dict):
            holder[chance.choice(("", "x", "schema", "path", "\0", str(key).upper()))] = holder[key]
        case _:
            holder[key] = copy.deepcopy(chance.choice(_VALUES))
    return document


def _near(value: Any, chance: Random) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return chance.choice((value + 1, -value, value * 1000, str(value), 0))
    return chance.choice((f"{value}x", [value, value], str(value)[:-1]))


def _holders(document: Any) -> list[Any]:
    """Return all non-empty objects and lists of a document."""
    found, left = [], [document]
    while left:
        one = left.pop()
        if isinstance(one, dict | list) and one:
            found.append(one)
            left += one.values() if isinstance(one, dict) else one
    return found


def change_lines(content: bytes, chance: Random, others: Sequence[bytes]) -> bytes:
    """Change one JSON document of a JSON lines file, or its bytes."""
    lines = content.splitlines(keepends=True)
    if not lines or chance.random() < 0.3:
        return change_bytes(content, chance, others)
    place = chance.randrange(len(lines))
    lines[place] = change_json(lines[place], chance, others) + chance.choice((b"\n", b"\n", b"", b"\r\n"))
    return b"".join(lines)


def change_model(content: bytes, chance: Random, others: Sequence[bytes]) -> bytes:
    """Change names, types, shapes, attributes or nodes of an .onnx file at any depth, and sometimes its bytes."""
    model = ModelProto()
    try:
        model.ParseFromString(content)
    except Exception:  # noqa: BLE001 - protobuf raises several types
        return change_bytes(content, chance, others)
    if chance.random() < 0.2:
        return change_bytes(content, chance, others)
    for _ in range(chance.choice((1, 1, 2, 4))):
        _change_message(model, chance)
    return bytes(model.SerializeToString())


def _change_message(message: Any, chance: Random) -> None:
    """Choose a field at random, at any depth, and change it."""
    fields = message.ListFields()
    if not fields:
        return
    descriptor, value = chance.choice(fields)
    if hasattr(value, "add"):  # a repeated message field
        place = chance.randrange(len(value))
        match chance.randrange(8):
            case 0:
                del value[place]
            case 1:
                value.add().CopyFrom(value[place])
            case 2:
                value[place].CopyFrom(value[chance.randrange(len(value))])
            case _:
                _change_message(value[place], chance)
    elif hasattr(value, "append"):  # a repeated scalar field
        place = chance.randrange(len(value))
        with contextlib.suppress(ValueError):  # outside the range of the field's type
            value[place] = _other(value[place], chance)
    elif hasattr(value, "ListFields"):
        _change_message(value, chance)
    else:
        with contextlib.suppress(ValueError):
            setattr(message, descriptor.name, _other(value, chance))


_NAMES = ("", "images", "pixels", "logits", "weights", "probabilities", "labels", "x" * 300, "\0", "N", "default")
_OPERATORS = (
    "Reshape",
    "Expand",
    "Tile",
    "Conv",
    "MatMul",
    "Cast",
    "Softmax",
    "Loop",
    "If",
    "Range",
    "Resize",
    "Gather",
)


def _other(value: Any, chance: Random) -> Any:
    if isinstance(value, bytes):
        return change_bytes(value, chance, [value])[:LARGEST]
    if isinstance(value, str):
        if chance.random() < 0.3:
            return change_json(value.encode("utf-8", "replace"), chance, [b"{}"]).decode("utf-8", "replace")
        return chance.choice((*_NAMES, *_OPERATORS))
    if isinstance(value, float):
        return chance.choice((0.0, -1.0, 1e30, float("nan"), float("inf")))
    return chance.choice((0, 1, 2, 7, 11, 48, 2304, 65536, 2**31 - 1, -1, value ^ 1))
