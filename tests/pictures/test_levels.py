"""Pixels are scaled by the range of their values, not by the range that their file format allows."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.pictures.making import chunk, drawing, encode, failure, pixels

GREY = np.asarray(drawing().convert("L")).astype(np.int64)
GREY = (GREY - GREY.min()) * 255 // np.ptp(GREY)
EIGHT_BITS = np.repeat(GREY[..., None], 3, axis=2)


def encode_grey(values: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    return encode(Image.fromarray(values), kind, **options)


def mean_difference(content: bytes, expected: np.ndarray = EIGHT_BITS) -> float:
    """Return the mean absolute difference from the pixels of an 8-bit picture."""
    return float(np.abs(pixels(content) - expected).mean())


@pytest.mark.parametrize("bits", range(9, 17))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_values_of_9_to_16_bits_in_16_look_like_8_bits(bits, kind):
    values = (GREY * (2**bits - 1) // 255).astype(np.uint16)
    values[0, 0] = 2**bits - 1
    assert mean_difference(encode_grey(values, kind)) < 2


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_grey_values_in_the_high_bits_of_16_look_like_8_bits(bits):
    values = (GREY * (2**bits - 1) // 255).astype(np.uint16) << (16 - bits)
    assert mean_difference(encode_grey(values)) < 2


@pytest.mark.parametrize(
    ("low", "high"),
    [(7000, 8500), (29_000, 31_500), (3000, 3400), (0, 40)],
    ids=["counts", "kelvin", "dark", "few levels"],
)
def test_a_narrow_range_of_values_is_stretched(low, high):
    values = (low + GREY * (high - low) // 255).astype(np.uint16)
    assert mean_difference(encode_grey(values)) < 4


def test_dead_and_hot_pixels_do_not_set_the_range():
    values = (7000 + GREY * 1500 // 255).astype(np.uint16)
    values[3, 4], values[5, 6] = 0, 65535
    assert mean_difference(encode_grey(values)) < 4


@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 1), (0, 255), (0, 4095), (0, 65535), (-1, 1), (-40, 120), (20.5, 38), (293, 310), (0.4, 0.45), (0, 0.06)],
)
def test_floating_point_of_any_range_looks_like_8_bits(low, high):
    values = (low + GREY / 255 * (high - low)).astype(np.float32)
    assert mean_difference(encode_grey(values, "TIFF")) < 4


def test_a_dark_8_bit_picture_stored_in_16_bits_stays_dark():
    dark = GREY // 8
    for factor in (256, 257):
        assert (
            mean_difference(encode_grey((dark * factor).astype(np.uint16)), np.repeat(dark[..., None], 3, axis=2)) == 0
        )


@pytest.mark.parametrize("value", [0, 1, 200, 4000, 65535])
def test_pictures_with_one_constant_value_are_read(value):
    assert np.ptp(pixels(encode_grey(np.full((48, 64), value, np.uint16)))) == 0
    assert np.ptp(pixels(encode_grey(np.full((48, 64), value, np.float32), "TIFF"))) == 0


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_16_bit_tiff_files_with_zero_as_white_are_inverted(compression):
    values = (GREY * 257).astype(np.uint16)
    content = encode_grey(values, "TIFF", tiffinfo={262: 0}, compression=compression)
    assert mean_difference(content, 255 - EIGHT_BITS) <= 1


def colour_png(values: np.ndarray) -> bytes:
    """Return a PNG file with 16 bits per channel: grey with alpha, RGB or RGBA."""
    height, width, channels = values.shape
    import zlib

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    )


def colour_tiff(values: np.ndarray, order: str) -> bytes:
    """Return an RGB TIFF file with 16 bits per channel. order: II for little endian, MM for big endian."""
    height, width, _ = values.shape
    data = values.astype({"II": "<u2", "MM": ">u2"}[order]).tobytes()
    mark = {"II": "<", "MM": ">"}[order]
    bits = 8 + 2 + 9 * 12 + 4
    entries = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, bits), (259, 3, 1, 1), (262, 3, 1, 2),
               (273, 4, 1, bits + 6), (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, len(data))]  # fmt: skip
    packed = [
        struct.pack(f"{mark}HHI", tag, kind, count)
        + (struct.pack(f"{mark}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{mark}I", value))
        for tag, kind, count, value in entries
    ]
    head = order.encode() + struct.pack(f"{mark}HIH", 42, 8, len(entries))
    return head + b"".join(packed) + bytes(4) + struct.pack(f"{mark}HHH", 16, 16, 16) + data


COLOUR = np.asarray(drawing()).astype(np.int64)


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 15, 16])
def test_colours_of_9_to_16_bits_in_16_look_like_8_bits(bits):
    values = COLOUR * (2**bits - 1) // 255
    for content in (colour_png(values), colour_tiff(values, "II"), colour_tiff(values, "MM")):
        assert np.abs(pixels(content) - COLOUR).mean() < 2


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("bits", [10, 12])
def test_alpha_of_10_or_12_bits_in_16_does_not_hide_the_picture(channels, bits):
    values = COLOUR if channels == 4 else COLOUR[..., :1]
    values = np.concatenate([values, np.full((48, 64, 1), 255)], axis=2) * (2**bits - 1) // 255
    expected = COLOUR if channels == 4 else COLOUR[..., :1]
    assert np.abs(pixels(colour_png(values)) - expected).mean() < 2


def bmp_with_alpha(alpha: int) -> bytes:
    """Return a 32-bit BMP file with an alpha channel that has the same value everywhere."""
    width, height = drawing().size
    masks = struct.pack("<IIII", 0x00FF0000, 0x0000FF00, 0x000000FF, 0xFF000000)
    info = (
        struct.pack("<IiiHHIIiiII", 124, width, -height, 1, 32, 3, width * height * 4, 0, 0, 0, 0) + masks + bytes(68)
    )
    values = np.concatenate([COLOUR[..., ::-1], np.full((height, width, 1), alpha)], axis=2).astype(np.uint8)
    start = 14 + len(info)
    return struct.pack("<2sIHHI", b"BM", start + values.size, 0, 0, start) + info + values.tobytes()


@pytest.mark.parametrize("alpha", [0, 255])
def test_an_alpha_channel_of_zeros_is_ignored(alpha):
    """Some programs write 24-bit pictures with 32 bits, and leave the alpha channel empty."""
    assert np.array_equal(pixels(bmp_with_alpha(alpha)), COLOUR)
    image = drawing()
    image.putalpha(alpha)
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        assert np.array_equal(pixels(encode(image, kind, **options)), COLOUR), kind
    grey = Image.fromarray(GREY.astype(np.uint8))
    grey.putalpha(alpha)
    assert np.array_equal(pixels(encode(grey)), EIGHT_BITS)


def test_unsupported_pixel_formats_are_not_reported_as_corrupt():
    content = bytearray(colour_tiff(COLOUR, "II"))
    content[content.index(struct.pack("<HHI", 262, 3, 1)) + 8] = 6
    result = failure(bytes(content))
    assert result.status == "unsupported"
    assert "3 x 16 bits" in result.message
