"""Split folders with many names, above or below class folders, and folders with other content."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
import zipfile

import pytest

from emotify.data import Split, find_ferplus, read_dataset
from emotify.data.split_folders import split_folders
from emotify.emotions import EMOTIONS
from tests.data.outcomes import refusal, sizes

EXPECTED = {"train": [12] * 7, "valid": [3] * 7, "test": [2] * 7}


@pytest.mark.parametrize(
    "names",
    [
        ("train_set", "val_set", "test_set"),
        ("FER2013Train", "FER2013Valid", "FER2013Test"),
        ("trainset", "valset", "testset"),
        ("Training", "PublicTest", "PrivateTest"),
        ("Training images", "Public Test", "Private_Test"),
        ("train-images", "dev", "holdout"),
        ("fer2013_train", "fer2013_validation", "fer2013_test"),
        ("mine_train", "mine_val", "mine_test"),
        ("TrainData", "ValData", "Hold-out"),
    ],
)
def test_other_names_of_splits_are_read_with_a_warning(tmp_path, fill, names):
    for name, each in zip(names, (12, 3, 2), strict=True):
        fill(tmp_path / "set" / name, each=each)
    dataset = read_dataset(tmp_path / "set")
    assert sizes(dataset) == EXPECTED
    plain = ("Training", "PublicTest", "PrivateTest")
    renamed = [f"{name} as {split}" for name, split in zip(names, Split, strict=True) if name not in plain]
    assert dataset.warnings == ((f"folders are read as splits: {', '.join(sorted(renamed))}.",) if renamed else ())


@pytest.mark.parametrize("names", [("latest", "contest"), ("train_old", "test_results"), ("trains",), ("my_test",)])
def test_names_that_only_resemble_splits_are_not_splits(names):
    assert split_folders(names) == {}


def test_a_name_with_an_extra_word_beside_splits_is_not_a_split(tmp_path, fill):
    """Beside `test`, `test_results` is not a split."""
    for name, each in (("train", 12), ("valid", 3), ("test", 2), ("test_results", 5)):
        fill(tmp_path / "set" / name, each=each)
    dataset = read_dataset(tmp_path / "set")
    assert sizes(dataset) == EXPECTED
    assert f"skipped {tmp_path / 'set' / 'test_results'}" in dataset.warnings[0]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("train", "eval"), "eval may be valid or test; rename it to one of them"),
        (("train", "evaluation_set"), "evaluation_set may be valid or test"),
        (("my_test",), "my_test may be the test split, or something else; rename it to test"),
        (("train_old", "test_new"), "train_old may be the train split"),
        (("train", "train_set"), "train_set is a second folder for train, beside train"),
        (("train", "test", "tets"), "did you mean test?"),
    ],
)
def test_unclear_names_of_splits_are_refused(tmp_path, fill, names, told):
    for name in names:
        fill(tmp_path / "set" / name, each=2)
    assert told in refusal(tmp_path / "set")


@pytest.mark.parametrize("names", [("train", "val", "test"), ("train_set", "val_set", "test_set")])
@pytest.mark.parametrize("classes", [EMOTIONS, tuple("0123456")])
def test_split_folders_inside_class_folders_are_read(tmp_path, fill, names, classes):
    for name in classes:
        for split, each in zip(names, (12, 3, 2), strict=True):
            fill(tmp_path / "set" / name, [split], each=each)
    dataset = read_dataset(tmp_path / "set")
    assert sizes(dataset) == EXPECTED
    assert "split folders inside the class folders are read as the splits." in dataset.warnings


def test_images_beside_split_folders_inside_a_class_give_a_warning(tmp_path, fill):
    for name in EMOTIONS:
        fill(tmp_path / "set" / name, ["train", "val"], each=2)
    shutil.copy(tmp_path / "set" / "sad" / "val" / "0.png", tmp_path / "set" / "sad")
    warnings = read_dataset(tmp_path / "set").warnings
    assert f"skipped 1 image in {tmp_path / 'set' / 'sad'}, outside its folders." in warnings


def test_split_folders_inside_only_some_classes_are_refused(tmp_path, fill):
    fill(tmp_path / "set", each=2)
    fill(tmp_path / "set" / "sad", ["train", "test"], each=2)
    assert "happy has no split folders, unlike the folders beside it" in refusal(tmp_path / "set")


@pytest.mark.parametrize("place", ["train/happy/test", "train/test/happy"])
def test_a_split_inside_another_is_refused(tmp_path, fill, place):
    """Training would use its images."""
    fill(tmp_path / "set" / "train", each=2)
    fill(tmp_path / "set" / place, ["more"], each=2)
    assert str(tmp_path / "set" / "train") in refusal(tmp_path / "set")
    assert "inside the one for train" in refusal(tmp_path / "set") or "inside one for train" in refusal(
        tmp_path / "set"
    )


@pytest.mark.parametrize("within", ["images", "train", "48x48"])
def test_an_outer_folder_inside_a_split_does_not_matter(tmp_path, fill, within):
    fill(tmp_path / "set" / "train" / within, each=12)
    fill(tmp_path / "set" / "valid", each=3)
    fill(tmp_path / "set" / "test", each=2)
    assert sizes(read_dataset(tmp_path / "set")) == EXPECTED


def test_a_split_without_class_folders_is_refused(tmp_path, fill):
    fill(tmp_path / "set" / "train", each=2)
    (tmp_path / "set" / "valid").mkdir()
    assert f"{tmp_path / 'set' / 'valid'} has no class folders" in refusal(tmp_path / "set")


def test_a_test_split_without_class_folders_gives_a_warning(tmp_path, fill):
    """Contests publish such a test split."""
    fill(tmp_path / "set" / "train", each=12)
    fill(tmp_path / "set", ["test"], each=3)
    dataset = read_dataset(tmp_path / "set")
    assert list(dataset.splits) == [Split.TRAIN, Split.VALID]
    assert "test has 3 images, but no class folders; expected" in dataset.warnings[0]


def test_a_link_to_itself_is_not_a_folder(tmp_path, fill):
    folder = fill(tmp_path / "set", each=12)
    (folder / "loop").symlink_to(folder / "loop")
    assert len(read_dataset(folder).splits) == 2


def test_archives_beside_the_folders_give_a_warning(tmp_path, fill):
    fill(tmp_path / "set", each=12)
    for name in ("more.zip", "raw.7z", "fer2013.tar.gz"):
        (tmp_path / "set" / name).write_bytes(b"PK")
    warnings = read_dataset(tmp_path / "set").warnings
    assert warnings == (f"skipped 3 archives in {tmp_path / 'set'}: fer2013.tar.gz, more.zip, raw.7z.",)


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_a_folder_with_only_an_archive_of_the_csv_is_read(tmp_path, content, kind):
    """FER-2013's download has train.csv and test.csv, too, but they lack columns."""
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "fer.zip", "w") as archive:
            archive.writestr("fer2013/fer2013.csv", content)
    else:
        info = tarfile.TarInfo("fer2013/fer2013.csv")
        info.size = len(content)
        with tarfile.open(tmp_path / "fer2013.tar.gz", "w:gz") as archive:
            archive.addfile(info, io.BytesIO(content))
    (tmp_path / "train.csv").write_text("emotion,pixels\n0,1 2 3\n")
    (tmp_path / "test.csv").write_text("pixels\n1 2 3\n")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(content)[:20])  # damaged files have no columns, either
    dataset = read_dataset(tmp_path)
    assert {split: len(images) for split, images in dataset.splits.items()} == dict.fromkeys(Split, 14)
    assert dataset.warnings[0].endswith(f"{kind}, and skipped cut.csv.gz, test.csv, train.csv beside it.")


def test_a_folder_with_only_a_csv_of_any_name_is_read(tmp_path, content):
    (tmp_path / "mine.csv.gz").write_bytes(gzip.compress(content))
    assert len(read_dataset(tmp_path).splits[Split.TRAIN]) == 14
    (tmp_path / "fer2013new.csv").touch()
    assert find_ferplus(str(tmp_path), environment={}) == tmp_path / "fer2013new.csv"


def test_a_folder_with_several_suitable_files_is_refused(tmp_path, content):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_bytes(content)
    assert "several files with FER-2013's columns: a.csv, b.csv; name one with --data" in refusal(tmp_path)


def test_folders_beside_the_csv_are_skipped_with_a_warning(tmp_path, fill, path):
    fill(tmp_path / "train", each=1)
    assert read_dataset(tmp_path).warnings == (f"read {path}, and skipped train beside it.",)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["a.png", "b.jpg"], "has 2 images, but no class folders"),
        (["images.zip", "labels.csv"], "has images.zip, labels.csv, but no class folders"),
        (["a.png", "b.rar"], "has b.rar and 1 image, but no class folders"),
        ([], "has no class folders; expected happy/, sad/ and so on, or train/happy/"),
    ],
)
def test_the_error_for_a_folder_without_classes_names_its_content(tmp_path, names, told):
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    assert told in refusal(tmp_path)


def test_links_to_files_are_read_and_links_to_folders_counted(tmp_path, fill):
    """DVC, git-annex and caches of model hubs store data as links."""
    store = fill(tmp_path / "store", each=12)
    for emotion in EMOTIONS:
        (tmp_path / "set" / emotion).mkdir(parents=True)
        for path in (store / emotion).iterdir():
            (tmp_path / "set" / emotion / path.name).symlink_to(path)
    (tmp_path / "set" / "sad" / "more").symlink_to(store / "sad")
    dataset = read_dataset(tmp_path / "set")
    assert sum(map(len, dataset.splits.values())) == 12 * 7
    assert dataset.warnings == ("train: skipped 1 link to folders inside the class folders.",)


def test_the_first_five_broken_links_are_listed_and_all_are_counted(tmp_path, fill):
    fill(tmp_path / "set", each=2)
    for number in range(7):
        (tmp_path / "set" / "sad" / f"x{number}.png").symlink_to(tmp_path / "gone" / str(number))
    lines = refusal(tmp_path / "set").splitlines()
    assert lines[0].endswith("7 mistakes, the first 5:")
    assert "x0.png: no such file: it is a link that leads nowhere" in lines[1]
    assert len(lines) == 6
