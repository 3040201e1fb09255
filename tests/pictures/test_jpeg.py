"""JPEG files: large ones are decoded at reduced size, and unsupported kinds are named."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from emotify.pictures.jpeg import read_coding
from emotify.pictures.reading import Picture, read_picture
from tests.pictures.making import drawing, encode, failure, read

JPEG = encode(drawing(), "JPEG")
FRAME_HEADER = JPEG.index(b"\xff\xc0")


def with_frame_header(marker: int, bits: int = 8) -> bytes:
    """Return a JPEG file whose frame header has another marker and another number of bits."""
    return (
        JPEG[: FRAME_HEADER + 1]
        + bytes([marker])
        + JPEG[FRAME_HEADER + 2 : FRAME_HEADER + 4]
        + bytes([bits])
        + JPEG[FRAME_HEADER + 5 :]
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (with_frame_header(0xC1, 12), "12-bit JPEG"),
        (with_frame_header(0xC2, 12), "12-bit JPEG"),
        (with_frame_header(0xC3), "lossless JPEG"),
        (with_frame_header(0xC3, 16), "lossless JPEG"),
        (with_frame_header(0xC5), "hierarchical JPEG"),
        (with_frame_header(0xF7), "JPEG-LS"),
        (JPEG[:2] + b"\xff\xe1\x00\x08\xff\xc0\x00\x0b\x08\x00" + with_frame_header(0xC3)[2:], "lossless JPEG"),
    ],
    ids=[
        "12 bits",
        "12 bits, progressive",
        "lossless",
        "lossless of 16 bits",
        "hierarchical",
        "JPEG-LS",
        "lossless, after EXIF data",
    ],
)
def test_the_error_names_an_unsupported_kind_of_jpeg(content, words):
    result = failure(content)
    assert result.status == "unsupported"
    assert words in result.message


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"exif": b"Exif\0\0junk"}])
def test_ordinary_jpeg_files_are_read(options):
    assert read(encode(drawing(), "JPEG", **options)).width == 64


def test_the_search_for_the_coding_of_a_jpeg_file_is_bounded():
    """A file of 100 MB could have 50 million restart markers before its pixels, and a search for the frame is slow."""
    content = encode(drawing(), "JPEG")
    for count, found in ((19_000, True), (20_000, False)):
        assert (read_coding(content[:2] + b"\xff\xd0" * count + content[2:]) is not None) == found


def large_jpeg(width: int, height: int, progressive: bool = False) -> bytes:
    """Return a grey JPEG file that repeats a strip of 64 rows. The whole picture is never in memory."""
    rows = np.tile(np.arange(64, dtype=np.uint8)[:, None] * 4, (1, width))
    strip = encode(Image.fromarray(rows), "JPEG", quality=30, restart_marker_rows=1)
    scan = strip.index(b"\xff\xda")
    start = scan + 2 + int.from_bytes(strip[scan + 2 : scan + 4], "big")
    frame = strip.index(b"\xff\xc0") + 5
    head = bytearray(strip[:start])
    head[frame : frame + 2] = height.to_bytes(2, "big")
    if progressive:
        head[frame - 4] = 0xC2
    intervals = strip[start:-2] + b"\xff\xd7"
    count = -(-height // 64)
    return bytes(head) + (intervals * count)[:-2] + b"\xff\xd9"


@pytest.mark.parametrize(("width", "height"), [(9504, 6336), (12032, 9024), (16320, 12240)], ids=["60", "108", "200"])
def test_jpeg_files_of_60_to_200_megapixels_are_decoded_at_reduced_size(width, height):
    content = large_jpeg(width, height)
    picture = read_picture(content, enough_side=2560)
    assert isinstance(picture, Picture), picture
    assert (picture.width, picture.height) == (width, height)
    assert 2560 <= picture.image.width < 5120
    whole = read(content)
    assert whole.image.width * whole.image.height <= 50_000_000
    assert (
        np.abs(np.asarray(picture.image)[:8, 0].astype(int) - np.arange(8) * 4 * width / picture.image.width).max() < 40
    )


def test_reading_a_200_megapixel_jpeg_takes_less_than_100_mb(tmp_path):
    path = tmp_path / "large.jpg"
    path.write_bytes(large_jpeg(16320, 12240))
    program = """
import re, sys
from pathlib import Path
from emotify.pictures.reading import read_picture
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
read_picture(Path(sys.argv[2]), enough_side=2560)
before = peak()
read_picture(Path(sys.argv[1]), enough_side=2560)
print(peak() - before)
"""
    if sys.platform != "linux":
        pytest.skip("there is no /proc")
    small = tmp_path / "small.jpg"
    small.write_bytes(JPEG)
    command = [sys.executable, "-c", program, str(path), str(small)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(shown.stdout) < 100_000  # kB; the whole grey picture takes 200 MB


def test_progressive_jpeg_files_keep_the_50_megapixel_limit():
    result = failure(large_jpeg(9504, 6336, progressive=True))
    assert result.status == "too_large"
    assert "50 megapixels" in result.message


def test_jpeg_files_above_250_megapixels_are_too_large():
    result = failure(large_jpeg(30000, 20000))
    assert result.status == "too_large"
    assert "250 megapixels" in result.message
