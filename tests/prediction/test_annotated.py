"""Annotated copies: pictures with boxes and labels drawn on them."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import get_sampling
from typer.testing import CliRunner

from emotify.cli import app
from emotify.opening import packaged_models
from emotify.palette import colour_of
from emotify.prediction.annotated import draw_faces
from emotify.prediction.faces import FaceResult
from emotify.prediction.outputs.copies import safe_name

HAPPY = (0.02, 0.01, 0.02, 0.81, 0.04, 0.03, 0.07)


def predict(*words: object, code: int = 0):
    options = ["--model", str(packaged_models()["default"]), "--faces", "whole", "--threads", "1"]
    result = CliRunner().invoke(app, ["predict", *map(str, words), *options])
    assert result.exit_code == code, result.output
    return result


def has_colour(image: Image.Image, colour: str) -> np.ndarray:
    return np.asarray((np.asarray(image) == [int(colour[place : place + 2], 16) for place in (1, 3, 5)]).all(axis=-1))


@pytest.mark.parametrize("side", [100, 400, 1600, 6000])
def test_boxes_and_labels_grow_with_the_picture(side):
    """At any size, lines are about 1/320 of the side and labels at least 11 pixels high, in the same colour."""
    box = (0.4 * side, 0.4 * side, 0.6 * side, 0.6 * side)
    drawn = draw_faces(Image.new("RGB", (side, side), "white"), [FaceResult(box, 0.9, HAPPY)])
    yellow = has_colour(drawn, colour_of("happy"))
    size = drawn.width
    rows, columns = np.nonzero(yellow)
    line = yellow[round(0.5 * size), : round(0.5 * size)].sum()
    assert max(2, size // 400) <= line <= max(3, size // 250)
    label = np.nonzero(yellow[:, round(0.42 * size)])[0]
    assert max(11, size // 90) < np.sum(label < 0.4 * size) < size // 8
    assert 0.35 * size < columns.min()
    assert columns.max() < 0.75 * size
    assert rows.max() == pytest.approx(0.6 * size, abs=2)


def test_boxes_on_a_grey_picture_are_coloured():
    drawn = draw_faces(Image.new("L", (200, 200), 128), [FaceResult((20, 20, 180, 180), 0.9, HAPPY)])
    colours = {colour for _, colour in drawn.getcolors(200 * 200) or []}
    assert any(len(set(colour)) > 1 for colour in colours if isinstance(colour, tuple))


def test_labels_stay_inside_the_picture_and_do_not_overlap():
    """Faces lie at every edge and side by side. Each face has a readable label."""
    boxes = [(0, 0, 40, 40), (560, 0, 600, 40), (0, 360, 40, 400), (280, 180, 320, 220), (325, 180, 365, 220)]
    faces = [FaceResult(box, 0.9, tuple(np.eye(7)[index] * 0.8 + 0.02)) for index, box in enumerate(boxes)]
    drawn = draw_faces(Image.new("RGB", (600, 400), "white"), faces)
    assert drawn.size == (600, 400)
    for face in faces:
        rows = has_colour(drawn, colour_of(face.label)).sum(axis=1)
        assert np.sum(rows > 45) >= 4, face.label  # nothing covers a label above and below its letters
        assert 11 <= np.sum(rows > 15) <= 30, face.label


def test_uncertain_boxes_are_dashed():
    """Dashes show the uncertainty without colours, too."""
    unsure = FaceResult((100, 100, 300, 300), 0.9, HAPPY, uncertain=True)
    drawn = draw_faces(Image.new("RGB", (400, 400), "white"), [unsure])
    side = has_colour(drawn, colour_of("uncertain"))[120:280, 100]
    assert np.count_nonzero(np.diff(side.astype(int))) > 8


def test_copies_keep_the_folders_and_names_of_their_pictures(class_folder, tmp_path):
    """Equal names in two folders, or with two suffixes, get separate copies. The originals do not change."""
    happy = (class_folder / "happy" / "0.png").read_bytes()
    with Image.open(class_folder / "happy" / "0.png") as image:
        for number, name in enumerate(("a/x.gif", "a/x.gif.jpg", "b/x.gif", "b/y.bmp")):
            (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
            image.rotate(number).save(tmp_path / "in" / name)
    predict(class_folder / "happy", tmp_path / "in", "--annotate", tmp_path / "out")
    copies = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(copies) == len({path.read_bytes() for path in copies}) == 6
    assert {path.suffix for path in copies} == {".png", ".jpg"}
    assert (class_folder / "happy" / "0.png").read_bytes() == happy
    predict(class_folder / "happy", "--annotate", tmp_path / "flat")
    assert sorted(path.name for path in (tmp_path / "flat").iterdir()) == ["0.png", "1.png"]
    predict(class_folder / "happy", class_folder / "sad" / "0.png", "--annotate", tmp_path / "two")
    found = sorted(str(path.relative_to(tmp_path / "two")) for path in (tmp_path / "two").rglob("*.png"))
    assert found == ["happy/0.png", "happy/1.png", "sad/0.png"]


def test_pictures_with_unusual_suffixes_get_their_own_copies(class_folder, tmp_path):
    """A JPEG file named `x` gets a copy with the suffix .jpg. It does not replace the copy of `x.jpg`."""
    with Image.open(class_folder / "happy" / "0.png") as image:
        for number, name in enumerate(("x", "x.jpg", "x.part", "x.part.jpg")):
            image.rotate(90 * number).save(tmp_path / name, "JPEG")
    predict(*(tmp_path / name for name in ("x", "x.jpg", "x.part", "x.part.jpg")), "--annotate", tmp_path / "out")
    copies = list((tmp_path / "out").iterdir())
    assert len(copies) == len({path.read_bytes() for path in copies}) == 4
    assert {"x.jpg", "x.part.jpg"} < {path.name for path in copies}
    assert {path.suffix for path in copies} == {".jpg"}


def test_copies_overwrite_nothing(class_folder, tmp_path):
    """An existing copy is exit 6. --force replaces copies, but never an original. Links are not followed."""
    out = tmp_path / "out"
    picture = class_folder / "happy" / "0.png"
    predict(picture, "--annotate", out)
    (out / "0.png").write_text("mine")
    assert "0.png already exists" in predict(picture, "--annotate", out, code=6).stderr
    assert (out / "0.png").read_text() == "mine"
    predict(picture, "--annotate", out, "--force")
    before = (out / "0.png").read_bytes()
    assert "--annotate" in predict(out / "0.png", "--annotate", out, "--force", code=2).stderr
    assert (out / "0.png").read_bytes() == before
    (tmp_path / "link").symlink_to(out)
    assert "link" in predict(picture, "--annotate", tmp_path / "link", code=6).stderr


def test_a_broken_link_at_the_path_of_a_copy_is_kept(class_folder, tmp_path):
    """Nothing is written to the target of the link. With --append the link counts as an existing copy."""
    happy, copies = class_folder / "happy", tmp_path / "copies"
    copies.mkdir()
    (copies / "0.png").symlink_to(tmp_path / "nowhere")
    lines = tmp_path / "lines.jsonl"
    predict(happy, "--annotate", copies, "--jsonl-file", lines, "--append")
    assert (copies / "1.png").exists()
    predict(happy / "0.png", "--annotate", copies, code=6)
    assert (copies / "0.png").is_symlink()
    assert not (tmp_path / "nowhere").exists()


def test_a_picture_named_twice_gets_one_copy(class_folder, tmp_path):
    """Each mention has its own row."""
    picture = class_folder / "happy" / "0.png"
    result = predict(picture, class_folder / "happy", picture, "--annotate", tmp_path / "out", "--jsonl")
    assert len(result.stdout.splitlines()) == 4
    assert len(list((tmp_path / "out").rglob("*.png"))) == 2


def test_copies_inside_the_input_folder_are_not_read(class_folder, tmp_path):
    """The output folder may lie inside the input folder."""
    shutil.copytree(class_folder / "sad", tmp_path / "sad")
    for _ in range(2):
        predict(tmp_path / "sad", "--annotate", tmp_path / "sad" / "0marked", "--force")
        assert len(list((tmp_path / "sad").rglob("*.png"))) == 4


def test_names_of_copies_are_safe():
    """Names are printable, short, unique, and not reserved on any system."""
    names = ["a\x1b[31m.png", "a\x1b[32m.png", "new\nline.png", "\u202egnp.png", os.fsdecode(b"caf\xe9.png"), "x" * 255,
             "con.png", "..", "-rf.png", "~x", "a:b?.png", "dot.", " .png", "a\\b.png", "写" * 80 + ".png"]  # fmt: skip
    safe = [safe_name(name) for name in names]
    assert len(set(safe)) == len(names)
    for name in safe:
        assert name.isprintable()
        assert 0 < len(name.encode()) <= 140
        assert not set(name) & set('<>:"/\\|?*')
        assert name.strip(". ") == name.lstrip("-~")
        assert name != "con.png"
    for name in ("IMG 1.jpg", "写真.png", "_a-b.c", "x" * 116 + ".png", "写" * 38 + "xx.png"):  # up to 120 bytes
        assert safe_name(name) == name
    for name in ("x" * 117 + ".png", "写" * 38 + "xxx.png"):
        assert len(safe_name(name).encode()) <= 120
    assert safe_name("a:b?.png").startswith("a_b_-")


def test_jpeg_copies_have_no_chroma_subsampling(tmp_path):
    """It would blur thin lines and small letters."""
    Image.new("RGB", (64, 64), "white").save(tmp_path / "a.jpg")
    predict(tmp_path / "a.jpg", "--annotate", tmp_path / "out")
    with Image.open(tmp_path / "out" / "a.jpg") as copy:
        assert get_sampling(copy) == 0  # 4:4:4


def test_copies_of_large_pictures_have_full_size(tmp_path):
    """The detector reads a large JPEG file at reduced size. The copy has full size, is upright and has no EXIF data."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "camera"
    Image.new("L", (6000, 4000), 90).save(tmp_path / "large.jpg", exif=exif)
    predict(tmp_path / "large.jpg", "--annotate", tmp_path / "out")
    with Image.open(tmp_path / "out" / "large.jpg") as copy:
        assert copy.size == (4000, 6000)
        assert not copy.getexif()


def test_standard_input_can_be_annotated(class_folder, tmp_path):
    """Standard input cannot be read twice, so the copy is drawn from the pixels in memory."""
    content = (class_folder / "happy" / "0.png").read_bytes()
    words = ["predict", "-", "--annotate", str(tmp_path / "out"), "--model", str(packaged_models()["default"])]
    result = CliRunner().invoke(app, words, input=content)
    assert result.exit_code == 0, result.output
    assert [path.suffix for path in (tmp_path / "out").iterdir()] == [".jpg"]
