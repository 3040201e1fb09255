"""Accuracy against the names of class folders."""

from __future__ import annotations

import json
import shutil
import time

import pytest
from PIL import Image
from typer.testing import CliRunner

from emotify.cli import app
from emotify.emotions import EMOTIONS

MODEL = ["--model", "default", "--faces", "whole", "--threads", "1"]


def predict(*words: object, code: int = 0):
    result = CliRunner().invoke(app, ["predict", *map(str, words), *MODEL])
    assert result.exit_code == code, result.output
    return result


def document(*words: object, code: int = 0):
    return json.loads(predict(*words, "--json", code=code).stdout)


@pytest.fixture
def albums(class_folder, tmp_path):
    """Return a function that copies class folders, two pictures each, under other names."""

    def make(**names):
        for emotion, name in names.items():
            shutil.copytree(class_folder / emotion, tmp_path / "albums" / name)
        return tmp_path / "albums"

    return make


def supports(scores) -> dict[str, int]:
    return {name: each["support"] for name, each in scores["per_class"].items() if each["support"]}


@pytest.mark.parametrize(
    "names",
    [
        {"happy": "2", "sad": "5"},
        {"happy": "An", "sad": "Joy"},
        {"happy": "Su", "sad": "Di"},
        {"happy": "happy", "sad": "joy"},
        {"happy": "happy"},
        {"happy": "2024-05-01", "sad": "sad"},
        {"happy": "happy", "sad": "Happiness"},
    ],
)
def test_ambiguous_folder_names_get_no_accuracy(albums, names):
    folder = albums(**names)
    assert "accuracy" not in predict(folder).output
    assert document(folder)["truth"] is None


@pytest.mark.parametrize(
    "names",
    [{"happy": "happy", "sad": "sad"}, {"happy": "Happiness", "sad": "0_sadness"}, {"fear": "scared", "sad": "sad"}],
)
def test_folders_named_after_two_expressions_get_an_accuracy(albums, names):
    folder = albums(**names)
    assert "accuracy against the folders' names" in predict(folder).stderr
    assert supports(document(folder)["truth"]) == dict.fromkeys(sorted(names, key=EMOTIONS.index), 2)


def test_truth_folders_accepts_codes_names_and_numbers_and_reports_their_order(albums):
    folder = albums(happy="2", sad="5", fear="AF")
    result = predict(folder, "--truth", "folders", "--quiet")
    order = "numbered folders were read as classes: 2 fear, 5 surprise"
    assert f"{order}; change it with --class-order" in result.stderr
    found = document(folder, "--truth", "folders")
    assert supports(found["truth"]) == {"fear": 4, "surprise": 2}
    assert found["class_order"] == order


def test_truth_folders_accepts_numbers_in_another_order(albums):
    folder = albums(surprise="1", neutral="7")
    options = ("--truth", "folders", "--class-order", "rafdb")
    assert supports(document(folder, *options)["truth"]) == {"surprise": 2, "neutral": 2}
    assert "--class-order says" not in predict(folder, *options).stderr


@pytest.mark.parametrize("numbers", ["123456", "1"])
def test_folder_numbers_from_1_get_no_accuracy_and_a_suggested_order(albums, numbers):
    """The predictions are still printed."""
    folder = albums(**dict(zip(EMOTIONS, numbers, strict=False)))
    result = predict(folder, "--truth", "folders", code=4)
    assert "--class-order rafdb" in result.stderr
    assert "accuracy" not in result.output
    assert len(result.stdout.splitlines()) == 2 * len(numbers)


def test_an_unknown_folder_number_is_refused(albums):
    result = predict(albums(happy="7", sad="0"), "--truth", "folders", code=4)
    assert "give the order of the numbers with --class-order" in result.stderr


@pytest.mark.parametrize("words", [["--class-order", "rafdb"], ["--truth", "folders", "--class-order", "x"]])
def test_an_invalid_class_order_is_refused(albums, words):
    assert "--class-order" in predict(albums(happy="1"), *words, code=2).stderr


def test_the_reported_time_excludes_the_accuracy(albums, monkeypatch):
    """The time to compute the accuracy does not count."""
    from emotify.evaluation import metrics

    score = metrics.score

    def slow(*values):
        time.sleep(3)
        return score(*values)

    monkeypatch.setattr(metrics, "score", slow)
    found = document(albums(happy="happy", sad="sad"))
    assert found["truth"] is not None
    assert found["summary"]["seconds"] < 3


def test_stdout_contains_only_rows_in_a_pipe(albums):
    result = predict(albums(happy="happy", sad="sad"))
    assert all(line.count("\t") == 3 for line in result.stdout.splitlines())
    assert "Confusion matrix" in result.stderr
    assert "accuracy against the folders' names: " in result.stderr


def test_an_output_file_on_stdout_leaves_the_accuracy_on_stderr(albums):
    """In one line, as for JSON lines: the tables are for people."""
    result = predict(albums(happy="happy", sad="sad"), "--csv", "-")
    assert result.stdout.startswith("path,status,")
    assert len(result.stdout.splitlines()) == 5
    assert "accuracy against the folders' names: " in result.stderr
    assert "Confusion matrix" not in result.stderr


def test_pictures_without_a_face_get_no_accuracy(tmp_path):
    for name in ("happy", "sad"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (400, 300), "white").save(tmp_path / name / "wall.png")
    words = ["predict", str(tmp_path), "--json", "--explain", str(tmp_path / "why")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["truth"] is None
    assert "accuracy" not in result.stderr
    assert "wrote 0 explanations" in result.stderr
