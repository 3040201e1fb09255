"""Recipes over seeds: a difference is believed when neither other images nor other seeds would undo it."""

from __future__ import annotations

import numpy as np
import pytest

from emotify.evaluation.seeds import compare_recipes, group_by_recipe


def recipes(chance, *, better=0.0, seeds=3, images=500):
    """Two recipes alike but for `better`; images differ in how hard they are, and seeds in how lucky."""
    hardness = chance.random(images)
    luck = chance.normal(0, 0.01, (2, seeds, 1))
    likely = 0.2 + 0.6 * hardness + luck + np.array([better, 0.0])[:, None, None]
    return dict(zip("ab", chance.random((2, seeds, images)) < likely, strict=True))


def test_mean_and_deviation_by_hand():
    right = {"a": np.array([[1, 1, 1, 0], [1, 1, 0, 0]], bool), "b": np.array([[1, 0, 0, 0], [0, 1, 0, 0]], bool)}
    (a, b), (pair,) = compare_recipes(right)
    assert (a.recipe, a.accuracies, a.mean) == ("a", (0.75, 0.5), 0.625)
    assert a.deviation == pytest.approx(0.125 * 2**0.5)
    assert (b.mean, b.deviation) == (0.25, 0)
    # Over images: differences 0.5, 0.5, 0.5, 0 of variance 1/16, and 4 images; over seeds: 1/32 and 0, and 2 seeds.
    over_images, over_seeds = 1 / 16 / 4, 1 / 32 / 2
    freedom = (over_images + over_seeds) ** 2 / (over_images**2 / 3 + over_seeds**2 / 1)
    assert freedom == pytest.approx(3)
    reach = 3.182 * (over_images + over_seeds) ** 0.5  # t of 3 degrees of freedom, from a table
    assert pair.difference == 0.375
    assert pair.difference_ci95 == pytest.approx((0.375 - reach, 0.375 + reach), rel=1e-3)
    assert pair.better is None


def test_equal_recipes_are_seldom_told_apart():
    """Of 300 pairs of recipes that are equally good, 5 % may be called different; the test is cautious."""
    chance = np.random.default_rng(0)
    found = [compare_recipes(recipes(chance))[1][0].p < 0.05 for _ in range(300)]
    assert sum(found) <= 15


def test_a_better_recipe_is_found():
    """Seven points are found in most of 50 trials, and never the wrong way round."""
    chance = np.random.default_rng(1)
    found = [compare_recipes(recipes(chance, better=0.07))[1][0].better for _ in range(50)]
    assert found.count("a") > 35
    assert "b" not in found


def test_lucky_seeds_are_not_a_better_recipe():
    """McNemar's test would call every pair of these runs different; their seeds vary as much as the recipes do."""
    images = np.arange(1000)
    right = {"a": np.stack([images < 700, images < 500]), "b": np.stack([images < 600, images < 450])}
    (pair,) = compare_recipes(right)[1]
    assert pair.difference == pytest.approx(0.075)
    assert pair.p > 0.3


@pytest.mark.parametrize("images", [1, 10])
@pytest.mark.parametrize("other", [True, False])
def test_where_nothing_varies_nothing_is_said(images, other):
    """The same answers, or one recipe right and the other wrong on everything: even then, and of one image."""
    right = {"a": np.ones((2, images), bool), "b": np.full((2, images), other)}
    (pair,) = compare_recipes(right)[1]
    assert (pair.difference, pair.p, pair.p_holm, pair.better) == (1 - other, 1, 1, None)
    assert pair.difference_ci95 == (-1, 1)


def test_recipes_of_one_seed_are_left_out():
    """And what is no run is of no recipe."""
    one = np.ones(3, bool)
    grouped = group_by_recipe(["a", "b", None, "a"], [one, one, one, ~one])
    assert list(grouped) == ["a"]
    assert grouped["a"].tolist() == [[True] * 3, [False] * 3]
