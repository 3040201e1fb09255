"""The choice of faces, and the crops that the classifier gets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from emotify.detection.boxes import Box
from emotify.detection.detector import Search
from emotify.pictures.reading import Picture
from emotify.prediction.crops import classifier_input, find_faces, is_tight_crop


def picture_of(grey: np.ndarray, *, width: int = 0, height: int = 0) -> Picture:
    image = Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    return Picture(image, width or image.width, height or image.height)


def slope(width: int, height: int) -> np.ndarray:
    return np.add.outer(np.linspace(0, 100, height), np.linspace(0, 150, width))


def crop_face(picture: Picture, box: Sequence[float]) -> np.ndarray:
    """Return the (48, 48) crop that the classifier gets for one detected box, given in pixels of the file."""
    x0, y0, x1, y1 = (edge * picture.image.width / picture.width for edge in box)
    (face,) = find_faces(picture, "detect", lambda: lambda _: [Box(x0, y0, x1, y1, 0.9)], Search(min_face=1))
    return classifier_input(picture, face.square)


def no_detector():
    raise AssertionError("no detector is needed here")


def test_a_48x48_picture_is_classified_without_resampling():
    """In modes auto and whole, the classifier gets FER-2013's own images unchanged. No detector is loaded."""
    image = np.random.default_rng(0).integers(0, 256, (48, 48))
    picture = picture_of(image)
    for mode in ("auto", "whole"):
        (face,) = find_faces(picture, mode, no_detector)
        assert (face.box, face.detection) == ((0, 0, 48, 48), None)
        assert np.array_equal(classifier_input(picture, face.square), image)


def test_the_square_frames_the_face_as_in_fer2013():
    """The side is 1.10 times the square root of the box area. The centre is 1 % of the height higher.

    Here the square has 110 pixels around (200, 149).
    """
    lit = np.zeros((300, 400))
    lit[94:204, 145:255] = 255
    seen = crop_face(picture_of(lit), (150, 100, 250, 200))
    assert seen.shape == (48, 48)
    assert seen.dtype == np.uint8
    assert seen.min() > 240
    assert crop_face(picture_of(255 - lit), (150, 100, 250, 200)).max() < 15
    narrow = crop_face(picture_of(lit), (175, 50, 225, 250))  # the same area, but narrower: the aspect ratio is kept
    assert narrow[2:-2, 2:-2].min() > 240


def test_box_coordinates_are_not_rounded():
    """A shift of the box by half a pixel shifts the crop by half a pixel."""
    picture = picture_of(slope(200, 100))
    seen = [crop_face(picture, (50 + shift, 30, 70 + shift, 50)).mean() for shift in (0, 0.5, 1)]
    assert seen[1] - seen[0] == pytest.approx(seen[2] - seen[1], abs=0.1)


@pytest.mark.parametrize("box", [(-40, -30, 20, 30), (180, 80, 240, 140), (-10, 20, 210, 90), (90, 40, 91, 41)])
def test_the_edge_is_repeated_outside_the_picture(box):
    grey = slope(200, 100).astype(np.uint8)
    padded = np.pad(grey, 300, mode="edge")
    seen = crop_face(picture_of(grey), box)
    expected = crop_face(picture_of(padded), [edge + 300 for edge in box])
    assert np.abs(seen.astype(int) - expected).max() <= 1


def test_boxes_are_in_pixels_of_the_file_even_if_it_was_decoded_smaller():
    full = picture_of(slope(400, 400))
    half = Picture(full.image.resize((200, 200), Image.Resampling.BOX), 400, 400)
    seen = [crop_face(picture, (120, 100, 320, 300)).astype(int) for picture in (full, half)]
    assert np.abs(seen[0] - seen[1]).max() <= 2
    assert find_faces(half, "whole", no_detector)[0].box == (0, 0, 400, 400)


def test_a_whole_picture_keeps_its_aspect_ratio():
    """The square has the area of the picture. A wide picture is padded above and below with its edge pixels."""
    grey = np.full((100, 200), 50)
    grey[:, 80:120] = 250
    picture = picture_of(grey)
    (face,) = find_faces(picture, "whole", no_detector)
    seen = classifier_input(picture, face.square)
    assert np.ptp(seen, axis=0).max() == 0  # each column has one grey value, up to the edge
    assert (seen[0] > 150).sum() == round(48 * 40 / np.sqrt(200 * 100))


def test_a_tight_crop_is_one_face_that_fills_the_picture():
    fills, half = Box(10, 10, 190, 190, 0.9), Box(50, 50, 150, 150, 0.9)
    assert is_tight_crop(64, 40, [])
    assert not is_tight_crop(65, 40, [])
    assert is_tight_crop(200, 200, [fills])
    assert not is_tight_crop(200, 200, [half])
    assert not is_tight_crop(200, 200, [fills, half])
    assert not is_tight_crop(400, 200, [fills])
    assert is_tight_crop(200, 200, [Box(-20, -20, 220, 220, 0.9)])  # the face covers the whole picture
    assert not is_tight_crop(200, 200, [Box(-100, -100, 300, 300, 0.9)])
    assert not is_tight_crop(200, 200, [Box(100, 0, 300, 200, 0.9)])


def test_auto_mode_uses_tight_crops_whole_and_detects_faces_in_photographs():
    box = Box(10, 10, 190, 190, 0.9)
    tight, photograph = picture_of(slope(200, 200)), picture_of(slope(600, 400))
    assert find_faces(tight, "auto", lambda: lambda _: [box])[0].detection is None
    assert find_faces(tight, "detect", lambda: lambda _: [box])[0].square == pytest.approx((1, -0.8, 198, 0))
    (face,) = find_faces(photograph, "auto", lambda: lambda _: [box])
    assert np.array_equal(classifier_input(photograph, face.square), crop_face(photograph, box[:4]))
    assert find_faces(photograph, "auto", lambda: lambda _: []) == []


def test_faces_smaller_than_min_face_are_skipped():
    """A face of exactly the minimum size is kept."""
    boxes = [Box(0, 0, side, side, 0.9) for side in (24.5, 24.0, 23.5)]
    faces = find_faces(picture_of(slope(64, 64)), "detect", lambda: lambda _: boxes, Search(min_face=24))
    assert [face.box[2] for face in faces] == [24.5, 24]


def test_reported_boxes_are_clipped_to_the_picture():
    """The crop for the classifier still uses the detector's full box."""
    picture, box = picture_of(slope(600, 400)), Box(-20, 300, 120, 440, 0.8)
    (face,) = find_faces(picture, "detect", lambda: lambda _: [box])
    assert face.box == (0, 300, 120, 400)
    assert np.array_equal(classifier_input(picture, face.square), crop_face(picture, box[:4]))


def test_faces_are_detected_in_a_smaller_copy():
    """The detector gets at most 1280 pixels per side. Its boxes are converted back to pixels of the file."""
    seen: list[tuple[int, ...]] = []

    def detect(pixels: np.ndarray) -> list[Box]:
        seen.append(pixels.shape)
        return [Box(100, 200, 300, 400, 0.9)]

    picture = picture_of(np.zeros((1280, 2560)), width=5120, height=2560)
    (face,) = find_faces(picture, "detect", lambda: detect)
    assert seen == [(640, 1280, 3)]
    assert face.box == (400, 800, 1200, 1600)
