"""Files and names that are given as data and are something else: what they are, and what to do about it."""

from __future__ import annotations

import os
import re
from typing import Final

from emotify.pictures.formats import identify, unsupported_format

_HEAD: Final = 4096  # bytes in which a signature must lie
_SIGNATURES: Final = (
    ("a Git LFS pointer; fetch the file with: git lfs pull", rb"version https://git-lfs"),
    ("a git-annex pointer; fetch the file with: git annex get", rb"(?:\.\./)*[\w./]*/annex/objects/"),
    ("a DVC pointer; fetch the file with: dvc pull", rb"outs:\r?\n- (?:md5|hash|etag|size)"),
    ("a 7z archive; unpack it and name what it holds", rb"7z\xbc\xaf\x27\x1c"),
    ("an xz archive; unpack it and name what it holds", rb"\xfd7zXZ\0"),
    ("a bzip2 archive; unpack it and name what it holds", rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"),
    ("a Zstandard archive; unpack it and name what it holds", rb"\x28\xb5\x2f\xfd"),
    ("a RAR archive; unpack it and name what it holds", rb"Rar!\x1a\x07"),
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
_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/{1,2}[^/]")  # Path makes https:/ of https://


def describe_foreign(head: bytes) -> str | None:
    """Say what the first bytes of a file are, where they are those of no table; None where they may be."""
    head = head[:_HEAD].removeprefix(b"\xef\xbb\xbf")
    if words := next((words for words, signature in _COMPILED if signature.match(head)), None):
        return words
    if kind := identify(head) or unsupported_format(head):
        return f"a picture ({kind}); name a folder that has a folder for each class, or FER-2013's csv"
    return None


def explain_missing(text: str) -> str | None:
    """Say what a name that is that of no file may have been meant for; None where it may just be misspelt."""
    if _ADDRESS.match(text):
        return "it is an address; download the file and name it"
    if text.startswith("~"):
        return "the shell did not replace ~; write the folder's full path"
    if "$" in text or text.count("%") > 1:
        return "the shell did not replace the variable in it; write out the path"
    if re.search(r"[*?\[{]", text):
        return "the pattern was not expanded, as nothing matches it; name one file or folder"
    if "\\" in text and os.sep == "/":
        return "it looks like a Windows path; write it with / as this system does"
    return None
