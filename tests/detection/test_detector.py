"""The face detector: faces on real photographs, windows, boxes, and the options of the search."""

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


def test_nearly_all_faces_on_photographs_are_found(shared, detector):
    """At least 97 % of the clearly visible faces are found, with at most one false detection.

    No photograph is used whole, as a tight crop of a face would be.
    """
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


def test_the_box_follows_a_mirrored_enlarged_or_moved_face(shared, detector):
    """The face is found in its new place if the picture is mirrored, enlarged or pasted into a larger one."""
    picture = read_picture(shared / "photos/sk_astronaut.jpg")
    assert isinstance(picture, Picture)
    image = picture.image
    (original_box,) = detector(np.asarray(image))
    changed: dict[str, tuple[Image.Image, Callable[[float, float], tuple[float, float]]]] = {
        "mirrored": (image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), lambda x, y: (512 - x, y)),
        "enlarged": (image.resize((1800, 1800)), lambda x, y: (x * 1800 / 512, y * 1800 / 512)),
        "in a corner": (_paste_in_corner(image), lambda x, y: (x + 700, y + 300)),
    }
    for name, (changed_image, place) in changed.items():
        (box,) = detector(np.asarray(changed_image))
        centre = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
        expected = place((original_box.x0 + original_box.x1) / 2, (original_box.y0 + original_box.y1) / 2)
        assert np.hypot(centre[0] - expected[0], centre[1] - expected[1]) < 0.08 * (box.x1 - box.x0), name


def _paste_in_corner(image: Image.Image) -> Image.Image:
    larger = Image.new("RGB", (1212, 812), (90, 120, 90))
    larger.paste(image, (700, 300))
    return larger


@pytest.mark.parametrize("side", [96, 200])
def test_most_enlarged_fer2013_images_have_one_face_and_are_used_whole(shared, detector, side):
    """At least 85 % of 41 images have exactly one box. At least 69 % are used whole, as tight crops should be."""
    sheet = np.asarray(Image.open(shared / "fer2013/PublicTest.png"))
    one_face = used_whole = 0
    for cell in range(310, 3400, 77):
        row, column = (48 * place for place in divmod(cell, 60))
        image = Image.fromarray(sheet[row : row + 48, column : column + 48]).resize((side, side)).convert("RGB")
        picture = Picture(image, side, side)
        one_face += len(detector(np.asarray(image))) == 1
        used_whole += [face.detection for face in find_faces(picture, "auto", lambda: detector)] == [None]
    assert one_face >= 0.85 * 41
    assert used_whole >= 0.69 * 41


@pytest.mark.parametrize("shape", [(65, 65), (16, 320), (320, 16), (700, 900), (1400, 400), (4, 3000)])
def test_black_white_and_noise_pictures_have_no_faces(detector, shape):
    """The detector returns no box, for pictures of all shapes."""
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    for picture in (np.zeros((*shape, 3), np.uint8), np.full((*shape, 3), 255, np.uint8), noise):
        assert detector(picture) == []


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot read"), (b"", "not an ONNX model"), (b"text", "not an ONNX model")]
)
def test_the_error_names_a_file_that_is_not_a_model(tmp_path, content, words):
    path = tmp_path / "faces.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=words) as caught:
        load_detector(path)
    assert "faces.onnx" in str(caught.value)


def test_a_model_that_is_not_a_face_detector_is_refused(tmp_path):
    """The message lists the supported detectors."""
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
def test_the_windows_of_the_first_search_cover_every_pixel(size):
    """The first two windows contain the whole picture. In a picture larger than 420 pixels, tiles cover it again."""
    covered = np.zeros(size[::-1], int)
    windows = list(first_windows(*size))
    for window in windows:
        top, left = max(0, round(window.y)), max(0, round(window.x))
        covered[top : round(window.y + window.side), left : round(window.x + window.side)] += 1
    assert covered.min() >= (3 if max(size) > 420 else 2)
    assert len(windows) <= 20
    assert all(min(window.x, window.y) <= 0 for window in windows[:2])


def test_the_second_search_has_at_most_16_shared_windows():
    """Neighbouring faces of similar size share a window. A crowd gets at most 16 windows."""
    neighbours = np.array([[100, 100, 140, 140, 0.5], [145, 100, 185, 140, 0.4], [600, 600, 640, 640, 0.3]], float)
    assert [round(window.side) for window in second_windows(neighbours)] == [180, 180]
    assert [round(window.side) for window in second_windows(neighbours[:1], 50)] == [
        130
    ]  # at most the bordered picture
    corners = np.stack(np.meshgrid(np.arange(30), np.arange(30)), axis=-1).reshape(-1, 2) * 300.0
    crowd = np.hstack([corners, corners + 40, np.full((len(corners), 1), 0.4)])
    assert len(list(second_windows(crowd))) == 16
    assert list(second_windows(np.empty((0, 5)))) == []


def test_overlapping_boxes_are_merged():
    boxes = np.array([[0, 0, 10, 10, 0.9], [1, 0, 11, 10, 0.3], [50, 50, 60, 60, 0.5]])
    assert np.allclose(average_overlapping(boxes, 0.3), [[0.25, 0, 10.25, 10, 0.9], [50, 50, 60, 60, 0.5]])
    inner = np.array([[0, 0, 10, 10, 0.9], [2, 2, 5, 5, 0.8], [8, 8, 18, 18, 0.7]])
    assert np.array_equal(drop_inner(inner, 0.6), inner[[0, 2]])
    assert np.allclose(overlaps(boxes[0], boxes), [1, 9 / 11, 0])
    assert np.array_equal(best_scores(boxes, boxes[1:], 0.3), [0.3, 0.3, 0.5])
    no_boxes = np.empty((0, 5))
    assert (
        len(average_overlapping(no_boxes, 0.3))
        == len(drop_inner(no_boxes, 0.3))
        == len(best_scores(no_boxes, boxes, 0))
        == 0
    )


def test_boxes_contain_python_floats(shared, detector):
    """The numbers can be written as JSON, unlike NumPy's."""
    picture = read_picture(shared / "photos/ac_smith.jpg")
    assert isinstance(picture, Picture)
    boxes = detector(np.asarray(picture.image))
    assert [type(box) for box in boxes] == [Box]
    assert {type(number) for number in (*boxes[0][:5], *boxes[0].points)} == {float}
    assert 0.5 < boxes[0].score <= 1


def test_min_face_excludes_small_faces(shared: Path, detector: Detector) -> None:
    """`min_face` is in pixels of the picture. The detector gets a picture that is shrunk by `min_face` or `max_side`.

    The boxes stay in pixels of the original picture.
    """
    picture = read_picture(shared / "photos/sk_astronaut.jpg")
    assert isinstance(picture, Picture)
    (original,) = find_faces(picture, "detect", lambda: detector)
    searched_shapes: list[tuple[int, ...]] = []

    def recording_detector(pixels: npt.NDArray[np.uint8]) -> list[Box]:
        searched_shapes.append(pixels.shape)
        return detector(pixels)

    (face,) = find_faces(picture, "detect", lambda: recording_detector, Search(min_face=60))
    assert searched_shapes.pop() == (205, 205, 3)
    assert np.allclose(face.box, original.box, atol=12)
    assert find_faces(picture, "detect", lambda: detector, Search(min_face=150)) == []
    find_faces(picture, "detect", lambda: recording_detector, Search(max_side=256))
    assert searched_shapes.pop() == (256, 256, 3)
    assert Search(max_side=2560).shrink(2000, 1000) == 1


def test_predict_has_min_face_and_max_side_options(shared):
    """A large `--min-face` excludes the only face of a photograph. A value that is too small ends with exit 2."""
    photo = str(shared / "photos/ac_smith.jpg")
    faces = [
        len(json.loads(CliRunner().invoke(app, ["predict", photo, "--jsonl", *options]).stdout)["faces"])
        for options in (["--max-side", "200"], ["--min-face", "300"])
    ]
    assert faces == [1, 0]
    assert CliRunner().invoke(app, ["predict", photo, "--min-face", "3"]).exit_code == 2
