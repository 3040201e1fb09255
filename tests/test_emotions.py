"""The spellings that mean the seven expressions."""

from __future__ import annotations

import pytest

from emotify.emotions import EMOTIONS, emotion_index, suggest_emotion


@pytest.mark.parametrize(
    ("name", "emotion"),
    [
        *((name, name) for name in EMOTIONS),
        ("Happiness", "happy"),
        ("ANGER", "angry"),
        ("surprised", "surprise"),
        ("3", "happy"),
        ("0_angry", "angry"),
        (" sad ", "sad"),
    ],
)
def test_spellings(name, emotion):
    assert emotion_index(name) == EMOTIONS.index(emotion)


@pytest.mark.parametrize("name", ["", "contempt", "7", "-1", "photos", "00"])
def test_other_names_mean_nothing(name):
    assert emotion_index(name) is None


def test_near_names_get_a_suggestion():
    assert suggest_emotion("hapy") == "happy"
    assert suggest_emotion("holiday 2024") is None
