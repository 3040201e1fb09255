"""Pixels that are sound are read, whatever else a file holds, and in whatever state that is."""

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
SEEN = np.asarray(drawing()).astype(int)
MEGABYTES = 5_000_000


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


def wrong(name: bytes, content: bytes) -> bytes:
    """Return a chunk with a checksum that is not its own."""
    return chunk(name, content)[:-4] + b"\1\2\3\4"


EXTRA_CHUNKS = {
    "five megabytes of text": chunk(b"tEXt", b"Comment\0" + b"x" * MEGABYTES),
    "five megabytes of compressed text": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(MEGABYTES))),
    "fifty megabytes of compressed text": chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(50_000_000))),
    "a text that grows, where the orientation would be": chunk(
        b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(MEGABYTES))
    ),
    "a profile that grows": chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(MEGABYTES))),
    "text with a wrong checksum": wrong(b"tEXt", b"Comment\0hello"),
    "profile with a wrong checksum": wrong(b"iCCP", b"profile\0\0" + zlib.compress(PROFILE)),
    "resolution with a wrong checksum": wrong(b"pHYs", bytes(9)),
    "too short a gamma": chunk(b"gAMA", b"\0"),
    "a text in an unknown compression": chunk(b"zTXt", b"Comment\0\x07abc"),
    "broken EXIF data": chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff"),
    "an animation without frames": chunk(b"acTL", b"\0"),
    "a frame outside the picture": chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", bytes(4) + b"\xff" * 22),
    "a suggested palette with a wrong checksum": wrong(b"PLTE", bytes(9)),
}


@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("extra", EXTRA_CHUNKS.values(), ids=EXTRA_CHUNKS.keys())
def test_chunks_beside_the_pixels_of_a_png_are_no_damage(extra, behind):
    start = time.perf_counter()
    assert np.array_equal(pixels(with_chunks(PNG, extra, behind=behind)), SEEN)
    assert time.perf_counter() - start < 1


def test_a_million_empty_chunks_cost_a_second_at_most():
    for name in (b"teXt", b"tEXt", b"IDAT"):
        start = time.process_time()
        assert np.array_equal(pixels(with_chunks(PNG, chunk(name, b"") * 1_000_000)), SEEN)
        assert time.process_time() - start < 2, name


def test_a_png_cut_behind_its_pixels_is_read_with_a_note():
    content = with_chunks(PNG, chunk(b"tEXt", b"Comment\0" + b"x" * 1000), behind=True)
    cut = content[:-500]
    assert np.array_equal(pixels(cut), SEEN)
    assert "skipped" in read(cut).note
    assert failure(PNG[:-30]).status == "truncated"


@pytest.mark.parametrize("name", [b"IHDR", b"IDAT"])
def test_a_wrong_checksum_of_the_pixels_is_damage(name):
    place = PNG.index(name) + 4 + int.from_bytes(PNG[PNG.index(name) - 4 : PNG.index(name)], "big")
    assert failure(PNG[:place] + b"\1\2\3\4" + PNG[place + 4 :]).status == "corrupt"


def test_a_wrong_checksum_of_the_palette_is_damage_only_where_colours_come_from_it():
    content = bytearray(encode(drawing().quantize(16)))
    content[content.index(b"PLTE") + 5] ^= 1
    assert failure(bytes(content)).status == "corrupt"


def test_orientation_and_transparency_survive_beside_broken_text():
    lying = drawing().transpose(Image.Transpose.ROTATE_90)
    turned = Image.Exif()
    turned[0x0112] = 6
    content = with_chunks(encode(lying, exif=turned), wrong(b"tEXt", b"Comment\0hello"))
    assert read(content).image.size == (64, 48)
    halves = Image.new("L", (64, 48), 255)
    halves.paste(9, (32, 0, 64, 48))
    content = with_chunks(encode(halves, transparency=255), chunk(b"zTXt", b"a\0\x07"))
    assert np.unique(pixels(content)).tolist() == [9, 128]


def segments(content: bytes) -> list[range]:
    """Return where the metadata segments of a JPEG file have their content."""
    found, place = [], 2
    while content[place + 1] != 0xDA:
        length = int.from_bytes(content[place + 2 : place + 4], "big")
        if 0xE0 <= content[place + 1] <= 0xEF or content[place + 1] == 0xFE:
            found.append(range(place + 4, place + 2 + length))
        place += 2 + length
    return found


def png_chunks(content: bytes) -> list[range]:
    found, place = [], 8
    while place < len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        if content[place + 4 : place + 8] not in {b"IHDR", b"IDAT", b"IEND"}:
            found.append(range(place + 8, place + 12 + length))
        place += 12 + length
    return found


def webp_chunks(content: bytes) -> list[range]:
    starts = [content.index(name) + 8 for name in (b"ICCP", b"EXIF", b"XMP ")]
    return [range(start, start + int.from_bytes(content[start - 4 : start], "little")) for start in starts]


def tiff_entries(content: bytes) -> list[range]:
    """Return all of the entries but their tags, and what they point to."""
    directory = int.from_bytes(content[4:8], "little")
    found = []
    for index in range(int.from_bytes(content[directory : directory + 2], "little")):
        place = directory + 2 + 12 * index
        tag, _, count, value = struct.unpack_from("<HHII", content, place)
        if tag in {270, 33432, 34675, 34665}:
            found += [range(place + 2, place + 12), *([range(value, value + count)] if count > 8 else [])]
    return found


def avif_items(content: bytes) -> list[range]:
    data = max(content.find(mark) for mark in (b"II*\0", b"MM\0*"))
    starts = [content.index(XMP[:20]), content.index(PROFILE[:64]), data]
    return [range(start, start + 60) for start in starts]


WITH_METADATA: dict[str, tuple[Callable[[], bytes], Callable[[bytes], list[range]]]] = {
    "PNG": (png_with_everything, png_chunks),
    "JPEG": (
        lambda: encode(drawing(), "JPEG", exif=exif(), icc_profile=PROFILE, xmp=XMP, comment=b"c" * 100),
        segments,
    ),
    "MPO": (lambda: encode(drawing(), "MPO", save_all=True, append_images=[drawing()], exif=exif()), segments),
    "WEBP": (lambda: encode(drawing(), "WEBP", exif=exif(), icc_profile=PROFILE, xmp=XMP), webp_chunks),
    "TIFF": (lambda: encode(drawing(), "TIFF", exif=exif(), icc_profile=PROFILE), tiff_entries),
    "compressed TIFF": (
        lambda: encode(drawing(), "TIFF", exif=exif(), icc_profile=PROFILE, compression="tiff_lzw"),
        tiff_entries,
    ),
}
if features.check("avif"):
    WITH_METADATA["AVIF"] = (lambda: encode(drawing(), "AVIF", exif=exif(), icc_profile=PROFILE, xmp=XMP), avif_items)


@pytest.mark.parametrize(("make", "places"), WITH_METADATA.values(), ids=WITH_METADATA.keys())
def test_mutated_metadata_never_cost_the_picture(make, places):
    chance = random.Random(22)
    content = make()
    whole = read(content)
    for _ in range(ROUNDS):
        changed = bytearray(content)
        for _ in range(chance.choice((1, 1, 2, 8, 40))):
            changed[chance.choice(chance.choice(places(content)))] = chance.choice((0, 255, chance.randrange(256)))
        picture = read_picture(bytes(changed))
        assert isinstance(picture, Picture), picture
        if picture.image.size == whole.image.size:  # the orientation may have been hit
            assert sorted(picture.image.tobytes()) == sorted(whole.image.tobytes())


def test_a_webp_whose_exif_data_are_cut_is_read():
    content = encode(drawing(), "WEBP", exif=exif())
    picture = read(content[:-20])
    assert "skipped" in picture.note
    assert picture.image.tobytes() == read(content).image.tobytes()
    assert failure(encode(drawing(), "WEBP")[:-20]).status == "truncated"


def test_megabytes_of_comments_in_other_formats_are_no_damage():
    gif = encode(drawing(), "GIF", comment=b"c" * 1_000_000)
    jpeg = encode(drawing(), "JPEG")
    jpeg = jpeg[:2] + (b"\xff\xfe\xff\xff" + b"c" * 65533) * 40 + jpeg[2:]
    for content in (gif, jpeg):
        assert np.abs(pixels(content) - SEEN).mean() < 25


def test_what_a_stream_holds_behind_the_picture_is_no_damage():
    assert np.array_equal(pixels(PNG + b"\0" * 1000), SEEN)
    assert np.array_equal(pixels(io.BytesIO(PNG + b"trailing").getvalue()), SEEN)
