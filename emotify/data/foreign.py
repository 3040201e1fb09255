"""Explain files that cannot be data: what they are, and what to do."""

from __future__ import annotations

import re
from typing import Final

from emotify.pictures.formats import identify, unsupported_format

_HEAD: Final = 4096  # bytes to search for a signature
_SIGNATURES: Final = (
    ("a Git LFS pointer; fetch the file with: git lfs pull", rb"version https://git-lfs"),
    ("a git-annex pointer; fetch the file with: git annex get", rb"(?:\.\./)*[\w./]*/annex/objects/"),
    ("a DVC pointer; fetch the file with: dvc pull", rb"outs:\r?\n- (?:md5|hash|etag|size)"),
    ("a 7z archive; unpack it and name the file or folder inside", rb"7z\xbc\xaf\x27\x1c"),
    ("an xz archive; unpack it and name the file or folder inside", rb"\xfd7zXZ\0"),
    ("a bzip2 archive; unpack it and name the file or folder inside", rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"),
    ("a Zstandard archive; unpack it and name the file or folder inside", rb"\x28\xb5\x2f\xfd"),
    ("a RAR archive; unpack it and name the file or folder inside", rb"Rar!\x1a\x07"),
    ("an old Excel workbook; save its table as csv", rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    ("a Parquet file; save its table as csv", rb"PAR1"),
    ("an HDF5 file; save its table as csv", rb"\x89HDF\r\n"),
    ("a NumPy file; save its table as csv", rb"\x93NUMPY"),
    ("an SQLite database; save its table as csv", rb"SQLite format 3\0"),
    ("a PDF file; download the data itself", rb"%PDF-"),
    ("JSON text, perhaps a server's error message; download the data itself", rb"\s*[\[{]"),
    ("a web page (HTML); download the data itself", rb"(?i)\s*<(?:!doctype html|html|head|body|!--|script|meta|title)"),
    ("an XML document, perhaps a server's error message; download the data itself", rb"\s*<\?xml"),
)
_COMPILED: Final = tuple((words, re.compile(pattern)) for words, pattern in _SIGNATURES)


def describe_foreign(head: bytes) -> str | None:
    """Describe a file that is not a table by its first bytes, and say what to do. None when it may be a table."""
    head = head[:_HEAD].removeprefix(b"\xef\xbb\xbf")
    if words := next((words for words, signature in _COMPILED if signature.match(head)), None):
        return words
    if kind := identify(head) or unsupported_format(head):
        return f"a picture ({kind}); name a folder with class folders, or FER-2013's csv"
    return None
