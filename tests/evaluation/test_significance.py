"""Only significant differences are called better."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotify.evaluation.significance import compare, compare_all, holm


def right(*shares):
    """True in runs: right(3, -2) is three images right, then two wrong."""
    return np.concatenate([np.full(abs(share), share > 0) for share in shares])


def test_mcnemars_test_by_hand():
    """Five differences in the same direction: p = 2 / 2**5. No difference: p = 1."""
    a, b = right(10), right(-5, 5)
    pair = compare("a", a, "b", b)
    assert (pair.only_a, pair.only_b, pair.difference) == (5, 0, 0.5)
    assert pair.mcnemar_p == pair.mcnemar_p_holm == pytest.approx(2 / 2**5)
    assert compare("a", a, "a", a).mcnemar_p == 1


def test_the_better_model_is_named_in_any_order():
    a, b = right(90, -10), right(60, -40)
    assert compare("a", a, "b", b).better == "a"
    assert compare("b", b, "a", a).better == "a"
    assert compare("a", a, "a too", a).better is None
    assert compare("a", right(52, -48), "b", right(50, -50)).better is None


def test_more_pairs_need_smaller_p_values():
    """A difference with p = 0.03 is significant for one pair, but not among six pairs."""
    a, b = right(100), right(94, -6)
    assert compare("a", a, "b", b).better == "a"
    pairs = compare_all([("a", a), ("b", b), ("c", b), ("d", b)])
    assert [pair.better for pair in pairs] == [None] * 6
    assert [pair.mcnemar_p for pair in pairs[:3]] == [pytest.approx(2 / 2**6)] * 3


def test_holms_correction_by_hand():
    """Holm 1979: the smallest p times 4, the next times 3, never falling, never above 1."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holms_correction_never_lowers_p_values_and_keeps_their_order(values):
    corrected = holm(values)
    assert all(value <= after <= 1 for value, after in zip(values, corrected, strict=True))
    assert all(np.diff(np.array(corrected)[np.argsort(values, kind="stable")]) >= 0)
    assert min(corrected) == pytest.approx(min(1, min(values) * len(values)))
