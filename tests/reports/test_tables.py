"""Tables fit a terminal of 80 columns and need no colour."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

import numpy as np
import pytest
from rich.console import Console

from emotify.cli.console import Messages
from emotify.data import LabelledImages, Split
from emotify.evaluation.classifier import Answers
from emotify.evaluation.evaluate import evaluate
from emotify.reports.tables import (
    class_table,
    confusion_table,
    leaderboard_table,
    pairs_table,
    recipe_pairs_table,
    recipes_table,
    scores_table,
)

LABELS = np.repeat(np.arange(7), (467, 56, 496, 895, 653, 415, 607))  # the class counts of FER-2013's valid split


SHARES = {"cnn-s0": 0.6, "fnn-s0": 0.3, "cnn-s1": 0.58, "fnn-s1": 0.31}


@dataclass(frozen=True)
class Guessing:
    """A classifier that is right on about `share` of the images, with low confidence."""

    name: str
    share: float

    def answers(self, images):
        chance = np.random.default_rng(0)
        hint = (chance.random(len(images)) < self.share)[:, None] * np.eye(7)[LABELS]
        shares = (chance.dirichlet(np.ones(7), len(images)) + 2 * hint) / (1 + 2 * hint.sum(1)[:, None])
        return Answers(np.asarray(shares, np.float32))


@pytest.fixture(scope="module")
def board():
    votes = np.random.default_rng(0).integers(0, 5, (len(LABELS), 10), np.uint8)
    images = LabelledImages(np.zeros((len(LABELS), 1, 48, 48), np.uint8), LABELS, votes)
    models = [Guessing(f"20260131-120000-{name}-1a2b", share) for name, share in SHARES.items()]
    exact, near = np.arange(len(LABELS)) < 281, np.arange(len(LABELS)) < 489
    recipes = ["cnn --augment --label-smoothing 0", "fnn"] * 2
    return evaluate(models, images, Split.VALID, in_train=exact, near_train=near, recipes=recipes)


def render(table, width, **options) -> str:
    screen = Console(width=width, file=io.StringIO(), **options)
    with screen.capture() as capture:
        screen.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def tables(board):
    best = board.results[0]
    yield leaderboard_table(board)
    yield pairs_table(board)
    yield recipes_table(board)
    yield recipe_pairs_table(board)
    yield scores_table(best)
    yield class_table(best.scores, title="By expression")
    yield confusion_table(best.scores.confusion, title="Confusion matrix")


def test_ascii_output_has_no_table_borders(board, monkeypatch):
    """For example in a pipe to a Windows program: cells have no borders, and bars are ASCII."""
    pipe = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", pipe)
    messages = Messages()
    messages.show(class_table(board.results[0].scores, title="By expression", plain=messages.plain))
    pipe.flush()
    shown = pipe.buffer.getvalue().decode()
    assert "#####" in shown
    assert not set("+|-") & set(shown)


def test_tables_fit_80_columns_without_loss(board):
    """No cell is wrapped or cut."""
    for table in tables(board):
        assert render(table, 80) == render(table, 200)


def test_colour_does_not_change_the_text(board):
    for table in tables(board):
        coloured = render(table, 80, force_terminal=True, color_system="truecolor")
        plain = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
        assert [line.rstrip() for line in plain.splitlines()] == render(table, 80).splitlines()
    assert "\x1b[37;48;2;" in coloured  # the confusion matrix is shaded


@pytest.mark.parametrize(
    ("count", "told"), [(0, ""), (1, "; 1 of them is nearly the"), (2, "; 2 of them are nearly the")]
)
def test_near_duplicates_of_train_are_counted(count, told):
    images = LabelledImages(np.zeros((len(LABELS), 1, 48, 48), np.uint8), LABELS)
    exact, near = np.arange(len(LABELS)) < 281, np.arange(len(LABELS)) < 281 + count
    (result,) = evaluate([Guessing("a", 0.5)], images, Split.VALID, in_train=exact, near_train=near).results
    text = " ".join(render(scores_table(result), 80).split())
    assert f"clean: the 3,308 images that are not in train{told}" in text
    assert ("nearly" in text, "without near ones" in text) == (count > 0, count > 0)


def test_the_confusion_matrix_marks_right_predictions(board):
    """Each row has percentages, its right predictions in brackets, and its number of images."""
    confusion = board.results[0].scores.confusion
    text = render(confusion_table(confusion, title=""), 80)
    share = round(100 * confusion[3, 3] / 895)
    assert re.search(rf"happy( +\d+){{3}} +\[{share}\]( +\d+){{3}} +895$", text, re.MULTILINE)


def test_only_significant_differences_are_called_better(board):
    """The better model is named by its rank in the leaderboard. Two equal models have no winner."""
    assert "#1 is better" in render(pairs_table(board), 80)
    assert "#1 is better" in render(recipe_pairs_table(board), 80)
    identical_members = [Guessing("a", 0.5), Guessing("b", 0.5)]
    images = LabelledImages(np.zeros((len(LABELS), 1, 48, 48), np.uint8), LABELS)
    assert "could be chance" in render(pairs_table(evaluate(identical_members, images, Split.VALID)), 80)


def test_a_long_list_of_pairs_shows_only_those_with_the_best_model():
    """Eleven models have 55 pairs. The table has ten rows, and names --json for the others."""
    images = LabelledImages(np.zeros((len(LABELS), 1, 48, 48), np.uint8), LABELS)
    board = evaluate([Guessing(str(share), share / 20) for share in range(1, 12)], images, Split.VALID)
    text = render(pairs_table(board), 80)
    assert text.count("#1 - #") == 10
    assert "#2 - #3" not in text
    assert "--json" in text
