"""Draw test pictures, encode them as files, and read them."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from emotify.pictures.reading import Failure, Picture, read_picture


def drawing(width: int = 64, height: int = 48) -> Image.Image:
    """Return an RGB picture that no flip or rotation leaves unchanged."""
    rows, columns = np.mgrid[0:height, 0:width]
    return Image.fromarray(
        np.stack([columns * 255 // width, rows * 255 // height, 200 * (columns > rows)], axis=-1).astype(np.uint8)
    )


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return a picture as a file of a format that Pillow writes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    """Return a PNG chunk with its length and its checksum."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def with_chunks(png: bytes, *chunks: bytes, after: bool = False) -> bytes:
    """Return a PNG file with more chunks, before its pixels or after them."""
    place = png.index(b"IEND" if after else b"IDAT") - 4
    return png[:place] + b"".join(chunks) + png[place:]


def read(content: bytes | Path) -> Picture:
    """Return a picture that must be readable."""
    picture = read_picture(content)
    assert isinstance(picture, Picture), picture
    return picture


def pixels(content: bytes | Path) -> np.ndarray:
    """Return the RGB pixels (H, W, 3) of a picture that must be readable, as int."""
    return np.asarray(read(content).image.convert("RGB")).astype(int)


def failure(content: bytes | Path | io.BytesIO | np.ndarray) -> Failure:
    """Return the failure of a picture that must be unreadable. Its message must be one line."""
    result = read_picture(content)
    assert isinstance(result, Failure), result
    assert result.message
    assert "\n" not in result.message
    return result
