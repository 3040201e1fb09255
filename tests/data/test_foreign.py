"""Errors for files and names that are not data explain what they are."""

from __future__ import annotations

import base64
import gzip
import io
import lzma
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from emotify.cli import app
from emotify.data import Split, read_dataset
from tests.data import outcomes


def refusal(source, **options) -> str:
    """Return the message of an error, and check that it contains only text."""
    message = outcomes.refusal(source, **options)
    assert "\\x" not in message
    assert "\ufffd" not in message
    return message


def picture(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (48, 48)).save(stream, kind)
    return stream.getvalue()


def workbook() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 301\n",
            "a Git LFS pointer; fetch the file with",
        ),
        (b"../.git/annex/objects/aa/bb/MD5-s1--cc", "a git-annex pointer"),
        (b"outs:\n- md5: 0123\n  path: fer2013.csv\n", "a DVC pointer"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "a web page (HTML); download the data itself"),
        (b"\xef\xbb\xbf\n <HTML lang=en>", "a web page (HTML)"),
        (b"<!-- saved from url -->\n<html>", "a web page (HTML)"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "an XML document, perhaps a server's error"),
        (b'{"code": 403, "message": "Permission denied"}', "JSON text, perhaps a server's error message"),
        (b"7z\xbc\xaf\x27\x1c\0\4" + bytes(99), "a 7z archive; unpack it"),
        (lzma.compress(b"emotion,pixels,Usage\n"), "an xz archive; unpack it"),
        (base64.b64decode("QlpoOTFBWSZTWQ==") + bytes(99), "a bzip2 archive; unpack it"),
        (b"\x28\xb5\x2f\xfd" + bytes(99), "a Zstandard archive; unpack it"),
        (b"Rar!\x1a\x07\1\0" + bytes(99), "a RAR archive; unpack it"),
        (b"PAR1" + bytes(99), "a Parquet file; save its table as csv"),
        (workbook(), "an Excel workbook; save its table as csv"),
        (b"%PDF-1.7\n", "a PDF file"),
        (picture("PNG"), "a picture (PNG); name a folder"),
        (picture("JPEG"), "a picture (JPEG); name a folder"),
        (bytes(range(256)) * 9, "line 1: no column emotion, pixels, Usage; it is not a text file, so not a csv"),
        (b"emotion;pixels;Usage\n0;1 2;Training\n", "its columns are separated by semicolons; save it with commas"),
        (b"emotion\tpixels\tUsage\n0\t1 2\tTraining\n", "its columns are separated by tabs; save it with commas"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_the_error_for_a_file_that_is_not_a_csv_names_its_format(tmp_path, content, told, packed):
    if packed and content.startswith(b"PK"):
        pytest.skip("a zip in a gzip file is no archive of csv files")
    path = tmp_path / "fer2013.csv"
    path.write_bytes(gzip.compress(content) if packed else content)
    assert told in refusal(path)


def test_the_error_for_votes_that_are_not_a_csv_names_their_format(path, tmp_path):
    votes = tmp_path / "votes.csv"
    votes.write_bytes(b"<html>Sign in</html>")
    assert f"{votes} is a web page (HTML)" in refusal(path, ferplus=votes)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("https://www.kaggle.com/fer2013.zip", "it is a URL; download the file and name it"),
        ("s3://bucket/fer2013.csv", "it is a URL"),
        ("file:///data/fer2013.csv", "it is a URL; write the path without file://"),
        ("data/*.csv", "nothing matches this pattern; name files or folders"),
        ("fer{1,2}", "nothing matches this pattern"),
        ("~nobody/fer2013.csv", "the shell did not replace ~"),
        ("$DATA/fer2013.csv", "the shell did not replace the variable"),
        ("%USERPROFILE%", "the shell did not replace the variable"),
        ("C:\\data\\fer2013.csv", "it looks like a Windows path"),
        ("fer2013.csv ", "its name begins or ends with a space"),
        ("fer2014.csv", "Download FER-2013 from"),
    ],
)
def test_the_error_for_a_missing_file_explains_its_name(tmp_path, monkeypatch, name, told):
    monkeypatch.chdir(tmp_path)
    message = refusal(name)
    assert message.startswith(f"{name} does not exist")
    assert told in message


def test_a_url_of_votes_is_refused(path):
    assert "it is a URL; download the file and name it" in refusal(path, ferplus=Path("https://x.org/fer2013new.csv"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("quoted", [False, True])
def test_a_csv_with_cr_line_ends_is_read(path, content, encoding, quoted):
    """Programs of old Macs and some spreadsheets save such files."""
    expected = read_dataset(path)
    text = content.decode().replace("\n", "\r")
    path.write_bytes((text.replace("Training", '"Training"') if quoted else text).encode(encoding))
    if encoding == "utf-16-be":
        path.write_bytes(b"\xfe\xff" + path.read_bytes())
    dataset = read_dataset(path)
    assert {split: images.sha256() for split, images in dataset.splits.items()} == {
        split: images.sha256() for split, images in expected.splits.items()
    }


def test_mistakes_in_a_csv_with_cr_line_ends_have_line_numbers(path, content):
    lines = content.split(b"\n")
    lines[4] = lines[4].replace(b"Training", b"Train")
    path.write_bytes(b"\r".join(lines))
    assert "line 5: Usage is 'Train'" in refusal(path)


def test_votes_with_cr_line_ends_are_read(path, tmp_path, rows):
    header = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    votes = tmp_path / "fer2013new.csv"
    votes.write_text("\r".join([header, *(f"{row.usage},x,10,0,0,0,0,0,0,0,0,0" for row in rows)]), newline="")
    found = read_dataset(path, ferplus=votes).splits[Split.TRAIN].votes
    assert found is not None
    assert found[:, 0].tolist() == [10] * 14


def test_git_lfs_pointers_among_pictures_are_named(tmp_path, fill):
    folder = fill(tmp_path / "set", each=2)
    (folder / "sad" / "1.png").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\n")
    assert f"{folder / 'sad' / '1.png'}: a Git LFS pointer" in refusal(folder)


def test_the_command_reports_a_foreign_file_in_one_line(tmp_path):
    (tmp_path / "fer.7z").write_bytes(b"7z\xbc\xaf\x27\x1c\0\4" + bytes(99))
    result = CliRunner().invoke(app, ["evaluate", "fast", "--data", str(tmp_path / "fer.7z")])
    assert result.exit_code == 4
    assert (
        result.stderr.splitlines()[-1]
        == f"error: {tmp_path / 'fer.7z'} is a 7z archive; unpack it and name the file or folder inside"
    )
