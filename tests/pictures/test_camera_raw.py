"""Camera raw is unsupported, and said to be: its thumbnail is never taken for the picture."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence

import pytest
from typer.testing import CliRunner

from emotify.cli import app
from tests.pictures.making import drawing, encode, failure, read

SENSOR, LINEAR, RGB = 32803, 34892, 2
Entries = Sequence[tuple[int, int, int]]  # tag, type, value


def tiff(first: Entries, below: Entries = (), following: Entries = (), order: str = "<", big: bool = False) -> bytes:
    """Return a TIFF of a drawing whose directory has more entries, and more directories below and behind it."""
    data = drawing().tobytes()
    pointer, counter = ("Q", "Q") if big else ("I", "H")
    base = 16 if big else 8
    place = base + len(data)
    layout = [(256, 3, 64), (257, 3, 48), (259, 3, 1), (273, 4, base), (277, 3, 3), (278, 3, 48), (279, 4, len(data))]

    def directory(entries: Entries, following: int) -> bytes:
        packed = [
            struct.pack(f"{order}HH{pointer}", tag, kind, 1)
            + struct.pack(f"{order}{'H' if kind == 3 else 'I'}", value).ljust(8 if big else 4, b"\0")
            for tag, kind, value in sorted(entries)
        ]
        return (
            struct.pack(f"{order}{counter}", len(packed))
            + b"".join(packed)
            + struct.pack(f"{order}{pointer}", following)
        )

    others = []
    size = len(directory([*layout, (258, 3, 8), *first, *([(330, 4, 0)] if below else [])], 0))
    sub = place + size
    if below:
        others.append(directory(below, 0))
        first = [*first, (330, 4, sub)]
    behind = sub + sum(map(len, others)) if following else 0
    if following:
        others.append(directory(following, 0))
    main = directory([*layout, (258, 3, 8), *first], behind)
    mark = b"II" if order == "<" else b"MM"
    head = mark + (struct.pack(f"{order}HHHQ", 43, 8, 0, place) if big else struct.pack(f"{order}HI", 42, place))
    return head + data + main + b"".join(others)


COLOURS = [(262, 3, RGB)]
RAW = {
    "DNG": tiff([*COLOURS, (254, 4, 1), (50706, 1, 1)], below=[(262, 3, LINEAR)]),
    "NEF": tiff([*COLOURS, (254, 4, 1)], below=[(254, 4, 0), (262, 3, SENSOR)]),
    "NEF, big endian": tiff([*COLOURS, (254, 4, 1)], below=[(254, 4, 0), (262, 3, SENSOR)], order=">"),
    "a thumbnail and something else below": tiff([*COLOURS, (254, 4, 1)], below=[(254, 4, 0)]),
    "PEF": tiff([(262, 3, SENSOR)]),
    "the sensor in the second directory": tiff(COLOURS, following=[(262, 3, SENSOR)]),
    "BigTIFF": tiff([*COLOURS, (254, 4, 1)], below=[(262, 3, SENSOR)], big=True),
    "CR2": b"II*\0\x10\0\0\0CR\x02\0" + bytes(100),
    "CR3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(100),
    "ORF": b"IIRO" + tiff(COLOURS)[4:],
    "RW2": b"IIU\0" + tiff(COLOURS)[4:],
    "RAF": b"FUJIFILMCCD-RAW 0201FF389501" + encode(drawing(), "JPEG"),
    "X3F": b"FOVb" + bytes(100),
    "CRW": b"II\x1a\0\0\0HEAPCCDR" + bytes(100),
}
NOT_RAW = {
    "TIFF": tiff(COLOURS),
    "big endian": tiff(COLOURS, order=">"),
    "reduced, but alone": tiff([*COLOURS, (254, 4, 1)]),
    "a pyramid": tiff([*COLOURS, (254, 4, 0)], below=[*COLOURS, (254, 4, 1)]),
    "two pages": tiff([*COLOURS, (254, 4, 2)], following=[*COLOURS, (254, 4, 2)]),
}


@pytest.mark.parametrize("content", RAW.values(), ids=RAW.keys())
def test_camera_raw_is_told_by_its_content(content):
    result = failure(content)
    assert result.status == "unsupported"
    assert result.message.startswith("camera raw")


@pytest.mark.parametrize("content", NOT_RAW.values(), ids=NOT_RAW.keys())
def test_other_tiff_files_are_read(content):
    assert read(content).image.tobytes() == drawing().tobytes()


def test_a_directory_that_leads_back_to_itself_ends():
    content = bytearray(tiff([*COLOURS, (330, 4, 8)]))
    start = int.from_bytes(content[4:8], "little")
    content[content.rindex(struct.pack("<HHII", 330, 4, 1, 8)) + 8 :][:4] = struct.pack("<I", start)
    assert read(bytes(content)).width == 64


def test_a_walk_gives_camera_raw_its_rows(small_model, tmp_path):
    """By name, whatever is inside; a thumbnail in a file named as camera raw is no picture, a JPEG is one."""
    contents = {"a.NEF": RAW["NEF"], "b.cr3": RAW["CR3"], "c.arw": tiff(COLOURS), "d.x3f": b"of a new kind" * 9,
                "e.dng": encode(drawing(), "JPEG"), "f.jpg": encode(drawing(), "JPEG")}  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    result = CliRunner().invoke(app, ["predict", str(tmp_path), "--model", str(small_model), "--jsonl"])
    assert result.exit_code == 3, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["status"] for row in rows] == ["unsupported"] * 4 + ["ok"] * 2
    assert all("camera raw" in row["message"] for row in rows[:4])
