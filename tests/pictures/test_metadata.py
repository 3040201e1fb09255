"""Undamaged pixels are read even if the file also has large or damaged metadata."""

from __future__ import annotations

import io
import random
import struct
import time
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, features
from PIL.PngImagePlugin import PngInfo

from emotify.pictures.reading import Picture, read_picture
from tests.pictures.making import chunk, drawing, encode, failure, pixels, read, with_chunks

ROUNDS = 150  # mutations of each format
PROFILE = bytes(range(256)) * 8
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + b"z" * 300 + b"</x:xmpmeta>"
PNG = encode(drawing())
PIXELS = np.asarray(drawing()).astype(int)
FIVE_MEGABYTES = 5_000_000


def exif() -> Image.Exif:
    data = Image.Exif()
    data[0x010E], data[0x8298] = "a description of this picture" * 4, "me"
    data.get_ifd(0x8769)[0x829A] = 0.5
    return data


def png_with_everything() -> bytes:
    texts = PngInfo()
    texts.add_text("Comment", "hello" * 60)
    texts.add_text("Long", "hello" * 600, zip=True)
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
    return encode(drawing(), exif=exif(), icc_profile=PROFILE, pnginfo=texts, dpi=(72, 72))


def with_wrong_checksum(name: bytes, content: bytes) -> bytes:
    """Return a PNG chunk with a wrong checksum."""
    return chunk(name, content)[:-4] + b"\1\2\3\4"


EXTRA_CHUNKS = {
    "five megabytes of text": chunk(b"tEXt", b"Comment\0" + b"x" * FIVE_MEGABYTES),
    "five megabytes of compressed text": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(FIVE_MEGABYTES))),
    "fifty megabytes of compressed text": chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(50_000_000))),
    "five megabytes of compressed XMP, which may have the orientation": chunk(
        b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(FIVE_MEGABYTES))
    ),
    "five megabytes of compressed profile": chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(FIVE_MEGABYTES))),
    "text with a wrong checksum": with_wrong_checksum(b"tEXt", b"Comment\0hello"),
    "profile with a wrong checksum": with_wrong_checksum(b"iCCP", b"profile\0\0" + zlib.compress(PROFILE)),
    "resolution with a wrong checksum": with_wrong_checksum(b"pHYs", bytes(9)),
    "a gamma chunk that is too short": chunk(b"gAMA", b"\0"),
    "a text with an unknown compression": chunk(b"zTXt", b"Comment\0\x07abc"),
    "broken EXIF data": chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff"),
    "an animation without frames": chunk(b"acTL", b"\0"),
    "a frame outside the picture": chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", bytes(4) + b"\xff" * 22),
    "a suggested palette with a wrong checksum": with_wrong_checksum(b"PLTE", bytes(9)),
}


@pytest.mark.parametrize("after", [False, True], ids=["before the pixels", "after the pixels"])
@pytest.mark.parametrize("extra", EXTRA_CHUNKS.values(), ids=EXTRA_CHUNKS.keys())
def test_a_png_with_large_or_damaged_metadata_chunks_is_read_quickly(extra, after):
    start = time.perf_counter()
    assert np.array_equal(pixels(with_chunks(PNG, extra, after=after)), PIXELS)
    assert time.perf_counter() - start < 1


def test_a_png_with_a_million_empty_chunks_is_read_quickly():
    for name in (b"teXt", b"tEXt", b"IDAT"):
        start = time.process_time()
        assert np.array_equal(pixels(with_chunks(PNG, chunk(name, b"") * 1_000_000)), PIXELS)
        assert time.process_time() - start < 2, name


def test_a_png_truncated_after_its_pixels_is_read_with_a_note():
    content = with_chunks(PNG, chunk(b"tEXt", b"Comment\0" + b"x" * 1000), after=True)
    cut = content[:-500]
    assert np.array_equal(pixels(cut), PIXELS)
    assert "skipped" in read(cut).note
    assert failure(PNG[:-30]).status == "truncated"


@pytest.mark.parametrize("name", [b"IHDR", b"IDAT"])
def test_a_wrong_checksum_of_the_header_or_pixels_is_corrupt(name):
    place = PNG.index(name) + 4 + int.from_bytes(PNG[PNG.index(name) - 4 : PNG.index(name)], "big")
    assert failure(PNG[:place] + b"\1\2\3\4" + PNG[place + 4 :]).status == "corrupt"


def test_a_wrong_checksum_of_a_used_palette_is_corrupt():
    content = bytearray(encode(drawing().quantize(16)))
    content[content.index(b"PLTE") + 5] ^= 1
    assert failure(bytes(content)).status == "corrupt"


def test_orientation_and_transparency_are_read_despite_damaged_text():
    rotated = drawing().transpose(Image.Transpose.ROTATE_90)
    turned = Image.Exif()
    turned[0x0112] = 6
    content = with_chunks(encode(rotated, exif=turned), with_wrong_checksum(b"tEXt", b"Comment\0hello"))
    assert read(content).image.size == (64, 48)
    halves = Image.new("L", (64, 48), 255)
    halves.paste(9, (32, 0, 64, 48))
    content = with_chunks(encode(halves, transparency=255), chunk(b"zTXt", b"a\0\x07"))
    assert np.unique(pixels(content)).tolist() == [9, 128]


def jpeg_metadata(content: bytes) -> list[range]:
    """Return the ranges of bytes in a JPEG file that are the content of metadata segments."""
    found, place = [], 2
    while content[place + 1] != 0xDA:
        length = int.from_bytes(content[place + 2 : place + 4], "big")
        if 0xE0 <= content[place + 1] <= 0xEF or content[place + 1] == 0xFE:
            found.append(range(place + 4, place + 2 + length))
        place += 2 + length
    return found


def png_metadata(content: bytes) -> list[range]:
    """Return the ranges of bytes in a PNG file that are metadata chunks without their names."""
    found, place = [], 8
    while place < len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        if content[place + 4 : place + 8] not in {b"IHDR", b"IDAT", b"IEND"}:
            found.append(range(place + 8, place + 12 + length))
        place += 12 + length
    return found


def webp_metadata(content: bytes) -> list[range]:
    """Return the ranges of bytes in a WebP file that are the content of metadata chunks."""
    starts = [content.index(name) + 8 for name in (b"ICCP", b"EXIF", b"XMP ")]
    return [range(start, start + int.from_bytes(content[start - 4 : start], "little")) for start in starts]


def tiff_metadata(content: bytes) -> list[range]:
    """Return the ranges of bytes that are metadata entries without their tags, and the values that they point to."""
    directory = int.from_bytes(content[4:8], "little")
    found = []
    for index in range(int.from_bytes(content[directory : directory + 2], "little")):
        place = directory + 2 + 12 * index
        tag, _, count, value = struct.unpack_from("<HHII", content, place)
        if tag in {270, 33432, 34675, 34665}:
            found += [range(place + 2, place + 12), *([range(value, value + count)] if count > 8 else [])]
    return found


def avif_metadata(content: bytes) -> list[range]:
    """Return the first 60 bytes of XMP, profile and EXIF data in an AVIF file, as ranges."""
    data = max(content.find(mark) for mark in (b"II*\0", b"MM\0*"))
    starts = [content.index(XMP[:20]), content.index(PROFILE[:64]), data]
    return [range(start, start + 60) for start in starts]


WITH_METADATA: dict[str, tuple[Callable[[], bytes], Callable[[bytes], list[range]]]] = {
    "PNG": (png_with_everything, png_metadata),
    "JPEG": (
        lambda: encode(drawing(), "JPEG", exif=exif(), icc_profile=PROFILE, xmp=XMP, comment=b"c" * 100),
        jpeg_metadata,
    ),
    "MPO": (lambda: encode(drawing(), "MPO", save_all=True, append_images=[drawing()], exif=exif()), jpeg_metadata),
    "WEBP": (lambda: encode(drawing(), "WEBP", exif=exif(), icc_profile=PROFILE, xmp=XMP), webp_metadata),
    "TIFF": (lambda: encode(drawing(), "TIFF", exif=exif(), icc_profile=PROFILE), tiff_metadata),
    "compressed TIFF": (
        lambda: encode(drawing(), "TIFF", exif=exif(), icc_profile=PROFILE, compression="tiff_lzw"),
        tiff_metadata,
    ),
}
if features.check("avif"):
    WITH_METADATA["AVIF"] = (
        lambda: encode(drawing(), "AVIF", exif=exif(), icc_profile=PROFILE, xmp=XMP),
        avif_metadata,
    )


@pytest.mark.parametrize(("make", "find_metadata"), WITH_METADATA.values(), ids=WITH_METADATA.keys())
def test_pictures_with_mutated_metadata_are_read(make, find_metadata):
    rng = random.Random(22)
    content = make()
    original = read(content)
    for _ in range(ROUNDS):
        changed = bytearray(content)
        for _ in range(rng.choice((1, 1, 2, 8, 40))):
            changed[rng.choice(rng.choice(find_metadata(content)))] = rng.choice((0, 255, rng.randrange(256)))
        picture = read_picture(bytes(changed))
        assert isinstance(picture, Picture), picture
        if picture.image.size == original.image.size:  # a mutation may change the orientation
            assert sorted(picture.image.tobytes()) == sorted(original.image.tobytes())


def test_a_webp_with_truncated_exif_data_is_read():
    content = encode(drawing(), "WEBP", exif=exif())
    picture = read(content[:-20])
    assert "skipped" in picture.note
    assert picture.image.tobytes() == read(content).image.tobytes()
    assert failure(encode(drawing(), "WEBP")[:-20]).status == "truncated"


def test_gif_and_jpeg_files_with_megabytes_of_comments_are_read():
    gif = encode(drawing(), "GIF", comment=b"c" * 1_000_000)
    jpeg = encode(drawing(), "JPEG")
    jpeg = jpeg[:2] + (b"\xff\xfe\xff\xff" + b"c" * 65533) * 40 + jpeg[2:]
    for content in (gif, jpeg):
        assert np.abs(pixels(content) - PIXELS).mean() < 25


def test_bytes_after_a_picture_are_ignored():
    assert np.array_equal(pixels(PNG + b"\0" * 1000), PIXELS)
    assert np.array_equal(pixels(io.BytesIO(PNG + b"trailing").getvalue()), PIXELS)
