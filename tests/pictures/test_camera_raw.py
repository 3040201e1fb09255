"""Camera raw files are reported as unsupported. Their thumbnails are never read as the picture."""

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
    """Return a TIFF file of a drawing.

    first: further entries of its first directory. below: a sub-directory. following: a second directory.
    order: "<" for little endian, ">" for big endian. big: write BigTIFF.
    """
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
    second_place = sub + sum(map(len, others)) if following else 0
    if following:
        others.append(directory(following, 0))
    main = directory([*layout, (258, 3, 8), *first], second_place)
    byte_order = b"II" if order == "<" else b"MM"
    head = byte_order + (struct.pack(f"{order}HHHQ", 43, 8, 0, place) if big else struct.pack(f"{order}HI", 42, place))
    return head + data + main + b"".join(others)


COLOURS = [(262, 3, RGB)]
RAW = {
    "DNG": tiff([*COLOURS, (254, 4, 1), (50706, 1, 1)], below=[(262, 3, LINEAR)]),
    "NEF": tiff([*COLOURS, (254, 4, 1)], below=[(254, 4, 0), (262, 3, SENSOR)]),
    "NEF, big endian": tiff([*COLOURS, (254, 4, 1)], below=[(254, 4, 0), (262, 3, SENSOR)], order=">"),
    "a thumbnail with a sub-directory of unknown content": tiff([*COLOURS, (254, 4, 1)], below=[(254, 4, 0)]),
    "PEF": tiff([(262, 3, SENSOR)]),
    "sensor data in the second directory": tiff(COLOURS, following=[(262, 3, SENSOR)]),
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
    "a reduced picture without a larger one": tiff([*COLOURS, (254, 4, 1)]),
    "a pyramid": tiff([*COLOURS, (254, 4, 0)], below=[*COLOURS, (254, 4, 1)]),
    "two pages": tiff([*COLOURS, (254, 4, 2)], following=[*COLOURS, (254, 4, 2)]),
}


@pytest.mark.parametrize("content", RAW.values(), ids=RAW.keys())
def test_camera_raw_is_recognised_by_its_content(content):
    result = failure(content)
    assert result.status == "unsupported"
    assert result.message.startswith("camera raw")


@pytest.mark.parametrize("content", NOT_RAW.values(), ids=NOT_RAW.keys())
def test_tiff_files_that_are_not_camera_raw_are_read(content):
    assert read(content).image.tobytes() == drawing().tobytes()


def test_a_tiff_directory_that_points_to_itself_does_not_loop():
    content = bytearray(tiff([*COLOURS, (330, 4, 8)]))
    start = int.from_bytes(content[4:8], "little")
    content[content.rindex(struct.pack("<HHII", 330, 4, 1, 8)) + 8 :][:4] = struct.pack("<I", start)
    assert read(bytes(content)).width == 64


def test_camera_raw_files_in_a_folder_have_the_status_unsupported(small_model, tmp_path):
    """Files with a camera raw extension are unsupported, but a JPEG file is read. predict ends with exit 3."""
    contents = {"a.NEF": RAW["NEF"], "b.cr3": RAW["CR3"], "c.arw": tiff(COLOURS), "d.x3f": b"of a new kind" * 9,
                "e.dng": encode(drawing(), "JPEG"), "f.jpg": encode(drawing(), "JPEG")}  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    result = CliRunner().invoke(app, ["predict", str(tmp_path), "--model", str(small_model), "--jsonl"])
    assert result.exit_code == 3, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["status"] for row in rows] == ["unsupported"] * 4 + ["ok"] * 2
    assert all("camera raw" in row["message"] for row in rows[:4])
