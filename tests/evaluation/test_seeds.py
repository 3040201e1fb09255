"""Recipes over seeds: a difference is significant only over both random images and random seeds."""

from __future__ import annotations

import numpy as np
import pytest

from emotify.evaluation.seeds import compare_recipes, group_by_recipe


def recipes(chance, *, better=0.0, seeds=3, images=500):
    """Two recipes that differ only by `better`; images vary in difficulty, and seeds in luck."""
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


def test_equal_recipes_are_rarely_called_different():
    """At most 5 % of 300 pairs of equal recipes are called different; the test is conservative."""
    chance = np.random.default_rng(0)
    found = [compare_recipes(recipes(chance))[1][0].p < 0.05 for _ in range(300)]
    assert sum(found) <= 15


def test_a_better_recipe_is_found():
    """A difference of seven points is found in most of 50 trials, and never reversed."""
    chance = np.random.default_rng(1)
    found = [compare_recipes(recipes(chance, better=0.07))[1][0].better for _ in range(50)]
    assert found.count("a") > 35
    assert "b" not in found


def test_lucky_seeds_are_not_a_better_recipe():
    """McNemar's test would call each pair of these runs different, but seeds vary as much as recipes."""
    images = np.arange(1000)
    right = {"a": np.stack([images < 700, images < 500]), "b": np.stack([images < 600, images < 450])}
    (pair,) = compare_recipes(right)[1]
    assert pair.difference == pytest.approx(0.075)
    assert pair.p > 0.3


@pytest.mark.parametrize("images", [1, 10])
@pytest.mark.parametrize("other", [True, False])
def test_without_variance_no_recipe_is_better(images, other):
    """Equal answers, one recipe always right and the other always wrong, or a single image."""
    right = {"a": np.ones((2, images), bool), "b": np.full((2, images), other)}
    (pair,) = compare_recipes(right)[1]
    assert (pair.difference, pair.p, pair.p_holm, pair.better) == (1 - other, 1, 1, None)
    assert pair.difference_ci95 == (-1, 1)


def test_recipes_with_one_seed_are_not_compared():
    """A model that is not a run has no recipe."""
    one = np.ones(3, bool)
    grouped = group_by_recipe(["a", "b", None, "a"], [one, one, one, ~one])
    assert list(grouped) == ["a"]
    assert grouped["a"].tolist() == [[True] * 3, [False] * 3]
