"""Walking folders: pictures are found completely, in sorted order, and each once."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from emotify.errors import InputError
from emotify.pictures.file_list import read_names
from emotify.pictures.finding import Tally, find_pictures
from tests.faults import printed_by_nobody


def make_files(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def walk(*paths: Path) -> list[Path]:
    return list(find_pictures(paths))


def test_pictures_come_in_the_order_of_arguments_and_sorted_names(tmp_path):
    """Folders are sorted among the files by name, as Python sorts paths."""
    make_files(tmp_path, "b/2.png", "b/10.png", "b.png", "a.jpg", "b/c/x.gif", "B.png", "b-.png")
    all_pictures = walk(tmp_path)
    assert all_pictures == sorted(all_pictures)
    assert len(all_pictures) == 7
    assert walk(tmp_path / "b.png", tmp_path / "b", tmp_path / "a.jpg") == [
        tmp_path / name for name in ("b.png", "b/10.png", "b/2.png", "b/c/x.gif", "a.jpg")
    ]


def test_named_files_are_always_yielded(tmp_path):
    """Missing files, files named twice and files with any extension are yielded. A walk checks extensions."""
    make_files(tmp_path, "face", "face.txt", "face.png")
    named = [tmp_path / "face", tmp_path / "face.txt", tmp_path / "none.png", tmp_path / "face.png"] * 2
    named.append(Path("nul\0.png"))
    assert walk(*named) == named
    assert walk(tmp_path) == [tmp_path / "face.png"]


def test_hidden_files_are_skipped_and_others_counted(tmp_path):
    make_files(tmp_path, "a.JPG", "._a.jpg", ".DS_Store", "Thumbs.db", ".git/x.png", "notes.txt", "b/README", "c.heic")
    tally = Tally()
    assert [found.name for found in find_pictures([tmp_path], tally)] == ["a.JPG", "c.heic"]
    assert (tally.ignored, tally.links) == (2, 0)


def test_a_folder_named_like_a_picture_is_walked(tmp_path):
    make_files(tmp_path, "x.png/y.png")
    assert walk(tmp_path) == [tmp_path / "x.png/y.png"]
    assert walk(tmp_path / "x.png") == [tmp_path / "x.png/y.png"]


def test_links_inside_a_folder_are_not_followed(tmp_path):
    """Links to a parent folder and to other folders are counted, but not followed. A named link is followed."""
    make_files(tmp_path, "a/b/1.png", "elsewhere/2.png")
    (tmp_path / "a/back").symlink_to("..")
    (tmp_path / "a/b/3.png").symlink_to(tmp_path / "elsewhere/2.png")
    tally = Tally()
    assert list(find_pictures([tmp_path / "a"], tally)) == [tmp_path / "a/b/1.png"]
    assert tally.links == 2
    assert walk(tmp_path / "a/back/elsewhere") == [tmp_path / "a/back/elsewhere/2.png"]
    (tmp_path / "named").symlink_to(tmp_path / "elsewhere")
    assert walk(tmp_path / "named") == [tmp_path / "named/2.png"]


def test_links_inside_a_folder_are_followed_with_follow_links(tmp_path):
    """A loop of links ends. A folder with two links to it is walked once. A broken link is yielded as a picture."""
    make_files(tmp_path, "a/1.png", "elsewhere/2.png", "elsewhere/notes.txt")
    (tmp_path / "a/back").symlink_to("..")
    (tmp_path / "a/other").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "a/one.png").symlink_to(tmp_path / "elsewhere/2.png")
    (tmp_path / "a/broken.png").symlink_to("nothing")
    (tmp_path / "a/itself").symlink_to("itself")
    (tmp_path / "a/below.png").symlink_to("1.png/x")
    tally = Tally()
    found = [str(path.relative_to(tmp_path)) for path in find_pictures(tmp_path / "a", tally, follow_links=True)]
    assert found == ["a/1.png", "a/back/elsewhere/2.png", "a/below.png", "a/broken.png", "a/one.png"]
    assert (tally.links, tally.ignored, tally.again) == (0, 2, 2)


def test_each_folder_is_walked_once(tmp_path):
    make_files(tmp_path, "a/1.png", "a/b/2.png")
    tally, places = Tally(), [tmp_path / "a/b", tmp_path / "a", tmp_path / "a"]
    assert list(find_pictures(places, tally)) == [tmp_path / "a/b/2.png", tmp_path / "a/1.png"]
    assert tally.again == 2


def test_file_names_are_returned_unchanged(tmp_path):
    names = [
        b"new\nline.png",
        b"-rf.png",
        b"caf\xe9.png",
        "caf\u00e9.png".encode(),
        "cafe\u0301.png".encode(),
        b"CAFE.png",
    ]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    assert sorted(os.fsencode(path.name) for path in walk(tmp_path)) == sorted(names)


def test_a_folder_that_cannot_be_listed_is_yielded(tmp_path):
    """Reading it gives the status `permission`. The pictures in other folders are still found."""
    make_files(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "a").chmod(0)
    tmp_path.chmod(0o755)
    imports = "from emotify.pictures.reading import read_picture\nfrom emotify.pictures.finding import find_pictures"
    statements = """
found = list(find_pictures(["."]))
print([str(picture) for picture in found], read_picture(found[0]).status)
"""
    assert printed_by_nobody(imports, statements, tmp_path) == "['a', 'b/2.png'] permission"
    (tmp_path / "a").chmod(0o755)


def test_very_deep_and_very_wide_folders_are_walked(tmp_path):
    deep = tmp_path / "deep" / Path(*["d"] * 200)
    make_files(deep, "x.png")
    for number in range(2000):
        (tmp_path / f"wide/{number:04}").mkdir(parents=True)
    make_files(tmp_path, "wide/1999/y.png")
    assert walk(tmp_path) == [deep / "x.png", tmp_path / "wide/1999/y.png"]


def test_pictures_are_yielded_before_the_walk_ends(tmp_path):
    """The pictures of the first folder are yielded before the second folder is listed."""
    make_files(tmp_path, "a/1.png", "b/2.png")
    walker = find_pictures([tmp_path])
    assert next(walker) == tmp_path / "a/1.png"
    make_files(tmp_path, "b/3.png")
    assert [found.name for found in walker] == ["2.png", "3.png"]


def test_a_folder_without_pictures_yields_nothing(tmp_path):
    make_files(tmp_path, "notes.txt")
    tally = Tally()
    assert list(find_pictures([tmp_path], tally)) == []
    assert tally.ignored == 1


@pytest.mark.parametrize(
    "name", ["@eaDir", "@EADIR", "__MACOSX", "lost+found", ".thumbnails", "#recycle", "$RECYCLE.BIN"]
)
def test_folders_of_other_programs_are_skipped_and_counted(tmp_path, name):
    for folder in (tmp_path / name, tmp_path / "album" / name):
        folder.mkdir(parents=True)
        (folder / "thumb.jpg").touch()
    (tmp_path / "album" / "a.jpg").touch()
    (tmp_path / "album" / f"{name}.jpg").touch()
    tally = Tally()
    found = {path.name for path in find_pictures(tmp_path, tally)}
    assert found == {"a.jpg", *([] if name.startswith(".") else [f"{name}.jpg"])}
    assert tally.folders == {name: 2}
    assert [path.name for path in find_pictures(tmp_path / name)] == ["thumb.jpg"]  # a named folder is walked


def test_urls_keep_both_slashes(tmp_path):
    for address in ("https://example.com/a.jpg", "s3://bucket/b c.jpg"):
        (path,) = find_pictures(address)
        assert str(path) == os.fspath(path) == address
    listed = io.BytesIO(b"https://example.com/a.jpg\n")
    assert [str(path) for path in read_names(listed)] == ["https://example.com/a.jpg"]


def test_a_file_list_with_cr_line_ends_is_refused():
    with pytest.raises(InputError, match="CR"):
        list(read_names(io.BytesIO(b"a.jpg\rb.jpg\r")))
    assert list(read_names(io.BytesIO(b"a.jpg\r\nb.jpg\r\n"))) == [Path("a.jpg"), Path("b.jpg")]
