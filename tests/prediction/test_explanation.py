"""`predict --explain`: the part of a face that the prediction depends on."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from emotify.cli import app
from emotify.prediction.explanation import cover, explain


class Mouth:
    """A classifier that reads happy from one bright region, and fear from another."""

    def probabilities(self, images):
        happy, fear = images[:, 0, 34:38, 22:26].mean((1, 2)) / 255, images[:, 0, 10:14, 6:10].mean((1, 2)) / 255
        answers = np.zeros((len(images), 7), np.float32)
        answers[:, 3], answers[:, 2] = happy, 0.5 * fear
        answers[:, 3] -= 0.1 * fear
        return answers


def command(*words: object, code: int = 0):
    result = CliRunner().invoke(app, ["predict", *map(str, words)])
    assert result.exit_code == code, result.output
    return result


def test_covered_copies_differ_in_the_patch_only():
    """Each copy covers at most one patch with the mean grey of the face. Together the copies cover every pixel."""
    face = np.random.default_rng(0).integers(0, 256, (48, 48)).astype(np.uint8)
    copies = cover(face)
    changed = copies != face
    assert copies.shape == (169, 48, 48)
    assert changed.sum((1, 2)).max() <= 144
    assert (copies[changed] == round(face.mean())).all()
    assert (changed.any(0) | (face == round(face.mean()))).all()


def test_an_explanation_finds_the_decisive_region():
    """Covering the region of the predicted class lowers its probability most. Covering that of fear raises it most."""
    face = np.full((48, 48), 40, np.uint8)
    face[34:38, 22:26], face[10:14, 6:10] = 250, 250
    found = explain(Mouth(), face)
    assert (found.label, found.drops.shape) == ("happy", (13, 13))
    assert np.argwhere(found.drops == found.drops.max()).mean(0) == pytest.approx((36 / 4, 24 / 4), abs=0.6)
    assert np.argwhere(found.drops == found.drops.min()).mean(0) == pytest.approx((12 / 4, 8 / 4), abs=0.6)
    assert found.drops[0, 12] == 0


def test_explain_writes_one_picture_per_face(onnx_file, class_folder, tmp_path):
    """For small crops and large pictures, and for equal names in two folders. The file names are safe on any system."""
    face = Image.open(next(class_folder.rglob("*.png")))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    face.save(tmp_path / "a" / "x.png")
    face.resize((300, 300)).convert("RGB").save(tmp_path / "b" / "X.jpg")
    face.save(tmp_path / "a" / "-=<b>$x$ \u202e.png")
    options = (tmp_path / "a", tmp_path / "b", "--faces", "whole", "--model", onnx_file, "--explain", tmp_path / "why")
    plain = command(*options[:-2]).stdout
    assert command(*options).stdout == plain
    names = sorted(path.name for path in (tmp_path / "why").iterdir())
    assert names == ["X-1~2.png", "__b__x___-1.png", "x-1.png"]
    with Image.open(tmp_path / "why" / "x-1.png") as picture:
        assert picture.width > 900
        assert (np.ptp(np.asarray(picture.convert("RGB")).astype(int), axis=2) > 30).any()


def test_explain_overwrites_nothing(onnx_file, class_folder, tmp_path):
    """Exit 6 before any work if the folder exists. --force writes into it."""
    (tmp_path / "why").mkdir()
    picture = next(class_folder.rglob("*.png"))
    options = (picture, "--model", onnx_file, "--explain", tmp_path / "why")
    assert "--force" in command(*options, code=6).stderr
    command(*options, "--force")
    assert [path.name for path in (tmp_path / "why").iterdir()] == [f"{picture.stem}-1.png"]
    original = tmp_path / "why" / "face.png"
    original.write_bytes(picture.read_bytes())
    assert "name another folder" in command(original, *options[1:], "--force", code=2).stderr
    assert original.read_bytes() == picture.read_bytes()


def test_explanations_inside_the_input_folder_are_not_read(onnx_file, class_folder, tmp_path):
    (tmp_path / "face.png").write_bytes(next(class_folder.rglob("*.png")).read_bytes())
    options = (tmp_path, "--model", onnx_file, "--explain", tmp_path / "why", "--jsonl")
    command(*options)
    assert len(command(*options, "--force").stdout.splitlines()) == 1
