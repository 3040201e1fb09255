"""Class folders: which files are read, in which order, and how a part of train becomes valid."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from emotify.cli import app
from emotify.data import Split, read_dataset
from emotify.detection.detector import DEFAULT_SEARCH, load_detector
from emotify.emotions import EMOTIONS
from emotify.pictures.decoding import Picture
from emotify.pictures.reading import read_picture
from emotify.prediction.crops import classifier_input, find_faces
from tests.data.outcomes import refusal, sizes


def test_without_valid_10_percent_of_train_become_valid(folder):
    dataset = read_dataset(folder)
    assert sizes(dataset) == {"train": [9] * 7, "valid": [1] * 7, "test": [2] * 7}
    assert dataset.notes == ("valid is missing: 7 images of train, 10 % of each class, become valid (seed 0).",)


def test_images_have_the_order_of_their_names(tmp_path, fill):
    fill(tmp_path / "test", EMOTIONS[::-1], each=12)
    test = read_dataset(tmp_path).splits[Split.TEST]
    paths = sorted((tmp_path / "test").rglob("*.png"))
    np.testing.assert_array_equal(test.images[:, 0], [np.asarray(Image.open(path)) for path in paths])
    assert test.labels.tolist() == [EMOTIONS.index(path.parent.name) for path in paths]


@pytest.mark.parametrize("name", ["valid", "val", "validation", "Validation"])
def test_an_existing_valid_folder_is_used_unchanged(folder, fill, name):
    fill(folder / name, each=3)
    assert sizes(read_dataset(folder)) == {"train": [10] * 7, "valid": [3] * 7, "test": [2] * 7}


def test_class_folders_without_splits_give_train_and_valid(tmp_path, fill):
    assert sizes(read_dataset(fill(tmp_path / "mine", each=20))) == {"train": [18] * 7, "valid": [2] * 7}


def test_scoring_held_out_images_of_train_gives_a_warning(tmp_path, fill):
    told = "valid is missing: 14 images of train, 10 % of each class, become valid (seed 0)."
    folder = fill(tmp_path / "mine", each=20)
    assert read_dataset(folder, scored=Split.VALID).warnings == (told,)
    assert read_dataset(folder).notes == (told,)


def test_a_single_test_folder_can_be_scored(tmp_path, fill):
    fill(tmp_path / "test", each=2)
    assert sizes(read_dataset(tmp_path)) == {"test": [2] * 7}


def test_an_outer_folder_does_not_matter(folder):
    assert sizes(read_dataset(folder.parent)) == sizes(read_dataset(folder))


@pytest.mark.parametrize(
    "names",
    [
        ("anger", "disgusted", "fearful", "happiness", "sadness", "Surprised", "NEUTRAL"),
        ("0", "1", "2", "3", "4", "5", "6"),
        ("0_angry", "1_disgust", "2_fear", "3_happy", "4_sad", "5_surprise", "6_neutral"),
    ],
)
def test_other_spellings_mean_the_same_classes(tmp_path, fill, names):
    fill(tmp_path / "test", names[:1], each=3)
    fill(tmp_path / "test", names[1:], each=2)
    assert sizes(read_dataset(tmp_path)) == {"test": [3, 2, 2, 2, 2, 2, 2]}


def test_two_spellings_of_one_class_are_one_class(folder, fill):
    fill(folder / "test", ["happiness"], each=5)
    assert sizes(read_dataset(folder))["test"] == [2, 2, 2, 7, 2, 2, 2]


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("hapy", "did you mean happy?"),
        ("contempt", "exclude it with --exclude-classes contempt"),
        ("tired", "exclude it"),
    ],
)
def test_an_unknown_class_is_refused_with_a_suggestion(folder, fill, name, advice):
    fill(folder / "train", [name], each=1)
    message = refusal(folder)
    assert str(folder / "train" / name) in message
    assert advice in message


def test_a_folder_beside_the_splits_is_skipped_with_a_warning(folder, fill):
    fill(folder / "runs", ["whatever"], each=1)
    assert f"skipped {folder / 'runs'}: its name is not train, valid or test." in read_dataset(folder).warnings


def test_a_misspelt_split_is_refused(folder, fill):
    """The folder must not be skipped, as 10 % of train would then become valid."""
    fill(folder / "vaild", each=1)
    assert "did you mean valid?" in refusal(folder)


def test_two_folders_for_one_split_are_refused(folder, fill):
    fill(folder / "training", each=1)
    assert "second folder for train" in refusal(folder)


def test_control_characters_in_the_name_of_a_split_are_escaped(tmp_path):
    """The error for two folders of one split names the second folder."""
    for name in ("\x18train", "train"):
        (tmp_path / name / "happy").mkdir(parents=True)
    assert refusal(tmp_path).isascii()
    assert "beside \\x18train; remove one of them" in refusal(tmp_path)


def test_images_in_deeper_folders_are_read(folder, noise):
    (folder / "test" / "sad" / "more" / "still").mkdir(parents=True)
    noise().save(folder / "test" / "sad" / "more" / "still" / "x.png")
    assert sizes(read_dataset(folder))["test"] == [2, 2, 2, 2, 3, 2, 2]


def test_an_empty_class_is_refused_with_the_counts(folder):
    for path in (folder / "train" / "fear").iterdir():
        path.unlink()
    message = refusal(folder)
    assert "train has images of 6 of the 7 classes" in message
    assert "fear 0" in message


def test_a_class_with_one_image_is_refused(folder):
    """One image cannot be in both train and valid."""
    for path in sorted((folder / "train" / "fear").iterdir())[1:]:
        path.unlink()
    message = refusal(folder)
    assert "valid has images of 6 of the 7 classes" in message
    assert "train: angry 9, disgust 9, fear 1" in message


def test_an_empty_folder_is_refused(tmp_path):
    assert "has no class folders" in refusal(tmp_path)


def test_hidden_files_are_skipped_silently_and_other_files_with_a_warning(folder):
    (folder / "test" / "sad" / ".DS_Store").write_bytes(b"x")
    (folder / "test" / "sad" / "._0.png").write_bytes(b"x")
    (folder / "test" / ".hidden").mkdir()
    (folder / "__MACOSX").mkdir()
    (folder / "README.txt").write_text("x")
    (folder / "test" / "sad" / "Thumbs.db").write_bytes(b"x")
    (folder / "test" / "sad" / "list.txt").write_text("x")
    (folder / "test" / "sad" / "notes").write_text("x")
    (warning,) = read_dataset(folder).warnings
    assert warning == "test: skipped 2 files without a picture's extension: .txt 1, no extension 1."


def test_images_outside_the_class_folders_give_a_warning(folder):
    for place in (folder / "test", folder):
        shutil.copy(folder / "test" / "sad" / "0.png", place / "loose.png")
    warnings = read_dataset(folder).warnings
    for place in (folder / "test", folder):
        assert f"skipped 1 image in {place}, outside its folders." in warnings


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_an_unreadable_image_is_refused_with_its_path(folder, content):
    path = folder / "train" / "happy" / "5.png"
    path.write_bytes(content)
    assert str(path) in refusal(folder)


def test_a_truncated_image_is_refused(folder):
    path = folder / "train" / "happy" / "5.png"
    path.write_bytes(path.read_bytes()[:1500])
    assert str(path) in refusal(folder)


def test_a_huge_image_is_refused_before_decoding(folder):
    path = folder / "train" / "happy" / "5.png"
    Image.new("1", (20_000, 20_000)).save(path)
    assert f"{path}: 20000x20000, more than 50 megapixels" in refusal(folder)


def test_a_pipe_among_the_images_is_refused_without_waiting(folder):
    os.mkfifo(folder / "train" / "happy" / "x.png")
    assert "x.png: a pipe, not a file" in refusal(folder)


def save_as(folder, ending, **options):
    """Save every second picture of test in another format."""
    for path in sorted((folder / "test").rglob("1.png")):
        Image.open(path).save(path.with_suffix(ending), **options)
        path.unlink()


@pytest.mark.parametrize("ending", [".avif", ".heic", ".mpo", ".jpg"])
def test_class_folders_may_have_all_formats_of_predict(folder, ending):
    if ending == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    save_as(folder, ending)
    dataset = read_dataset(folder)
    assert sizes(dataset)["test"] == [2] * 7
    assert dataset.warnings == ()


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("1.jxl", b"\xff\x0a" + bytes(99), "JPEG XL files are not read; convert it to PNG or JPEG"),
        ("1.jp2", b"\0\0\0\x0cjP  " + bytes(99), "JPEG 2000 files are not read; convert it to PNG or JPEG"),
        ("1.png", b"%!PS-Adobe-3.0 EPSF-3.0\n", "EPS files are not read; convert it to PNG or JPEG"),
    ],
)
def test_pictures_in_unsupported_formats_are_skipped_and_counted(folder, name, content, why):
    for emotion in ("happy", "sad"):
        (folder / "test" / emotion / "1.png").unlink()
        (folder / "test" / emotion / name).write_bytes(content)
    dataset = read_dataset(folder)
    assert sizes(dataset)["test"] == [2, 2, 2, 1, 1, 2, 2]
    first = folder / "test" / "happy" / name
    assert dataset.warnings == (f"test: skipped 2 pictures, first {first}: {why}.",)


def test_pictures_of_several_frames_are_counted(folder, noise):
    noise().save(folder / "test" / "sad" / "x.gif", save_all=True, append_images=[noise(), noise()])
    dataset = read_dataset(folder)
    assert sizes(dataset)["test"] == [2, 2, 2, 2, 3, 2, 2]
    assert dataset.warnings == ("test: 1 picture with several frames; only the first frame of each is read.",)


@pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is not None, reason="HEIC can be read here")
def test_skipped_heic_pictures_name_the_missing_package(folder):
    (folder / "test" / "happy" / "1.png").unlink()
    (folder / "test" / "happy" / "1.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    (warning,) = read_dataset(folder).warnings
    assert "skipped 1 picture" in warning
    assert "HEIC needs" in warning


def test_skipped_pictures_are_reported_with_quiet_and_in_json(folder):
    (folder / "test" / "happy" / "1.png").write_bytes(b"\xff\x0a" + bytes(99))
    words = ["evaluate", "fast", "--data", str(folder), "--split", "test", "--json", "--quiet"]
    result = CliRunner().invoke(app, words)
    document = json.loads(result.stdout)
    assert document["results"][0]["n"] == 13
    assert "skipped 1 picture" in result.stderr
    assert "skipped 1 picture" in document["data"]["warnings"][0]


def test_the_first_five_unreadable_pictures_are_listed_and_all_are_counted(folder):
    for path in (folder / "test").rglob("*.png"):
        path.write_bytes(b"no picture")
    lines = refusal(folder).splitlines()
    assert lines[0] == f"{folder}: 14 mistakes, the first 5:"
    assert lines[1].startswith(f"  {folder / 'test' / 'angry' / '0.png'}: no picture format")
    assert len(lines) == 6


def test_control_characters_in_a_class_name_are_escaped(folder, fill):
    fill(folder / "train", ["\x1b[2J"], each=1)
    assert r"\x1b[2J is not one of the classes" in refusal(folder)


def save_first_sad(folder, picture, name="0.png", **options):
    """Save `picture` as the first sad image of test, and return its pixels as read."""
    (folder / "test" / "sad" / "0.png").unlink()
    picture.save(folder / "test" / "sad" / name, **options)
    test = read_dataset(folder).splits[Split.TEST]
    return test.images[test.labels == EMOTIONS.index("sad")][0, 0]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "1", "CMYK"])
def test_colours_become_grey(folder, mode):
    white = Image.new("RGB", (48, 48), "white").convert(mode)
    assert (save_first_sad(folder, white, "0.tiff") == 255).all()


def test_16_bit_pixels_become_8_bits(folder):
    """Pillow's own conversion would make most pixels white."""
    pixels = np.arange(48 * 48, dtype=np.uint16).reshape(48, 48) * 28
    np.testing.assert_array_equal(save_first_sad(folder, Image.fromarray(pixels)), pixels >> 8)


def test_32_bit_integer_pixels_become_8_bits(folder):
    half = np.full((48, 48), 0.5, np.float32)
    assert (save_first_sad(folder, Image.fromarray(half), "0.tiff") == 127).all()
    Image.fromarray(half * np.nan).save(folder / "train" / "sad" / "x.tiff")
    assert "NaN" in refusal(folder)


@pytest.mark.parametrize("size", [(48, 48), (48, 64), (200, 90), (31, 30)])
def test_training_and_predict_read_the_same_pixels(folder, size):
    """Neither of them stretches a picture that is not square."""
    image = Image.effect_noise(size, 90).resize(size)
    seen = save_first_sad(folder, image)
    picture = Picture(image, *size)
    (face,) = find_faces(picture, "whole", load_detector)
    np.testing.assert_array_equal(seen, classifier_input(picture, face.square))


@pytest.mark.parametrize("size", [(400, 300), (5300, 400)])
def test_training_and_predict_read_the_same_pixels_of_a_jpeg(folder, size):
    """Both read a large JPEG at a fraction of its size, and a smaller one at full size."""
    image = Image.effect_noise((size[0] // 10, size[1] // 10), 90).resize(size)
    seen = save_first_sad(folder, image, "0.jpg")
    picture = read_picture(folder / "test" / "sad" / "0.jpg", enough_side=DEFAULT_SEARCH.enough_side)
    assert isinstance(picture, Picture)
    (face,) = find_faces(picture, "whole", load_detector)
    np.testing.assert_array_equal(seen, classifier_input(picture, face.square))


def test_transparent_pixels_become_grey(folder):
    palette = Image.new("P", (48, 48))
    palette.putpalette([255, 255, 255, 0, 0, 0])
    assert (save_first_sad(folder, palette, transparency=b"\0\xff") == 128).all()


def test_other_sizes_are_resized(folder):
    """The left half of a picture stays black at any width and height."""
    pixels = np.zeros((300, 200), np.uint8)
    pixels[:, 100:] = 255
    image = save_first_sad(folder, Image.fromarray(pixels))
    assert image[:, :22].max() < 20
    assert image[:, 26:].min() > 235


def test_exif_orientation_is_applied(folder, noise):
    """The EXIF orientation of a photograph turns it upright."""
    picture = noise()
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    np.testing.assert_array_equal(save_first_sad(folder, picture, exif=exif), np.asarray(picture)[::-1, ::-1])


def test_a_picture_with_damaged_exif_is_read(folder, noise):
    """Pillow's warning does not reach the terminal."""
    assert save_first_sad(folder, noise(), "0.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01").shape == (48, 48)


def test_the_valid_split_depends_only_on_seed_and_pixels(folder):
    """It does not depend on the names or the order of the files."""
    valid = read_dataset(folder).splits[Split.VALID]
    assert read_dataset(folder, seed=0).splits[Split.VALID].sha256() == valid.sha256()
    assert read_dataset(folder, seed=1).splits[Split.VALID].sha256() != valid.sha256()
    for path in (folder / "train").rglob("*.png"):
        path.rename(path.with_name(f"{9 - int(path.stem)}-renamed.png"))
    assert read_dataset(folder).splits[Split.VALID].sha256() == valid.sha256()


@pytest.mark.parametrize("seed", range(5))
def test_identical_images_are_in_the_same_split(tmp_path, fill, noise, seed):
    """This holds for images with different labels, too."""
    folder = fill(tmp_path / "mine", each=12)
    for _ in range(5):
        picture = noise()
        for copy in ("happy/a", "happy/b", "happy/c", "sad/d"):
            picture.save(folder / f"{copy}{_}.png")
    dataset = read_dataset(folder, seed=seed)
    assert not any("with train, pixel for pixel" in note for note in dataset.notes)
    assert dataset.splits[Split.VALID].counts().min() > 0
    assert sum(map(len, dataset.splits.values())) == 7 * 12 + 20
