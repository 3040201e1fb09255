"""Pictures that could keep a decoder busy for minutes: files with very many parts, or with very many scans."""

from __future__ import annotations

import io
import json
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emotify.pictures.bounds import MOST_FRAMES
from emotify.pictures.reading import Failure, read_picture
from tests.faults import command

PIXELS = np.add.outer(np.arange(48), np.arange(48)).astype(np.uint8)


def encode(kind: str, pixels: np.ndarray = PIXELS, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(*, before: bytes = b"", after: bytes = b"") -> bytes:
    plain = encode("PNG")
    return plain[:33] + before + plain[33:-12] + after + plain[-12:]


def tiff(pages: int = 1, *more: tuple[int, int, int, int], after_pixels: bytes = b"") -> bytes:
    """Return a TIFF file whose directories (pages) share their pixels.

    more: further entries of each directory (tag, type, count, value); after_pixels: bytes after the pixels.
    """
    pixels = PIXELS.tobytes()
    entries = [(256, 3, 1, 48), (257, 3, 1, 48), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1)]
    strips = [(273, 4, 1, 8), (278, 3, 1, 48), (279, 4, 1, len(pixels))]
    own = {tag for tag, *_ in more}
    entries = sorted([*entries, *(entry for entry in strips if entry[0] not in own), *more])
    content = bytearray(b"II*\0" + struct.pack("<I", 8 + len(pixels) + len(after_pixels)) + pixels + after_pixels)
    for page in range(pages):
        content += struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
        content += struct.pack("<I", 0 if page == pages - 1 else len(content) + 4)
    return bytes(content)


def jpeg_with_scans(number: int, side: int = 40) -> bytes:
    """Return a progressive JPEG file that repeats its last scan."""
    content = encode("JPEG", np.kron(PIXELS, np.ones((side, side), np.uint8)), progressive=True)
    last = content.rfind(b"\xff\xc4", 0, content.rfind(b"\xff\xda"))
    return content[:-2] + content[last:-2] * number + b"\xff\xd9"


JPEG, GIF = encode("JPEG"), encode("GIF")
FRAME = b"\x2c" + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0\x02\0"
GIF_START = 13 + 3 * 2 ** ((GIF[10] & 7) + 1)
# The pixels of these files are read.
READ = {
    "1,000,000 empty chunks before the pixels": png(before=chunk(b"teSt") * 1_000_000),
    "1,000,000 empty chunks after the pixels": png(after=chunk(b"teSt") * 1_000_000),
    "1,000,000 empty pixel chunks": png(after=chunk(b"IDAT") * 1_000_000),
    "1 MiB of text": png(before=chunk(b"tEXt", b"k\0" + b"x" * 2**20)),
    "a TIFF file of 20,000 pages": tiff(20_000),
    "a GIF file of 5,000,000 frames": GIF[:-1] + FRAME * 5_000_000 + b";",
    "a JPEG file of 5,000 scans": jpeg_with_scans(5000),
    "a colour profile of 60 MB": JPEG[:2]
    + (b"\xff\xe2" + struct.pack(">H", 60_016) + b"ICC_PROFILE\0\1\1" + bytes(60_000)) * 1000
    + JPEG[2:],
    "3,000,000 empty chunks of WebP": (lambda body: b"RIFF" + struct.pack("<I", len(body)) + body)(
        b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"\x2f\0\0" * 2
        + encode("WEBP", lossless=True)[12:] + (b"junk" + bytes(4)) * 3_000_000
    ),
}  # fmt: skip
# These files are refused as corrupt.
REFUSED = {
    "a TIFF file of 4,000,000 strips": tiff(
        1, (273, 4, 4_000_000, 8 + 48 * 48), (278, 3, 1, 1), (279, 4, 4_000_000, 8 + 48 * 48),
        after_pixels=struct.pack("<I", 8) * 4_000_000,
    ),
    "5,000,000 empty segments in JPEG": JPEG[:2] + b"\xff\xe1\0\2" * 5_000_000 + JPEG[2:],
    "5,000,000 comments in JPEG": JPEG[:2] + b"\xff\xfe\0\2" * 5_000_000 + JPEG[2:],
    "30 MB between two segments of JPEG": JPEG[:2] + b"\xff" * 30_000_000 + JPEG[2:],
    "200,000 tables in JPEG": JPEG[:2] + JPEG[JPEG.index(b"\xff\xdb") : JPEG.index(b"\xff\xc0")] * 200_000 + JPEG[2:],
    "a PPM header of 10 MB of comments": b"P5\n" + b"#\n" * 5_000_000 + b"48 48\n255\n" + PIXELS.tobytes(),
    "a PPM header with one comment of 10 MB": b"P5\n#" + b"x" * 10_000_000 + b"\n48 48\n255\n" + PIXELS.tobytes(),
    "a PPM header of 10 MB of spaces": b"P5 " + b" " * 10_000_000 + b"48 48\n255\n" + PIXELS.tobytes(),
    "5,000,000 comments between the pixels of PPM": b"P2\n48 48\n255\n" + b"#\n" * 5_000_000 + b"1 " * 2304,
    "5,000,000 comments in GIF": GIF[:GIF_START] + b"\x21\xfe\x01x\0" * 5_000_000 + GIF[GIF_START:],
    "30 MB between two blocks of GIF": GIF[:GIF_START] + b"\0" * 30_000_000 + GIF[GIF_START:],
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def load_decoders() -> None:
    """Load the decoders of all formats, so that no test measures the time that loading takes."""
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "PPM", "WEBP"):
        assert not isinstance(read_picture(encode(kind)), Failure)


def read_with_time(content: bytes) -> tuple[object, float]:
    """Return the result and the CPU time in seconds."""
    start = time.process_time()
    return read_picture(content), time.process_time() - start


@pytest.mark.parametrize("content", READ.values(), ids=READ.keys())
def test_pictures_with_very_many_parts_are_read_quickly(content):
    """Reading takes less than 1 s of CPU time."""
    result, seconds = read_with_time(content)
    assert not isinstance(result, Failure), result
    assert seconds < 1


@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED.keys())
def test_very_many_parts_before_the_pixels_are_refused_quickly(content):
    result, seconds = read_with_time(content)
    assert isinstance(result, Failure)
    assert result.status == "corrupt"
    assert "more than" in result.message
    assert seconds < 1


def test_skipped_scans_are_noted_and_frames_are_counted():
    """Skipping the last scans changes pixels by at most 2. Frames are counted up to MOST_FRAMES."""
    result = read_picture(jpeg_with_scans(5000))
    assert not isinstance(result, Failure)
    assert result.note == "only the first 47 scans of its pixels were read"
    plain = read_picture(jpeg_with_scans(0))
    assert not isinstance(plain, Failure)
    assert np.abs(np.asarray(result.image).astype(int) - np.asarray(plain.image)).max() <= 2
    frames = {"a TIFF file of 20,000 pages": 20_000, "a GIF file of 5,000,000 frames": MOST_FRAMES}
    for name, count in frames.items():
        picture = read_picture(READ[name])
        assert not isinstance(picture, Failure)
        assert picture.frames == count


@pytest.mark.parametrize(
    ("kind", "options", "frames"),
    [
        ("GIF", {"save_all": True, "append_images": [Image.fromarray(PIXELS.T.copy() + 9)] * 1}, 2),
        ("TIFF", {"save_all": True, "append_images": [Image.fromarray(PIXELS)] * 4}, 5),
        ("TIFF", {"save_all": True, "append_images": [Image.fromarray(PIXELS)] * 4, "big_tiff": True}, 5),
        ("GIF", {}, 1),
        ("TIFF", {"compression": "tiff_lzw"}, 1),
        ("JPEG", {"progressive": True, "comment": b"hello", "quality": 95}, 1),
    ],
)
def test_ordinary_files_are_read_completely(kind, options, frames):
    """The number of frames and the pixels are those that Pillow gives. There is no note."""
    content = encode(kind, **options)
    result = read_picture(content)
    assert not isinstance(result, Failure)
    assert (result.frames, result.note) == (frames, "")
    with Image.open(io.BytesIO(content)) as image:
        assert getattr(image, "n_frames", 1) == frames
        assert np.array_equal(np.asarray(image.convert("L")), np.asarray(result.image.convert("L")))


def test_a_folder_of_pictures_with_very_many_parts_takes_seconds(tmp_path):
    """predict prints one row per picture, in less than 20 s."""
    for number, content in enumerate([*READ.values(), *REFUSED.values()]):
        (Path(tmp_path) / f"{number}.png").write_bytes(content)
    finished = command("predict", tmp_path, "--faces", "whole", "--jsonl", "-q")
    statuses = [json.loads(line)["status"] for line in finished.stdout.splitlines()]
    assert sorted(statuses) == ["corrupt"] * len(REFUSED) + ["ok"] * len(READ)
    assert finished.seconds < 20
