"""Spellings of the seven expressions, and class orders."""

from __future__ import annotations

import pytest

from emotify.emotions import (
    CLASS_ORDERS,
    EMOTIONS,
    class_number,
    emotion_index,
    explain_ambiguous_numbers,
    parse_class_order,
    suggest_emotion,
    unambiguous_index,
)


@pytest.mark.parametrize(
    ("name", "emotion"),
    [
        *((name, name) for name in EMOTIONS),
        ("Happiness", "happy"),
        ("ANGER", "angry"),
        ("surprised", "surprise"),
        ("AF", "fear"),
        ("0_angry", "angry"),
        (" sad ", "sad"),
    ],
)
def test_spellings_of_expressions_are_recognised(name, emotion):
    assert emotion_index(name) == EMOTIONS.index(emotion)


@pytest.mark.parametrize("name", ["", "contempt", "3", "7", "-1", "photos", "00"])
def test_other_names_are_not_recognised(name):
    assert emotion_index(name) is None


def test_near_names_get_a_suggestion():
    assert suggest_emotion("hapy") == "happy"
    assert suggest_emotion("holiday 2024") is None


@pytest.mark.parametrize("name", ["An", "joy", "2", "Su", "happy hour", "album"])
def test_codes_first_names_and_numbers_are_ambiguous(name):
    assert unambiguous_index(name) is None
    assert unambiguous_index("3_Happiness") == EMOTIONS.index("happy")


@pytest.mark.parametrize(
    ("name", "number"), [("0", 0), ("07", 7), (" 3 ", 3), ("2024", None), ("3_happy", None), ("²", None)]
)
def test_a_class_number_has_one_or_two_digits(name, number):
    assert class_number(name) == number


@pytest.mark.parametrize("numbers", [{0, 1, 2, 3, 4, 5, 6}, {0, 4}, {2, 5}])
def test_class_numbers_of_fer2013_are_not_doubted(numbers):
    assert explain_ambiguous_numbers(numbers) is None


@pytest.mark.parametrize(
    ("numbers", "hint"),
    [
        (set(range(1, 8)), "rafdb"),
        (set(range(1, 7)), "rafdb"),
        ({1, 4}, "rafdb"),
        ({7}, "rafdb"),
        (set(range(8)), "affectnet"),
        ({3, 9}, "affectnet"),
    ],
)
def test_class_numbers_of_another_data_set_get_a_hint(numbers, hint):
    assert f"--class-order {hint}" in (explain_ambiguous_numbers(numbers) or "")


@pytest.mark.parametrize(
    ("name", "first"),
    [("fer2013", "angry"), ("AffectNet", "neutral"), ("RAF-DB", "surprise"), ("FER+", "neutral"), ("CK+", "neutral")],
)
def test_class_orders_are_named_after_data_sets(name, first):
    order = parse_class_order(name)
    assert order[min(order)] == first
    assert set(EMOTIONS) <= set(order.values())


def test_a_class_order_can_be_a_list():
    assert parse_class_order("neutral, happiness,contempt") == {0: "neutral", 1: "happy", 2: "contempt"}
    assert parse_class_order("1=surprise,3=AN") == {1: "surprise", 3: "angry"}


@pytest.mark.parametrize(
    "text", ["nonsense", "happy", "happy,tired", "1=happy,1=sad", "x=happy,2=sad", ",", "a" * 9999]
)
def test_an_invalid_class_order_is_refused(text):
    with pytest.raises(ValueError, match="is not a class order"):
        parse_class_order(text)


def test_every_class_order_has_each_class_once():
    for order in CLASS_ORDERS.values():
        assert len(set(order.values())) == len(order)
