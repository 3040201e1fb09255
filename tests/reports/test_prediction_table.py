"""The table that predict shows on a terminal."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from rich.cells import cell_len

from emotify.prediction.faces import FaceResult
from emotify.prediction.results import PictureResult
from emotify.reports.prediction_table import FaceRows, bar, shorten

SHARES = (0.02, 0.01, 0.02, 0.81, 0.04, 0.03, 0.07)
FACE = FaceResult((10.0, 20.0, 1110.0, 1130.0), 0.98, SHARES)


def picture(path: str, *faces: FaceResult, **values) -> PictureResult:
    return PictureResult(Path(path), values.pop("status", "ok"), width=2000, height=1500, faces=faces, **values)


def lines(rows: FaceRows, *results: PictureResult) -> list[str]:
    return [row.plain for result in results for row in rows.rows(result)]


@pytest.mark.parametrize("width", [40, 64, 80, 100, 120, 300])
@pytest.mark.parametrize("top", [0, 3])
def test_no_row_is_wider_than_the_terminal(width, top):
    """Long paths are shortened in the middle and keep the end of the name. Wide characters count twice."""
    results = [
        picture(f"{'long/' * 80}{'name' * 60}.jpg", FACE, FACE, frames=4),
        picture(f"{'写真' * 60}.jpg", FACE),
        picture("bad.png", status="not_an_image", message="what is wrong " * 30),
    ]
    shown = lines(FaceRows(width, top), *results)
    assert max(map(cell_len, shown)) < width
    assert any(line.startswith("  name") and ".jpg  happy" in line for line in shown)
    assert sum("…" in line for line in shown) >= 2  # the folder, and the names


def test_rows_are_grouped_by_folder():
    """A folder's name is above its pictures. A picture's name is beside its first face. Skipped frames are noted."""
    shown = lines(FaceRows(90), picture("a/1.jpg", FACE, FACE), picture("a/2.gif", frames=3), picture("b/3.jpg", FACE))
    assert [line for line in shown if line.endswith(os.sep)] == ["a/", "b/"]
    assert [line.split()[0] for line in shown if "━" in line] == ["1.jpg", "happy", "3.jpg"]
    assert "    only the first of its 3 frames was read" in shown
    assert next(line for line in shown if "2.gif" in line).endswith("no face")


def test_uncertain_faces_show_the_most_probable_expression():
    """The label is `uncertain`, with the most probable expression beside it."""
    unsure = FaceResult((0, 0, 48, 48), None, SHARES, uncertain=True)
    row = lines(FaceRows(80), picture("a.jpg", unsure))[-1]
    assert row.split()[1:] == ["uncertain", "━━━━━━──", "81%", "happy", "81%", "whole"]


def test_with_top_an_uncertain_face_is_marked_in_its_first_row():
    """The rows name expressions, not `uncertain`."""
    unsure = FaceResult((0, 0, 48, 48), None, SHARES, uncertain=True)
    first, second = lines(FaceRows(90, top=2), picture("a.jpg", unsure))[-2:]
    assert (first.split()[1], second.split()[0]) == ("happy", "neutral")
    assert first.endswith("  uncertain")
    assert "uncertain" not in second


@pytest.mark.parametrize(("width", "number"), [(40, "#{0}"), (64, "#{0}"), (80, "face {0}"), (100, "face {0}")])
def test_frames_show_their_time_and_the_numbers_of_their_faces(width, number):
    """Below the name of the clip. The number of a face is the same in all frames."""
    first, second = (dataclasses.replace(FACE, track=number) for number in (1, 12))
    frames = [picture("party.mp4", first, second, time=61.0), picture("party.mp4", second, time=62.0)]
    shown = lines(FaceRows(width), *frames)
    assert shown[1] == "party.mp4"
    rows = [" ".join(row.partition("happy")[0].split()) for row in shown[2:]]
    assert rows == [f"1:01 {number.format(1)}", number.format(12), f"1:02 {number.format(12)}"]
    assert len({row.index("happy") for row in shown[2:]}) == 1
    assert max(map(len, shown)) < width


def test_a_time_that_does_not_fit_is_marked():
    long = picture("party.mp4", dataclasses.replace(FACE, track=12), time=3723.0)
    assert [lines(FaceRows(width), long)[-1].partition("happy")[0].strip() for width in (40, 80)] == [
        "1:0…03 #12", "1:02:03           face 12",
    ]  # fmt: skip


def test_control_characters_in_names_are_escaped():
    """Control and bidirectional characters in paths and messages are escaped, and markup is not parsed."""
    name = "a\x1b[31m\x9b5m\r\u202e[red]b[/a].png"
    shown = lines(FaceRows(200), picture(f"d\x1b]8;;x/{name}", FACE), picture(name, status="corrupt", message=name))
    text = "".join(shown)
    assert text.isprintable()
    assert "[red]b[/a]" in text
    assert "\\u202e" in text


def test_terminals_without_unicode_get_ascii():
    """Bars and marks use only ASCII when the encoding has no other characters."""
    assert "".join(lines(FaceRows(60, plain=True), picture("long" * 40 + ".jpg", FACE, FACE))).isascii()


def test_bars_and_shortened_texts_match_known_examples():
    """The expected values were computed by hand."""
    assert [bar(share, 4, "red").plain for share in (0, 0.5, 1)] == ["────", "━━──", "━━━━"]
    assert shorten("abcdefghij", 10) == "abcdefghij"
    assert shorten("abcdefghij", 7) == "abc…hij"
    assert shorten("photos/2024/summer/", 10, tail=0.8) == "ph…summer/"


@pytest.mark.parametrize("width", [60, 80, 92])
def test_error_messages_of_pictures_are_never_cut(width):
    """The message is beside the name if it fits, or below it, with whole words."""
    long = "a smart sentence about what is wrong with this file; and one more about what to do about it, in words"
    short = "the file holds nothing; get it again"
    shown = lines(FaceRows(width), *(picture("bad.jpg", status="empty", message=text) for text in (short, long)))
    assert shown[2] == f"  bad.jpg  empty: {short}"
    assert " ".join(" ".join(shown[3:]).split()) == f"bad.jpg empty: {long}"
    assert max(map(len, shown)) < width


def test_labels_are_bold_or_dim_by_their_probability():
    """Bold from 70 %, dim below 50 %. The bar of an uncertain face has no colour."""
    styles = []
    for share in (0.9, 0.6, 0.4):
        rest = (1 - share) / 6
        face = FaceResult((0, 0, 48, 48), None, (share, *[rest] * 6))
        *_, row = FaceRows(80).rows(picture("a.jpg", face))
        styles.append(next((str(span.style) for span in row.spans if "angry" in row.plain[span.start : span.end]), ""))
    assert styles == ["bold", "", "dim"]
    unsure = FaceResult((0, 0, 48, 48), None, SHARES, uncertain=True)
    *_, row = FaceRows(80).rows(picture("a.jpg", unsure))
    assert not any(str(span.style).startswith("#") for span in row.spans)
