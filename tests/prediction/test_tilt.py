"""Tilted faces are turned upright before they are classified."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from emotify.cli import app
from emotify.data.synthetic import Face, draw_scene, prototype
from emotify.detection.boxes import average_overlapping, to_list, transformed
from emotify.detection.detector import Box, load_detector
from emotify.pictures.pixels import Square, cut_square
from emotify.pictures.reading import Picture
from emotify.prediction.crops import classifier_input, find_faces

UPRIGHT = (180.0, 187.0, 220.0, 187.0, 200.0, 230.0)  # eyes and mouth of a face around (200, 200)


def turned(points, degrees, *, about=(200.0, 200.0)):
    """Rotate key points clockwise in image coordinates, where y points down."""
    centre = complex(*about)
    spots = centre + (np.array(points[::2]) + 1j * np.array(points[1::2]) - centre) * np.exp(1j * math.radians(degrees))
    return tuple(float(value) for spot in spots for value in (spot.real, spot.imag))


def square_of(points, *, side=108.0):
    """Return the square of a face whose box is centred at (200, 200)."""
    half = side / 2
    box = Box(200 - half, 200 - half, 200 + half, 200 + half, 0.9, points)
    picture = Picture(Image.new("RGB", (400, 400)), 400, 400)
    (face,) = find_faces(picture, "detect", lambda: lambda _: [box])
    return face.square


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    """Draw a face in the middle of a picture."""
    return Image.fromarray(draw_scene(Face.stack([prototype("happy")]), width=500, height=450))


def test_a_tilted_face_is_turned_upright(scene):
    """At 30 or 45 degrees, the classifier gets nearly the same crop as for the upright face."""
    detector = load_detector(threads=1)

    def look(degrees):
        image = scene.rotate(-degrees, Image.Resampling.BICUBIC, fillcolor=scene.getpixel((0, 0)))
        picture = Picture(image, *image.size)
        (face,) = find_faces(picture, "auto", lambda: detector)
        return face, classifier_input(picture, face.square).astype(float)

    upright, expected = look(0)
    assert upright.square.roll == 0
    for degrees in (-30, 30, 45):
        face, seen = look(degrees)
        assert face.square.roll == pytest.approx(degrees, abs=6)
        assert face.square.side == pytest.approx(upright.square.side, rel=0.1)
        assert np.corrcoef(seen.ravel(), expected.ravel())[0, 1] > 0.75, degrees  # at most 0.32 without the rotation


@pytest.mark.parametrize("degrees", [0, 5, -9])
def test_nearly_upright_faces_are_framed_by_their_box(degrees):
    assert square_of(turned(UPRIGHT, degrees)) == square_of(())


@pytest.mark.parametrize("degrees", [12, -30, 90, 179, -179])
def test_tilted_faces_are_framed_by_their_eyes_and_mouth(degrees):
    """Side and centre equal those of the upright face, although the box is smaller."""
    upright, tilted = square_of(UPRIGHT), square_of(turned(UPRIGHT, degrees), side=95)
    assert tilted.roll == pytest.approx(degrees, abs=0.1)
    assert tilted.side == pytest.approx(upright.side, rel=0.03)
    centre, expected = (
        complex(square.x0 + square.side / 2, square.y0 + square.side / 2) for square in (tilted, upright)
    )
    assert abs(centre - expected) < 0.03 * upright.side


@pytest.mark.parametrize("points", [(200.0, 200.0) * 3, turned((0.0, 0.0, 9.0, 0.0, 4.0, 9.0), 40)])
def test_key_points_that_do_not_fit_their_box_are_ignored(points):
    assert square_of(points) == square_of(())


def test_directions_near_180_degrees_do_not_cancel():
    """Average two detections of an upside-down face, at 175 and -175 degrees."""
    views = [[150, 150, 250, 250, 0.5, *turned(UPRIGHT, degrees)] for degrees in (175, -175)]
    (box,) = to_list(average_overlapping(np.array(views), 0.3))
    assert abs(square_of(box.points).roll) == pytest.approx(180, abs=0.1)
    assert box.score == 0.5


def test_key_points_are_scaled_and_moved_with_their_boxes():
    boxes = np.array([[0, 1, 2, 3, 0.9, 1, 1, 2, 2, 3, 3]], float)
    assert transformed(boxes, scale=(2, 3), shift=(10, 20)).tolist() == [
        [10, 23, 14, 29, 0.9, 12, 23, 14, 26, 16, 29]
    ]  # fmt: skip
    assert transformed(boxes[:, :5], shift=(1, 1)).tolist() == [[1, 2, 3, 4, 0.9]]
    assert transformed(np.empty((0, 5)), scale=(2, 2)).shape == (0, 5)


def test_the_pixels_of_a_turned_square_are_rotated():
    """In a grey gradient, each pixel of the crop has the value of its position. Roll is clockwise."""
    slope = Image.fromarray(np.add.outer(np.arange(400) * 0.2, np.arange(400) * 0.4).astype(np.uint8))
    for roll in (30.0, -50.0, 180.0):
        seen = cut_square(slope, Square(150, 120, 96, roll)).astype(float)
        along = (np.arange(48) + 0.5) * 2 - 48
        places = (along[None, :] + 1j * along[:, None]) * np.exp(1j * math.radians(roll)) + (198 + 168j) - (0.5 + 0.5j)
        assert np.abs(seen - (0.4 * places.real + 0.2 * places.imag)).max() < 2


def test_a_large_turned_face_is_not_aliased():
    """Stripes one pixel wide become grey, with and without rotation."""
    stripes = np.zeros((1200, 1200), np.uint8)
    stripes[::2] = 255
    for roll in (0.0, 30.0):
        seen = cut_square(Image.fromarray(stripes), Square(200, 200, 800, roll)).astype(int)
        assert np.abs(seen - 127).max() < 12


def test_the_edge_is_repeated_around_a_turned_square():
    seen = cut_square(Image.fromarray(np.full((60, 60), 200, np.uint8)), Square(-30, -30, 90, 25.0))
    assert (seen == 200).all()


def test_predict_reports_the_roll_of_tilted_faces(scene, small_model, tmp_path):
    """Only tilted faces have `roll` in their JSON."""
    scene.save(tmp_path / "upright.png")
    scene.rotate(-30, Image.Resampling.BICUBIC, fillcolor=scene.getpixel((0, 0))).save(tmp_path / "tilted.png")
    words = ["predict", str(tmp_path), "--model", str(small_model), "--jsonl", "--explain", str(tmp_path / "why")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    tilted, upright = (json.loads(line)["faces"] for line in result.stdout.splitlines())
    assert tilted[0]["roll"] == pytest.approx(30, abs=6)
    assert "roll" not in upright[0]
    assert sorted(path.name for path in (tmp_path / "why").iterdir()) == ["tilted-1.png", "upright-1.png"]


@pytest.mark.parametrize("degrees", [-90, 90, 180])
@pytest.mark.parametrize("mode", ["auto", "detect"])
def test_a_face_in_a_sideways_picture_is_found_and_classified_upright(degrees, mode, scene):
    """Box and square are in coordinates of the original picture. The classifier gets the crop of the upright face."""
    detector = load_detector(threads=1)

    def look(image):
        picture = Picture(image, *image.size)
        (face,) = find_faces(picture, mode, lambda: detector)
        return face, classifier_input(picture, face.square).astype(float)

    upright, expected = look(scene)
    lying = scene.rotate(-degrees, expand=True)
    face, seen = look(lying)
    assert face.turned == degrees
    assert face.square.roll == pytest.approx(degrees, abs=3)
    assert np.corrcoef(seen.ravel(), expected.ravel())[0, 1] > 0.95
    x0, y0, x1, y1 = face.box
    mask = Image.new("L", scene.size)
    mask.paste(255, tuple(map(round, upright.box)))
    overlap = np.asarray(mask.rotate(-degrees, expand=True))[round(y0) : round(y1), round(x0) : round(x1)]
    assert overlap.mean() > 0.85 * 255


@pytest.mark.parametrize("degrees", [75, -75, 105, 150])
def test_a_strongly_tilted_face_is_found_in_a_rotated_copy(degrees, scene):
    detector = load_detector(threads=1)
    image = scene.rotate(-degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=scene.getpixel((0, 0)))
    (face,) = find_faces(Picture(image, *image.size), "auto", lambda: detector)
    assert face.square.roll == pytest.approx(degrees, abs=10)


def test_an_upside_down_tight_crop_is_used_whole(scene):
    detector = load_detector(threads=1)
    (found,) = find_faces(Picture(scene, *scene.size), "auto", lambda: detector)
    x0, y0, side, _ = found.square
    crop = scene.crop((round(x0), round(y0), round(x0 + side), round(y0 + side))).rotate(180)
    (face,) = find_faces(Picture(crop, *crop.size), "auto", lambda: detector)
    assert (face.detection, face.turned, face.square.roll) == (None, 180, 180)
    assert face.box == (0, 0, *crop.size)


def test_the_row_notes_that_a_picture_is_sideways(scene, small_model, tmp_path):
    scene.rotate(90, expand=True).save(tmp_path / "left.png")
    scene.save(tmp_path / "upright.png")
    words = ["predict", str(tmp_path), "--model", str(small_model), "--jsonl"]
    left, upright = (json.loads(line) for line in CliRunner().invoke(app, words).stdout.splitlines())
    assert left["faces"][0]["roll"] == pytest.approx(-90, abs=3)
    assert "left side" in left["note"]
    assert "note" not in upright


def test_a_picture_without_a_face_costs_three_small_extra_detections():
    """The three extra detections use small copies, however large the picture is."""
    shown = []

    def detector(pixels):
        shown.append(pixels.shape[:2])
        return []

    find_faces(Picture(Image.new("RGB", (1200, 900)), 1200, 900), "auto", lambda: detector)
    assert shown == [(900, 1200), (416, 312), (416, 312), (312, 416)]
