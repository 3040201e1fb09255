"""Finding faces: on real photographs, and what holds of the boxes whatever the picture."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from typer.testing import CliRunner

from emotify.cli import app
from emotify.detection.blazeface import first_windows, second_windows
from emotify.detection.boxes import average_overlapping, best_scores, drop_inner, overlaps
from emotify.detection.detector import Box, Detector, Search, load_detector
from emotify.errors import ModelError
from emotify.pictures.reading import Failure, Picture, read_picture
from emotify.prediction.crops import find_faces


@pytest.fixture(scope="session")
def detector() -> Detector:
    return load_detector(threads=1)


def test_photographs(shared, detector):
    """At least 97 % of the clearly visible faces are found, and at most one box is none; no photograph is a crop."""
    found = expected = false = 0
    with (shared / "photos/truth.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            picture = read_picture(shared / "photos" / row["file"])
            if isinstance(picture, Failure):
                assert picture.status == "unsupported"  # HEIF without its extra
                continue
            faces = find_faces(picture, "auto", lambda: detector)
            assert all(face.detection for face in faces), row["file"]
            truth = int(row["faces"])
            expected += truth
            found += min(truth, len(faces))
            false += max(0, len(faces) - truth)
    assert expected >= 25
    assert found >= 0.97 * expected
    assert false <= 1


def test_the_box_follows_the_face(shared, detector):
    """Mirrored, enlarged or set into a corner of a larger picture, the same face is found in the same place."""
    picture = read_picture(shared / "photos/sk_astronaut.jpg")
    assert isinstance(picture, Picture)
    image = picture.image
    (plain,) = detector(np.asarray(image))
    changed: dict[str, tuple[Image.Image, Callable[[float, float], tuple[float, float]]]] = {
        "mirrored": (image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), lambda x, y: (512 - x, y)),
        "enlarged": (image.resize((1800, 1800)), lambda x, y: (x * 1800 / 512, y * 1800 / 512)),
        "in a corner": (_in_corner(image), lambda x, y: (x + 700, y + 300)),
    }
    for name, (other, place) in changed.items():
        (box,) = detector(np.asarray(other))
        centre = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
        expected = place((plain.x0 + plain.x1) / 2, (plain.y0 + plain.y1) / 2)
        assert np.hypot(centre[0] - expected[0], centre[1] - expected[1]) < 0.08 * (box.x1 - box.x0), name


def _in_corner(image: Image.Image) -> Image.Image:
    larger = Image.new("RGB", (1212, 812), (90, 120, 90))
    larger.paste(image, (700, 300))
    return larger


@pytest.mark.parametrize("side", [96, 200])
def test_enlarged_fer2013_images_are_one_face_and_most_taken_whole(shared, detector, side):
    """At least 69 % are taken whole, as a crop is meant to be; of photographs none is, see above."""
    sheet = np.asarray(Image.open(shared / "fer2013/PublicTest.png"))
    one = tight = 0
    for cell in range(310, 3400, 77):
        row, column = (48 * place for place in divmod(cell, 60))
        image = Image.fromarray(sheet[row : row + 48, column : column + 48]).resize((side, side)).convert("RGB")
        picture = Picture(image, side, side)
        one += len(detector(np.asarray(image))) == 1
        tight += [face.detection for face in find_faces(picture, "auto", lambda: detector)] == [None]
    assert one >= 0.85 * 41
    assert tight >= 0.69 * 41


@pytest.mark.parametrize("shape", [(65, 65), (16, 320), (320, 16), (700, 900), (1400, 400)])
def test_nothing_is_found_where_nothing_is(detector, shape):
    """Black, white and noise, at any shape."""
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    for picture in (np.zeros((*shape, 3), np.uint8), np.full((*shape, 3), 255, np.uint8), noise):
        assert detector(picture) == []


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot read"), (b"", "not an ONNX model"), (b"text", "not an ONNX model")]
)
def test_a_file_that_is_no_model_is_named(tmp_path, content, words):
    path = tmp_path / "faces.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=words) as caught:
        load_detector(path)
    assert "faces.onnx" in str(caught.value)


def test_another_kind_of_model_is_refused(tmp_path):
    """The message says which detectors are known."""
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([node], "other", [value], [output])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ModelError, match="BlazeFace"):
        load_detector(tmp_path / "other.onnx")


@pytest.mark.parametrize("size", [(48, 48), (400, 300), (1280, 853), (300, 1280), (1280, 64)])
def test_every_part_of_a_picture_is_searched(size):
    """The windows cover each pixel, and the first two show all of the picture."""
    covered = np.zeros(size[::-1], int)
    windows = list(first_windows(*size))
    for window in windows:
        top, left = max(0, round(window.y)), max(0, round(window.x))
        covered[top : round(window.y + window.side), left : round(window.x + window.side)] += 1
    assert covered.min() >= (3 if max(size) > 420 else 2)
    assert len(windows) <= 20
    assert all(min(window.x, window.y) <= 0 for window in windows[:2])


def test_second_looks_are_shared_and_bounded():
    """Neighbours of one size are framed together; a crowd gets no more looks than there is time for."""
    near = np.array([[100, 100, 140, 140, 0.5], [145, 100, 185, 140, 0.4], [600, 600, 640, 640, 0.3]], float)
    assert [round(window.side) for window in second_windows(near)] == [180, 180]
    assert [round(window.side) for window in second_windows(near[:1], 50)] == [130]  # no wider than the bordered copy
    corners = np.stack(np.meshgrid(np.arange(30), np.arange(30)), axis=-1).reshape(-1, 2) * 300.0
    crowd = np.hstack([corners, corners + 40, np.full((len(corners), 1), 0.4)])
    assert len(list(second_windows(crowd))) == 16
    assert list(second_windows(np.empty((0, 5)))) == []


def test_overlapping_boxes_become_one():
    boxes = np.array([[0, 0, 10, 10, 0.9], [1, 0, 11, 10, 0.3], [50, 50, 60, 60, 0.5]])
    assert np.allclose(average_overlapping(boxes, 0.3), [[0.25, 0, 10.25, 10, 0.9], [50, 50, 60, 60, 0.5]])
    inner = np.array([[0, 0, 10, 10, 0.9], [2, 2, 5, 5, 0.8], [8, 8, 18, 18, 0.7]])
    assert np.array_equal(drop_inner(inner, 0.6), inner[[0, 2]])
    assert np.allclose(overlaps(boxes[0], boxes), [1, 9 / 11, 0])
    assert np.array_equal(best_scores(boxes, boxes[1:], 0.3), [0.3, 0.3, 0.5])
    nothing = np.empty((0, 5))
    assert (
        len(average_overlapping(nothing, 0.3))
        == len(drop_inner(nothing, 0.3))
        == len(best_scores(nothing, boxes, 0))
        == 0
    )


def test_boxes_are_plain_numbers(shared, detector):
    """They go into JSON as they are."""
    picture = read_picture(shared / "photos/ac_smith.jpg")
    assert isinstance(picture, Picture)
    boxes = detector(np.asarray(picture.image))
    assert [type(box) for box in boxes] == [Box]
    assert {type(number) for number in (*boxes[0][:5], *boxes[0].points)} == {float}
    assert 0.5 < boxes[0].score <= 1


def test_small_faces_can_be_left_out(shared: Path, detector: Detector) -> None:
    """`min_face` is in pixels of the picture; what is looked at shrinks with it, and the faces stay in place."""
    picture = read_picture(shared / "photos/sk_astronaut.jpg")
    assert isinstance(picture, Picture)
    (usual,) = find_faces(picture, "detect", lambda: detector)
    seen: list[tuple[int, ...]] = []

    def watched(pixels: npt.NDArray[np.uint8]) -> list[Box]:
        seen.append(pixels.shape)
        return detector(pixels)

    (face,) = find_faces(picture, "detect", lambda: watched, Search(min_face=60))
    assert seen.pop() == (205, 205, 3)
    assert np.allclose(face.box, usual.box, atol=12)
    assert find_faces(picture, "detect", lambda: detector, Search(min_face=150)) == []
    find_faces(picture, "detect", lambda: watched, Search(max_side=256))
    assert seen.pop() == (256, 256, 3)
    assert Search(max_side=2560).shrink(2000, 1000) == 1


def test_min_face_and_max_side_are_options(shared):
    """The same picture, with its face and without."""
    photo = str(shared / "photos/ac_smith.jpg")
    faces = [
        len(json.loads(CliRunner().invoke(app, ["predict", photo, "--jsonl", *options]).stdout)["faces"])
        for options in (["--max-side", "200"], ["--min-face", "300"])
    ]
    assert faces == [1, 0]
    assert CliRunner().invoke(app, ["predict", photo, "--min-face", "3"]).exit_code == 2
