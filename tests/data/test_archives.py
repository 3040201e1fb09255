"""A csv in an archive is read; a malicious archive is refused."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile

import pytest

from emotify.data import Split, archives, read_dataset
from emotify.errors import InputError


def make_zip(path, files, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return path


def make_tar(path, members, mode="w:gz"):
    """Members are (name, content) or a TarInfo."""
    with tarfile.open(path, mode) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return path


def link(name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info


@pytest.fixture
def untouched(tmp_path, monkeypatch):
    """A working folder. The test fails if files appear in it or outside of it."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield tmp_path
    assert list(folder.iterdir()) == []


def check_whole(dataset):
    assert {split: len(images) for split, images in dataset.splits.items()} == dict.fromkeys(Split, 14)


@pytest.mark.parametrize("name", ["fer2013.csv", "fer2013/fer2013.csv", "icml_face_data.csv", "a/b/mine.CSV"])
def test_a_zip_is_read(untouched, content, name):
    check_whole(read_dataset(make_zip(untouched / "fer.zip", [("README", "read me"), (name, content)])))


@pytest.mark.parametrize(("name", "mode"), [("fer.tar.gz", "w:gz"), ("fer.tgz", "w:gz"), ("fer.tar", "w")])
def test_a_tar_is_read(untouched, content, name, mode):
    members = [("fer2013/README", b"read me"), ("fer2013/fer2013.csv", content), ("fer2013/fer2013.bib", b"@")]
    check_whole(read_dataset(make_tar(untouched / name, members, mode)))


def test_a_gzipped_csv_is_read(untouched, content):
    (untouched / "fer2013.csv.gz").write_bytes(gzip.compress(content))
    check_whole(read_dataset(untouched / "fer2013.csv.gz"))


def test_the_format_of_a_file_is_found_by_its_bytes(untouched, content):
    (untouched / "fer2013.csv").write_bytes(gzip.compress(content))
    check_whole(read_dataset(untouched / "fer2013.csv"))


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_the_csv_is_chosen_by_its_name_and_header(untouched, rows, content, to_csv, make):
    """FER-2013's archive has other csv files, too, and macOS adds its own files."""
    files = [
        ("test.csv", b"pixels\n1 2 3\n"),
        ("__MACOSX/._fer2013.csv", b"\0\5\26\7"),
        ("a.csv", to_csv(rows[:7])),
        ("icml_face_data.csv", to_csv(rows[:7])),
        ("fer2013/fer2013.csv", content),
    ]
    check_whole(read_dataset(make(untouched / "challenge", files)))


def test_an_archive_without_the_csv_is_refused_with_its_file_names(untouched):
    path = make_zip(untouched / "fer.zip", [("a.csv", "x\n1\n"), ("b.csv", "y\n1\n")])
    with pytest.raises(InputError, match=r"no csv with the columns emotion, pixels, Usage: only a\.csv, b\.csv"):
        read_dataset(path)


def test_an_archive_of_image_folders_is_refused(untouched):
    with pytest.raises(InputError, match="unpack it if it has folders of images"):
        read_dataset(make_zip(untouched / "fer.zip", [("train/happy/1.png", b"")]))


@pytest.mark.parametrize("name", ["../../fer2013.csv", "/etc/fer2013.csv", "C:\\fer2013.csv"])
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_archive_members_are_never_written_to_disk(untouched, content, make, name):
    check_whole(read_dataset(make(untouched / "fer", [(name, content)])))
    assert sorted(path.name for path in untouched.iterdir()) == ["fer", "work"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_not_followed(untouched, content, kind):
    (untouched / "secret.csv").write_bytes(content)
    path = make_tar(untouched / "fer.tar.gz", [link("fer2013.csv", str(untouched / "secret.csv"), kind)])
    with pytest.raises(InputError, match="no csv"):
        read_dataset(path)


def test_a_symbolic_link_in_a_zip_is_not_followed(untouched, content):
    (untouched / "secret.csv").write_bytes(content)
    info = zipfile.ZipInfo("fer2013.csv")
    info.external_attr = 0o120777 << 16
    with pytest.raises(InputError, match="no column"):
        read_dataset(make_zip(untouched / "fer.zip", [(info, str(untouched / "secret.csv"))]))


def test_an_encrypted_zip_is_refused(untouched, content):
    path = make_zip(untouched / "fer.zip", [("fer2013.csv", content)])
    packed = bytearray(path.read_bytes())
    packed[packed.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(packed)
    with pytest.raises(InputError, match="is encrypted"):
        read_dataset(path)


@pytest.mark.parametrize("pack", ["zip", "csv.gz", "tar.gz"])
def test_a_decompression_bomb_is_refused(untouched, content, monkeypatch, pack):
    """A correct csv, then four million blank lines, compressed by a factor of 1000."""
    bomb = content + b"\n" * 4_000_000
    path = untouched / f"fer.{pack}"
    if pack == "zip":
        make_zip(path, [("fer2013.csv", bomb)])
    elif pack == "tar.gz":
        make_tar(path, [("fer2013.csv", bomb)])
    else:
        path.write_bytes(gzip.compress(bomb))
    monkeypatch.setattr(archives, "_SMALL", 1 << 20)
    monkeypatch.setattr(archives, "MAX_RATIO", 20)
    with pytest.raises(InputError, match="unpacks to more than"):
        read_dataset(path)


def test_a_csv_larger_than_the_limit_is_refused(path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_BYTES", 10_000)
    with pytest.raises(InputError, match="more than 10,000 bytes"):
        read_dataset(path)


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_too_many_members_are_refused(untouched, monkeypatch, make):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 10)
    with pytest.raises(InputError, match="more than 10 members"):
        read_dataset(make(untouched / "fer", [(f"{number}.txt", b"") for number in range(11)]))


def test_an_archive_of_a_million_members_is_refused_at_once(untouched):
    """The end of a zip has the number, so the table of its members, which may be huge, is not read."""
    path = make_zip(untouched / "fer.zip", [("fer2013.csv", b"")])
    packed = bytearray(path.read_bytes())
    at = packed.index(b"PK\5\6")
    packed[at + 10 : at + 12] = struct.pack("<H", 0xFFFF)
    path.write_bytes(packed)
    with pytest.raises(InputError, match="more than 65,000 members"):
        read_dataset(path)


def test_a_zip_inside_a_zip_is_not_opened(untouched, content):
    inner = make_zip(untouched / "inner.zip", [("fer2013.csv", content)]).read_bytes()
    with pytest.raises(InputError, match="no csv"):
        read_dataset(make_zip(untouched / "outer.zip", [("inner.zip", inner)]))


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_truncated_archive_is_refused(untouched, content, make, share):
    path = make(untouched / "fer", [("fer2013.csv", content)])
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError):
        read_dataset(path)


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_an_archive_with_a_flipped_bit_is_refused(untouched, content, make):
    path = make(untouched / "fer", [("fer2013.csv", content)])
    packed = bytearray(path.read_bytes())
    packed[len(packed) // 2] ^= 16
    path.write_bytes(packed)
    with pytest.raises(InputError):
        read_dataset(path)
