"""Reading one picture: an upright picture, or a failure with a status and a message."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import os
import random
import resource
import socket
import struct
import sys
import tarfile
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features
from typer.testing import CliRunner

from emotify.cli import app
from emotify.detection.detector import Search
from emotify.pictures import decoding
from emotify.pictures.reading import MAX_BYTES, Failure, Picture, read_picture
from tests.faults import command, printed_by_nobody
from tests.pictures.making import chunk, drawing, encode, failure, pixels, read

FUZZ_ROUNDS = int(os.environ.get("EMOTIFY_FUZZ", "2000"))  # mutations of each format
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", *(["AVIF"] if features.check("avif") else [])]


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """Return a black 1-bit PNG file. From 200 million pixels on, its pixel data are empty."""
    rows = zlib.compress(bytes(height * (1 + (width + 7) // 8))) if width * height < 200_000_000 else b""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    body = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def tar_archive(name: str) -> bytes:
    """Return a tar archive of one file of 64 zero bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = 64
        archive.addfile(member, io.BytesIO(bytes(64)))
    return buffer.getvalue()


PNG, JPEG, BMP, WEBP = (encode(drawing(), kind) for kind in ("PNG", "JPEG", "BMP", "WEBP"))
UNREADABLE = {
    "empty": (b"", "empty", ""),
    "text": (b"dear diary, " * 20, "not_an_image", "check"),
    "text like a bitmap": (b"BMW makes cars and motorcycles too", "not_an_image", ""),
    "web page": (b"\n<!DOCTYPE html><html><body>404</body>", "not_an_image", "HTML"),
    "web page with SVG": (b"<!doctype html><html><body><SVG></svg>", "not_an_image", "HTML"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "not_an_image", "git lfs pull"),
    "gzip": (gzip.compress(PNG), "not_an_image", "unpack"),
    "truncated png": (PNG[: len(PNG) // 2], "truncated", ""),
    "truncated jpeg": (JPEG[: len(JPEG) // 2], "truncated", ""),
    "jpeg header": (JPEG[:20], "truncated", ""),
    "wrong checksum": (PNG[: PNG.index(b"IEND") - 8] + b"abcd" + PNG[PNG.index(b"IEND") - 4 :], "corrupt", "checksum"),
    "header of 60000": (png(60000, 60000), "too_large", "smaller"),
    "100 megapixels": (png(10000, 10000), "too_large", "50 megapixels"),
    "1x1": (encode(drawing(1, 1)), "too_small", "1x1"),
    "8x8": (encode(drawing(8, 8)), "too_small", "8x8"),
    "1x5000": (encode(drawing(1, 5000)), "bad_aspect", "1x5000"),
    "5000x1": (encode(drawing(5000, 1)), "bad_aspect", "5000x1"),
    "no width": (png(0, 48), "corrupt", ""),
    "no height": (BMP.replace(struct.pack("<ii", 64, 48), struct.pack("<ii", 64, 0)), "corrupt", ""),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n", "unsupported", "PNG or JPEG"),
    "svg": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported", "PNG or JPEG"),
    "svg with a web page": (b"<svg><foreignObject><html></html></foreignObject></svg>", "unsupported", "PNG or JPEG"),
    "pdf": (b"%PDF-1.7\n", "unsupported", "PNG or JPEG"),
    "psd": (b"8BPS\0\1" + bytes(50), "unsupported", "PNG or JPEG"),
    "ico": (b"\0\0\1\0\1\0" + bytes(50), "unsupported", "PNG or JPEG"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4" + bytes(50), "not_an_image", "7z archive; unpack"),
    "xz": (lzma.compress(PNG), "not_an_image", "xz archive; unpack"),
    "bzip2": (bz2.compress(PNG), "not_an_image", "bzip2 archive; unpack"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(50), "not_an_image", "Zstandard archive; unpack"),
    "rar": (b"Rar!\x1a\x07\x01\0" + bytes(50), "not_an_image", "RAR archive; unpack"),
    "tar": (tar_archive("a.png"), "not_an_image", "tar archive; unpack"),
    "git-annex": (b"../../.git/annex/objects/x/y/SHA256E-s1--0.jpg", "not_an_image", "git annex get"),
    "git-annex, unlocked file": (b"/annex/objects/SHA256E-s1--0.jpg\n", "not_an_image", "git annex get"),
    "a link as text": (b"../originals/face.jpg", "not_an_image", "link"),
    "json": (b'{"error": {"code": 403}}', "not_an_image", "JSON"),
    "xml": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "not_an_image", "XML"),
    "base64": (base64.b64encode(PNG), "not_an_image", "base64"),
    "base64 of jpeg": (b"data:image/jpeg;base64," + base64.b64encode(JPEG), "not_an_image", "base64"),
    "numpy": (b"\x93NUMPY\1\0v\0{" + bytes(50), "not_an_image", "NumPy"),
    "zeros": (bytes(5000), "not_an_image", "zero bytes"),
    "AppleDouble": (b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(50), "not_an_image", "macOS"),
    "shortcut": (b"L\0\0\0\1\x14\2\0" + bytes(50), "not_an_image", "shortcut"),
    "iPhone png": (PNG[:8] + chunk(b"CgBI", bytes(4)) + PNG[8:], "unsupported", "CgBI"),
    "CIE Lab": (encode(Image.new("LAB", (64, 48)), "TIFF"), "unsupported", "CIE Lab are not read"),
    "dicom": (bytes(128) + b"DICM" + bytes(50), "unsupported", "DICOM"),
    "exr": (b"v/1\x01" + bytes(50), "unsupported", "OpenEXR"),
    "nothing on standard input": (io.BytesIO(), "empty", ""),
}  # fmt: skip


@pytest.mark.parametrize(("content", "status", "words"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_unreadable_content_has_a_status_and_advice(content, status, words):
    result = failure(content)
    assert result.status == status
    assert words in result.message


def test_a_picture_at_the_limits_of_size_and_aspect_ratio_is_read():
    """A side of 16 pixels is enough, and one side may be 20 times the other."""
    for width, height in ((16, 16), (16, 320), (320, 16)):
        assert isinstance(read_picture(encode(drawing(width, height))), Picture)
    assert [failure(encode(drawing(*size))).status for size in ((15, 16), (16, 321))] == ["too_small", "bad_aspect"]


@pytest.mark.parametrize("shape", [(0, 48), (48, 0)])
def test_an_array_without_pixels_is_corrupt(shape):
    """A file without width or height has the same status."""
    result = failure(np.zeros(shape, np.uint8))
    assert result.status == "corrupt"
    assert f"{shape[1]}x{shape[0]}" in result.message


def test_the_message_for_a_damaged_tiff_comes_from_libtiff():
    """Pillow's own message is only "decoder error -2"."""
    buffer = io.BytesIO()
    drawing(64, 48).save(buffer, "TIFF", compression="tiff_lzw")
    content = bytearray(buffer.getvalue())
    content[48:148] = bytes(range(100, 200))
    result = failure(bytes(content))
    assert (result.status, "decoder error" in result.message) == ("corrupt", False)


def test_predict_prints_one_status_per_picture(small_model, tmp_path):
    """A folder has all unreadable contents and one good picture. predict ends with exit 3 and reads the good one."""
    contents = {f"{number:02}.png": content for number, (content, _, _) in enumerate(UNREADABLE.values())}
    for name, content in {**contents, "good.png": PNG}.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else b"")
    result = CliRunner().invoke(app, ["predict", str(tmp_path), "--model", str(small_model), "--jsonl"])
    assert result.exit_code == 3, result.output
    statuses = [json.loads(line)["status"] for line in result.stdout.splitlines()]
    assert statuses == [*(status for _, status, _ in UNREADABLE.values()), "ok"]


def test_a_decompression_bomb_is_refused_before_it_is_decoded():
    """A file of a few kilobytes has 13000 x 13000 black pixels. Memory grows by less than 50 MB."""
    bomb = png(13000, 13000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert failure(bomb).status == "too_large"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process from /proc")
def test_too_little_memory_has_the_status_memory(tmp_path):
    """A picture of 49 megapixels is read as a file and as a Pillow image. The process may take only 60 MB more."""
    (tmp_path / "small.png").write_bytes(png(48, 48))
    (tmp_path / "large.png").write_bytes(png(7000, 7000))
    program = """
import resource, sys
from PIL import Image
from emotify.pictures.reading import read_picture
small, large = sys.argv[1:]
read_picture(small), read_picture(Image.open(small))
image = Image.open(large)
with open("/proc/self/statm") as file:
    taken = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + 60_000_000,) * 2)
for source in (large, image):
    print(read_picture(source).status)
"""
    finished = command(tmp_path / "small.png", tmp_path / "large.png", program=[sys.executable, "-c", program])
    assert finished.stdout.split() == ["memory"] * 2, finished.stderr


def test_a_file_above_the_size_limit_is_too_large(tmp_path):
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert failure(path).status == "too_large"


def test_an_endless_stream_is_read_only_up_to_the_limit():
    class Endless(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert size is not None
            assert 0 < size <= MAX_BYTES + 1
            return bytes(size)

    assert failure(Endless()).status == "too_large"


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", ["face.png", "face", "FACE.JPG", "face.txt"])
def test_the_format_comes_from_the_content_and_not_the_name(tmp_path, kind, name):
    path = tmp_path / name
    path.write_bytes(encode(drawing(), kind))
    picture = read(path)
    assert (picture.width, picture.height, picture.frames) == (64, 48, 1)
    assert np.abs(pixels(path) - np.asarray(drawing()).astype(int)).mean() < 25


@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_file_is_never_read_as_a_picture(kind):
    """The file is cut at about 50 places. No cut is in the last 32 bytes, which decoding may not need."""
    content = encode(drawing(), kind)
    for length in range(32, len(content) - 32, max(1, len(content) // 50)):
        assert failure(content[:length]).status in {"truncated", "corrupt"}, length


def test_16_bit_pictures_look_like_8_bit_pictures():
    eight = np.asarray(drawing().convert("L"))
    expected = pixels(encode(Image.fromarray(eight)))
    for factor in (256, 257):
        sixteen = eight.astype(np.uint16) * factor
        for kind in ("PNG", "TIFF", "PPM"):
            assert np.array_equal(pixels(encode(Image.fromarray(sixteen), kind)), expected), (kind, factor)
    wide = Image.fromarray(eight.astype(np.int32) * 1_000_000 - 5)
    assert np.abs(pixels(encode(wide, "TIFF")) - (expected - expected.min()) * 255 / np.ptp(expected)).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "RGB"])
def test_every_colour_mode_is_read(mode):
    image = drawing().convert(mode)
    content = encode(image, "JPEG" if mode == "YCbCr" else "TIFF")
    assert np.abs(pixels(content) - np.asarray(image.convert("RGB")).astype(int)).mean() < 5


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P", "L", "RGB"])
def test_transparent_pixels_become_mid_grey(mode):
    """The left half is transparent white, by an alpha channel or by a transparent colour. Its white must not show."""
    image = Image.new("RGB", (64, 48), "white")
    image.paste((0, 0, 0), (32, 0, 64, 48))
    image = image.convert(mode)
    options: dict[str, Any] = {}
    if "A" in mode:
        image.putalpha(Image.fromarray(np.repeat([[0, 255]], (32, 32), axis=1).repeat(48, axis=0).astype(np.uint8)))
    else:
        options["transparency"] = image.getpixel((0, 0))
    read_pixels = pixels(encode(image, **options))
    assert (read_pixels[:, :32] == 128).all()
    assert (read_pixels[:, 32:] == 0).all()


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 255), (0, 60000), (-3, 5)])
def test_floating_point_pixels_are_scaled_to_8_bits(low, high):
    values = np.linspace(low, high, 64 * 48, dtype=np.float32).reshape(48, 64)
    read_pixels = pixels(encode(Image.fromarray(values), "TIFF"))[..., 0]
    assert read_pixels.min() == 0
    assert read_pixels.max() >= 230
    assert (np.diff(read_pixels.ravel()) >= 0).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinite_pixels_have_the_status_nonfinite(value):
    values = np.zeros((48, 64), np.float32)
    values[3, 4] = value
    assert failure(encode(Image.fromarray(values), "TIFF")).status == "nonfinite"


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_is_read_and_the_frames_are_counted(kind):
    first, second = drawing(), Image.new("RGB", (64, 48), "white")
    content = encode(first, kind, save_all=True, append_images=[second, first])
    assert read(content).frames == 3
    assert np.abs(pixels(content) - np.asarray(first).astype(int)).mean() < 20


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", *(["AVIF"] if "AVIF" in FORMATS else [])])
def test_exif_orientation_turns_a_picture_upright(kind, orientation):
    turns = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90",
             7: "TRANSVERSE", 8: "ROTATE_270"}  # fmt: skip
    rotated = drawing().transpose(Image.Transpose[turns[orientation]])
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(rotated, kind, exif=exif)
    picture = read(content)
    assert (picture.width, picture.height) == picture.image.size == (64, 48)
    assert np.abs(pixels(content) - np.asarray(drawing()).astype(int)).mean() < 10


@pytest.mark.parametrize(
    "metadata",
    [
        {"exif": b"Exif\0\0II*\0\xff\xff\xff\xff" + bytes(8)},
        {"exif": b"Exif\0\0garbage that is no TIFF"},
        {"exif": b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\0\x03" * 9},
        {"icc_profile": b"not a profile"},
        {"xmp": b"<x:xmpmeta <<< broken"},
    ],
    ids=["exif offset", "exif text", "exif entries", "icc", "xmp"],
)
def test_pictures_with_damaged_metadata_are_read(metadata):
    picture = read(encode(drawing(), "JPEG", **metadata))
    assert picture.width == 64
    assert ("EXIF" in picture.note) == ("exif" in metadata)


def test_the_heic_error_names_the_package_to_install():
    if "pillow_heif" in sys.modules or _is_installed("pillow_heif"):
        pytest.skip("the extra is installed")
    for brand in (b"heic", b"heix", b"mif1"):
        result = failure(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(40))
        assert result.status == "unsupported"
        assert "pip install pillow-heif" in result.message


@pytest.mark.parametrize(("orientation", "shape"), [(1, (48, 64)), (6, (64, 48))])
def test_heic_pictures_are_read_upright(orientation, shape):
    """Orientation 6 is a quarter turn, as cameras write it. A file without its end is truncated."""
    pillow_heif = pytest.importorskip("pillow_heif", reason='needs pip install "emotify[heic]"')
    exif, file = Image.Exif(), io.BytesIO()
    exif[274] = orientation
    pillow_heif.from_pillow(drawing()).save(file, quality=-1, exif=exif.tobytes())  # lossless
    expected = np.rot90(np.asarray(drawing().convert("RGB"), int), -1 if orientation == 6 else 0)
    found = pixels(file.getvalue())
    assert found.shape[:2] == shape
    assert np.abs(found - expected).mean() < 5
    assert failure(file.getvalue()[:-100]).status == "truncated"


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_the_error_names_a_format_that_pillow_was_built_without(kind, monkeypatch):
    content = WEBP if kind == "WEBP" else b"\0\0\0\x1cftypavif\0\0\0\0mif1avifmiaf" + bytes(40)
    monkeypatch.setattr(features, "check", lambda name: name != kind.lower())
    monkeypatch.setattr(decoding, "_missing_reader", decoding._missing_reader.__wrapped__)  # without its cache
    result = failure(content)
    assert result.status == "unsupported"
    assert result.message == f"this Pillow was built without {kind}; convert it to PNG or JPEG"


def _is_installed(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


def test_the_first_tiff_page_is_read_if_the_second_is_damaged():
    """The second page has an invalid colour type and another size than the first."""
    content = bytearray(encode(drawing(), "TIFF", save_all=True, append_images=[drawing(24, 16)]))
    first_page = pixels(bytes(content))
    first = int.from_bytes(content[4:8], "little")
    entries = int.from_bytes(content[first : first + 2], "little")
    following = first + 2 + 12 * entries
    second = int.from_bytes(content[following : following + 4], "little")
    photometric = content.index(struct.pack("<HHI", 262, 3, 1), second)
    content[photometric + 8] = 99
    picture = read(bytes(content))
    assert picture.frames == 1
    assert np.array_equal(np.asarray(picture.image.convert("RGB")), first_page)


def test_a_picture_followed_by_an_archive_is_read():
    assert np.array_equal(pixels(JPEG + b"PK\x03\x04" + bytes(100)), pixels(JPEG))


def test_large_jpeg_files_are_decoded_at_reduced_size():
    """Width and height are those of the file, upright. The pixels are at least as many as the face search needs."""
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encode(Image.new("L", (6000, 4000), 90), "JPEG", exif=exif)
    for search, size in ((Search(), (2000, 3000)), (Search(max_side=640), (2000, 3000)), (Search(max_side=2560), None)):
        picture = read_picture(content, enough_side=search.enough_side)
        assert isinstance(picture, Picture)
        assert (picture.width, picture.height) == (4000, 6000)
        assert picture.image.size == (size or (4000, 6000))
    assert read(content).image.size == (4000, 6000)


def test_missing_paths_have_the_status_not_found(tmp_path):
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "itself.png").symlink_to(tmp_path / "itself.png")
    missing = {
        tmp_path / "none.png": "check the path",
        tmp_path / "100%.png": "check the path",
        tmp_path / "dangling.png": "link",
        tmp_path / "itself.png": "link",
        tmp_path / ("n" * 300): "check the path",
        Path("nul\0.png"): "check the path",
        Path("~/face.png"): "~",
        Path("$PHOTOS/face.png"): "variable",
        Path("%USERPROFILE%\\face.png"): "variable",
        Path("C:\\photos\\face.png"): "Windows",
        Path("https://example.com/a.jpg"): "download",
        Path("s3://bucket/a.jpg"): "download",
        Path("data:image/png;base64," + "iVBORw0KGgo" * 100): "save the picture as a file",
        Path("file:///home/me/a.jpg"): "without file://",
        Path("photos/*.jpg"): "pattern",
        Path("photos/IMG_????.jpg"): "pattern",
        Path("photos/[ab].jpg"): "pattern",
        Path("photos/{a,b}.jpg"): "pattern",
        Path("face.png "): "a space",
    }
    for path, words in missing.items():
        result = failure(path)
        assert result.status == "not_found"
        assert words in result.message, path


def test_a_file_without_read_permission_has_the_status_permission(tmp_path):
    """If the tests run as root, the picture is read as the user nobody."""
    (tmp_path / "secret.png").write_bytes(PNG)
    (tmp_path / "secret.png").chmod(0)
    tmp_path.chmod(0o755)
    imports = "from emotify.pictures.reading import read_picture"
    assert printed_by_nobody(imports, "print(read_picture('secret.png').status)", tmp_path) == "permission"


def test_pipes_sockets_devices_and_folders_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(tmp_path / "s.png"))
        kinds = {tmp_path / "pipe.png": "pipe", tmp_path / "s.png": "socket", tmp_path: "folder"}
        for path, kind in {**kinds, Path("/dev/zero"): "device", Path("/dev/null"): "device"}.items():
            start = time.monotonic()
            result = failure(path)
            assert time.monotonic() - start < 0.1
            assert (result.status, result.message.partition(",")[0]) == ("not_regular", f"a {kind}"), path
    finally:
        listener.close()


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_file_that_is_replaced_while_it_is_opened_is_not_read(kind, tmp_path, monkeypatch):
    """Its type is checked again after opening, and it is closed."""
    path = tmp_path / "face.png"
    path.write_bytes(PNG)
    before, status = path.stat(), os.stat
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        os.mkfifo(path) if kind == "pipe" else listener.bind(str(path))
        monkeypatch.setattr(os, "stat", lambda place, **options: before if place == path else status(place, **options))
        opened = len(list(Path("/dev/fd").iterdir()))
        assert failure(path).status == "not_regular"
        assert len(list(Path("/dev/fd").iterdir())) == opened


def test_pictures_are_read_by_a_python_without_ctypes(tmp_path):
    """Python may be built without libffi. Memory is then returned to the system later, and libtiff's words are lost."""
    (tmp_path / "cut.tif").write_bytes(encode(drawing(), "TIFF", compression="tiff_lzw")[:-40])
    (tmp_path / "large.png").write_bytes(encode(Image.new("RGB", (5000, 4000))))
    program = (
        "import sys\nsys.modules['ctypes'] = None\nfrom emotify.pictures.memory import Share\n"
        "from emotify.pictures.reading import read_picture\n"
        "for name in sys.argv[1:]:\n    with Share() as share:\n"
        "        print(getattr(read_picture(name, share=share), 'status', 'ok'))"
    )
    ended = command(tmp_path / "cut.tif", tmp_path / "large.png", program=[sys.executable, "-c", program])
    assert ended.code == 0, ended.stderr
    damaged, large = ended.stdout.split()
    assert damaged in {"truncated", "corrupt"}
    assert large == "ok"


def test_too_many_open_files_have_the_status_memory(tmp_path):
    """The picture is not damaged, so the status is not `corrupt`."""
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        result = failure(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert result.status == "memory"
    assert "files" in result.message
    assert read(path).width == 64


def test_files_that_report_a_size_of_zero_are_read():
    """Regular files below /proc report a size of zero. Their content gives the status, and reading is limited."""
    if not Path("/proc/self/status").exists():
        pytest.skip("there is no /proc")
    result = failure(Path("/proc/self/status"))
    assert result.status == "not_an_image"
    assert failure(Path("/proc/self/mem")).status in {"corrupt", "permission"}
    descriptor = os.memfd_create("picture")
    os.write(descriptor, PNG)
    assert read(Path(f"/proc/self/fd/{descriptor}")).width == 64
    os.close(descriptor)


@pytest.mark.parametrize(
    "name", ["a b\t.png", "new\nline.png", "'\"%s.png", "\U0001f600.png", "‮gnp.exe", "-rf", "x" * 255, "dot."]
)
def test_pictures_with_unusual_names_are_read(tmp_path, name):
    (tmp_path / name).write_bytes(PNG)
    assert read(tmp_path / name).width == 64


def test_a_picture_whose_name_is_not_utf8_is_read(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    path.write_bytes(PNG)
    assert read(path).width == 64


@pytest.mark.parametrize("kind", FORMATS)
def test_mutated_files_give_a_picture_or_a_status(kind):
    """Bytes are changed, deleted, inserted and overwritten. Reading each file takes less than 1 s of CPU time."""
    rng = random.Random(46)
    seed = encode(drawing(), kind)
    for _ in range(FUZZ_ROUNDS):
        content = bytearray(seed)
        for _ in range(rng.choice((1, 1, 2, 8))):
            place = rng.randrange(len(content))
            match rng.randrange(4):
                case 0:
                    content[place] = rng.randrange(256)
                case 1:
                    del content[place : place + rng.choice((1, 4, 50))]
                case 2:
                    content[place:place] = rng.randbytes(rng.choice((1, 4, 50)))
                case _:
                    content[place : place + 4] = rng.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"))
            content = content or bytearray(b"\0")
        start = time.process_time()
        result = read_picture(bytes(content))
        assert time.process_time() - start < 1
        assert isinstance(result, Picture | Failure)


def test_pictures_can_be_read_from_many_threads():
    """The results are the same as in one thread. Pillow's warnings do not escape from any thread."""
    contents = [PNG, JPEG, PNG[:200], encode(drawing(), "TIFF"), encode(drawing(), "JPEG", exif=b"Exif\0\0junk")] * 20
    expected = [isinstance(read_picture(content), Picture) for content in contents]
    results: dict[int, list[bool]] = {}

    def work(number: int) -> None:
        results[number] = [isinstance(read_picture(content), Picture) for content in contents]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(results[number] == expected for number in range(4))


def test_real_photographs_are_read(shared):
    """All photographs are read, AVIF and 16-bit grey too. HEIF is read if pillow-heif is installed."""
    for path in sorted((shared / "photos").glob("*_*")):
        if path.suffix == ".heif" and not _is_installed("pillow_heif"):
            assert failure(path).status == "unsupported"
            continue
        picture = read(path)
        assert picture.frames == (4 if "animated" in path.name else 1)
        assert np.ptp(np.asarray(picture.image)) > 100


@pytest.mark.parametrize("shape", [(50, 40), (50, 40, 3)])
def test_grey_and_rgb_arrays_are_read(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    picture = read_picture(pixels)
    assert isinstance(picture, Picture)
    assert (picture.width, picture.height, picture.image.mode) == (40, 50, "L" if len(shape) == 2 else "RGB")
    np.testing.assert_array_equal(np.asarray(picture.image), pixels)


@pytest.mark.parametrize("shape", [(50, 40, 1), (50, 40, 4), (50,), (1, 50, 40, 3)])
def test_arrays_of_other_shapes_are_unsupported(shape):
    result = failure(np.zeros(shape, np.uint8))
    assert result.status == "unsupported"
    assert "grey HxW or RGB HxWx3" in result.message
