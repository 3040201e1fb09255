"""Output of every command on a real terminal of 92 columns."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

CAPTURE = Path(__file__).parent.parent / "docs" / "capture.py"


@pytest.fixture(scope="module")
def on_terminal():
    """Run an emotify command in a pseudo-terminal, and return its output without colours."""
    run = runpy.run_path(str(CAPTURE))["run_in_terminal"]

    def show(*words: object) -> str:
        shown = run([sys.executable, "-m", "emotify", *map(str, words)])
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
        assert "error: " not in text, text
        return text

    return show


def test_predict_shows_one_row_per_face(on_terminal, class_folder, onnx_file):
    text = on_terminal("predict", class_folder / "happy", class_folder / "sad", "--model", onnx_file)
    assert text.count("whole") == 4
    assert "━" in text
    assert "4 pictures, 4 faces" in text
    assert "Confusion matrix" in text


def test_many_bad_files_do_not_flood_the_screen(on_terminal, onnx_file, tmp_path):
    """At most 20 lines are printed. They count the bad files of each status."""
    for number in range(400):
        (tmp_path / f"{number:03}.png").touch()
    text = on_terminal("predict", tmp_path, "--model", onnx_file, "-q")
    rows = [line for line in text.splitlines() if line.strip() and "pictures 0:" not in line]
    assert len(rows) <= 20
    assert "400 of 400 pictures could not be read: 400 empty" in text


def test_train_shows_a_progress_bar(on_terminal, tiny_csv, tmp_path):
    options = ("--model", "fnn", "--epochs", 3, "--batch-size", 16, "--out", tmp_path)
    text = on_terminal("train", "--data", tiny_csv, *options)
    assert [f"epoch {number}/3: loss " in text for number in (1, 2, 3)] == [True] * 3  # and the bar below these lines
    assert "51/51 steps" in text
    assert "valid accuracy" in text


def test_evaluate_and_ensemble_show_tables_that_fit(on_terminal, runs, tiny_csv, tmp_path):
    """No line is wider than the terminal, and no name is wrapped."""
    for text in (
        on_terminal("evaluate", *runs, "--data", tiny_csv),
        on_terminal("ensemble", *runs, "--data", tiny_csv, "--out", tmp_path / "e", "-q"),
    ):
        assert "fnn-s0-" in text
        tables = [line for line in text.splitlines() if line.startswith(" ")]
        assert max(len(line.rstrip()) for line in tables) <= 92
