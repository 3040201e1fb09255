"""Identify picture formats, and files that are not pictures, by the first bytes of a file."""

from __future__ import annotations

import re
from typing import Final, Literal

# Pillow opens a file only as the format found here, so that no file can start another reader (EPS runs Ghostscript).
_SIGNATURES: Final = (
    ("JPEG", re.compile(rb"\xff\xd8\xff")),
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("WEBP", re.compile(rb"RIFF....WEBP", re.DOTALL)),
    ("GIF", re.compile(rb"GIF8[79]a")),
    ("BMP", re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL)),
    ("TIFF", re.compile(rb"II\*\0|MM\0\*|II\+\0\x08|MM\0\+\0\x08")),
    ("PPM", re.compile(rb"P(?:[1-6]|f)[ \t\r\n]")),
    ("AVIF", re.compile(rb".{4}ftyp(?:avi[fs]|m[is]f1.{4}(?:.{4})*?avi[fs])", re.DOTALL)),
    ("HEIF", re.compile(rb".{4}ftyp(?:he[iv][cxms]|m[is]f1)", re.DOTALL)),
)

CAMERA_RAW: Final = "camera raw"
RAW_EXTENSIONS: Final = frozenset([
    ".3fr", ".ari", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos",
    ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
])  # fmt: skip
# Extensions of pictures in folders. Some formats are unsupported; such files get a row with that status.
IMAGE_EXTENSIONS: Final = RAW_EXTENSIONS | frozenset([
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".avif", ".avifs", ".heic", ".heif", ".hif", ".jp2", ".jxl", ".svg",
    ".eps", ".psd", ".ico",
])  # fmt: skip
_UNSUPPORTED: Final = (
    # NEF, DNG and others are TIFF files; emotify.pictures.tiff recognises them.
    (CAMERA_RAW, re.compile(rb"IIR[OS]|MMOR|IIU\0|II\x1a\0\0\0HEAPCCDR")),
    (CAMERA_RAW, re.compile(rb"FUJIFILMCCD-RAW|FOVb|\0MRM|.{4}ftypcrx|ARRI", re.DOTALL)),
    ("EPS", re.compile(rb"%!PS|\xc5\xd0\xd3\xc6")),
    ("PDF", re.compile(rb"\s*%PDF-")),
    ("PSD", re.compile(rb"8BPS")),
    ("ICO", re.compile(rb"\0\0[\1\2]\0[^\0]\0")),
    ("JPEG 2000", re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51")),
    ("JPEG XL", re.compile(rb"\xff\x0a|\0\0\0\x0cJXL ")),
    ("JPEG XR", re.compile(rb"II\xbc[\0\1]")),
    ("DICOM", re.compile(rb".{128}DICM", re.DOTALL)),
    ("FITS", re.compile(rb"SIMPLE  =")),
    ("OpenEXR", re.compile(rb"v/1\x01")),
    ("Radiance HDR", re.compile(rb"#\?RADIANCE|#\?RGBE")),
    ("GIMP", re.compile(rb"gimp xcf ")),
    ("DDS", re.compile(rb"DDS \x7c")),
    ("QOI", re.compile(rb"qoif")),
    ("ICNS", re.compile(rb"icns")),
    ("DjVu", re.compile(rb"AT&TFORM")),
)
_VIDEO: Final = re.compile(rb".{4}ftyp|RIFF.{4}AVI |\x1aE\xdf\xa3", re.DOTALL)
_NO_PICTURES: Final = (
    ("a Git LFS pointer; fetch the picture with: git lfs pull", re.compile(rb"version https://git-lfs")),
    ("a git-annex pointer; fetch the picture with: git annex get", re.compile(rb"(?:\.\./)*[\w./]*/annex/objects/")),
    ("a gzip archive; unpack it first", re.compile(rb"\x1f\x8b")),
    ("a zip archive; unpack it first", re.compile(rb"PK(?:\x03\x04|\x05\x06|\x07\x08)")),
    ("a 7z archive; unpack it first", re.compile(rb"7z\xbc\xaf\x27\x1c")),
    ("an xz archive; unpack it first", re.compile(rb"\xfd7zXZ\0")),
    ("a bzip2 archive; unpack it first", re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")),
    ("a Zstandard archive; unpack it first", re.compile(rb"\x28\xb5\x2f\xfd")),
    ("a RAR archive; unpack it first", re.compile(rb"Rar!\x1a\x07")),
    ("a tar archive; unpack it first", re.compile(rb"[^\0].{256}ustar", re.DOTALL)),
    ("a video clip; rename it to end in .mp4, or save a frame of it as PNG or JPEG", _VIDEO),
    ("a picture in base64 text; decode it first", re.compile(rb"data:image/|iVBORw0KGgo|/9j/[24]|R0lGOD|UklGR")),
    ("a NumPy array; save it as PNG or JPEG", re.compile(rb"\x93NUMPY")),
    ("an HDF5 file; save its pictures as PNG or JPEG", re.compile(rb"\x89HDF\r\n")),
    ("macOS metadata of a file (AppleDouble); give the file itself", re.compile(rb"\0\x05\x16[\0\7]")),
    ("a Windows shortcut; give the picture itself", re.compile(rb"L\0\0\0\x01\x14\x02\0|\[InternetShortcut\]")),
    ("an Office document; save its pictures as PNG or JPEG", re.compile(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")),
    ("JSON text, perhaps a server's error message; get the picture itself", re.compile(rb'\s*(?:\{\s*"|\[\s*[\[{"])')),
)
# One line with the name of another file. Git writes such a file where it cannot create a link.
_LINK_TEXT: Final = re.compile(rb"[^\0-\x1f]{1,1000}\.(?:jpe?g|png|gif|webp|bmp|tiff?|heic|avif)\n?", re.IGNORECASE)
_UNKNOWN: Final = "no picture format that emotify knows; check what the file is"
_PAGE: Final = (b"<html", b"<!doctype html", b"<head", b"<body")  # tags at the start of a web page
_HEAD: Final = 4096  # bytes that are searched for signatures; bounds the time for hostile files


def identify(content: bytes) -> str | None:
    """Return Pillow's name of the picture format of a file's content, or None if it is not supported."""
    head = content[:_HEAD]
    return next((name for name, signature in _SIGNATURES if signature.match(head)), None)


def unsupported_format(content: bytes, *, named_raw: bool = False) -> str | None:
    """Return the name of a known but unsupported picture format, or None.

    named_raw: the file's name has an extension of camera raw. Then unknown content counts as camera raw too.
    """
    head = content[:_HEAD]
    if _is_markup(head, b"<svg") and not _is_markup(head.lower().partition(b"<svg")[0], *_PAGE):
        return "SVG"
    name = next((name for name, signature in _UNSUPPORTED if signature.match(head)), None)
    return CAMERA_RAW if named_raw and not name and describe_foreign(content) == _UNKNOWN else name


def describe_foreign(content: bytes) -> str:
    """Return a short message with the type of a file that is not a picture, and what to do about it."""
    head = content[:_HEAD]
    if _is_markup(head, *_PAGE):
        return "a web page (HTML); download the picture itself"
    if _is_markup(head, b"<?xml", b"<error"):
        return "an XML document, perhaps a server's error message; get the picture itself"
    if not head.strip(b"\0") and not content.strip(b"\0"):
        return "only zero bytes, perhaps from an interrupted copy; get the picture again"
    if words := next((words for words, signature in _NO_PICTURES if signature.match(head)), ""):
        return words
    if _LINK_TEXT.fullmatch(content):
        return "text with the name of another file, as git writes for a link (core.symlinks); give that file"
    return _UNKNOWN


def is_video(content: bytes) -> bool:
    """Return whether content starts like an MP4, QuickTime, Matroska, WebM or AVI file."""
    return _VIDEO.match(content[:_HEAD]) is not None


def _is_markup(head: bytes, *tags: bytes) -> bool:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return text.startswith(b"<") and any(tag in text for tag in tags)


def is_cut_short(kind: str, content: bytes) -> bool:
    """Return whether content in format `kind` ends earlier than its own headers say."""
    size = len(content)
    match kind:
        case "JPEG":
            return b"\xff\xd9" not in content
        case "PNG":
            return b"IEND" not in content
        case "GIF":
            return not content.rstrip(b"\0").endswith(b";")
        case "WEBP":
            return int.from_bytes(content[4:8], "little") + 8 > size
        case "BMP":
            return max(int.from_bytes(content[2:6], "little"), 26) > size
        case "TIFF":
            return _directory_end(content) > size
        case "AVIF" | "HEIF":
            return _boxes_end(content) > size
        case _:
            return False


def _boxes_end(content: bytes) -> int:
    """Return the offset at which the last top-level ISO box ends, according to its length."""
    position = 0
    while position < len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        if length < 8:  # 0: up to the end of the file; 1: a 64-bit length, larger than MAX_BYTES
            break
        position += length
    return position


def _directory_end(content: bytes) -> int:
    """Return the offset at which the first directory of a classic TIFF file ends."""
    order: Literal["little", "big"] = "little" if content.startswith(b"II") else "big"
    start = max(8, int.from_bytes(content[4:8], order))
    entries = int.from_bytes(content[start : start + 2], order)
    return start + 2 + 12 * entries + 4
