"""Faces followed from frame to frame by the overlap of their boxes."""

from __future__ import annotations

from pathlib import Path

import pytest

from emotify.prediction.results import FaceResult, PictureResult
from emotify.prediction.tracking import Tracker

SURE = (0.1, 0.1, 0.1, 0.4, 0.1, 0.1, 0.1)


def tracks(*frames: list[float], clip: str = "clip.mp4", tracker: Tracker | None = None) -> list[list[int | None]]:
    """Return the tracks of faces of 100 pixels whose left edges are given for each frame."""
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
        ([[0, 500], [500, 0], [30, 540]], [[1, 2], [2, 1], [1, 2]]),  # the order of a detector means nothing
        ([[0], [60], [120]], [[1], [1], [1]]),  # by 60 % of its side at a time
        ([[0], [90]], [[1], [2]]),  # too far
        ([[0], [], [], [], [], [0]], [[1], [], [], [], [], [1]]),  # out of sight for four frames
        ([[0], [], [], [], [], [], [0]], [[1], [], [], [], [], [], [2]]),  # for five
        ([[0, 40], [20]], [[1, 2], [1]]),  # of two that overlap alike one goes on
        ([[0], [10, 0]], [[1], [2, 1]]),  # the one that overlaps most is the same
    ],
)
def test_faces_are_followed_by_overlap(frames, expected):
    assert tracks(*frames) == expected


def test_each_clip_begins_at_one():
    """Also the same clip a second time; a picture between two clips has no track."""
    tracker = Tracker()
    assert tracks([0], [0], tracker=tracker) == [[1], [1]]
    assert tracks([0], [0], tracker=tracker) == [[1], [1]]
    assert tracks([500], clip="other.mp4", tracker=tracker) == [[1]]
    picture = PictureResult(Path("a.jpg"), "ok", faces=(FaceResult((0, 0, 1, 1), None, SURE),))
    assert tracker.follow(picture) is picture
