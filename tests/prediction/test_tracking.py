"""Tracking: faces are followed from frame to frame by the overlap of their boxes."""

from __future__ import annotations

from pathlib import Path

import pytest

from emotify.prediction.faces import FaceResult
from emotify.prediction.results import PictureResult
from emotify.prediction.tracking import Tracker

SURE = (0.1, 0.1, 0.1, 0.4, 0.1, 0.1, 0.1)


def tracks(*frames: list[float], clip: str = "clip.mp4", tracker: Tracker | None = None) -> list[list[int | None]]:
    """Return the track numbers for each frame, given the left edges of its faces of 100 pixels."""
    tracker = tracker or Tracker()
    followed = []
    for number, edges in enumerate(frames):
        faces = tuple(FaceResult((edge, 0, edge + 100, 100), 0.9, SURE) for edge in edges)
        result = tracker.follow(PictureResult(Path(clip), "ok", width=2000, height=100, faces=faces, time=number / 2))
        followed.append([face.track for face in result.faces])
    return followed


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([[0, 500], [500, 0], [30, 540]], [[1, 2], [2, 1], [1, 2]]),  # the order of detections does not matter
        ([[0], [60], [120]], [[1], [1], [1]]),  # moves by 60 % of its side per frame
        ([[0], [90]], [[1], [2]]),  # moves too far
        ([[0], [], [], [], [], [0]], [[1], [], [], [], [], [1]]),  # absent for four frames
        ([[0], [], [], [], [], [], [0]], [[1], [], [], [], [], [], [2]]),  # absent for five frames
        ([[0, 40], [20]], [[1, 2], [1]]),  # two faces overlap equally; the first track continues
        ([[0], [10, 0]], [[1], [2, 1]]),  # the larger overlap keeps the track
    ],
)
def test_faces_are_followed_by_overlap(frames, expected):
    assert tracks(*frames) == expected


def test_track_numbers_start_at_one_in_each_clip():
    """The same clip starts at one again. A picture between two clips has no track."""
    tracker = Tracker()
    assert tracks([0], [0], tracker=tracker) == [[1], [1]]
    assert tracks([0], [0], tracker=tracker) == [[1], [1]]
    assert tracks([500], clip="other.mp4", tracker=tracker) == [[1]]
    picture = PictureResult(Path("a.jpg"), "ok", faces=(FaceResult((0, 0, 1, 1), None, SURE),))
    assert tracker.follow(picture) is picture
