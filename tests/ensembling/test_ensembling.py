"""Pooling, temperature and diversity: their properties, and small cases by hand."""

from __future__ import annotations

import numpy as np
import pytest

from emotify.ensembling.conclusion import conclude
from emotify.ensembling.diversity import measure_diversity
from emotify.evaluation.classifier import pool_probabilities
from emotify.evaluation.metrics import negative_log_likelihood
from emotify.evaluation.temperature import fit_temperature, with_temperature

CHANCE = np.random.default_rng(0)
LABELS = CHANCE.integers(0, 7, 300)
ANSWERS = CHANCE.dirichlet(np.ones(7), (4, 300)).astype(np.float32)


def certain(predictions):
    return (np.eye(7, dtype=np.float32)[predictions] + 1e-6) / (1 + 7e-6)


def test_temperature_one_changes_nothing_and_two_flattens():
    assert np.allclose(with_temperature(ANSWERS[0], 1), ANSWERS[0], atol=1e-6)
    assert with_temperature(ANSWERS[0], 2).max(1).mean() < ANSWERS[0].max(1).mean()
    assert (with_temperature(ANSWERS[0], 2).argmax(1) == ANSWERS[0].argmax(1)).all()


def test_a_low_temperature_separates_unsure_answers():
    """softmax(log p / T), as in the exported graph, where powers of p are almost 0."""
    unsure = np.random.default_rng(1).dirichlet(np.full(7, 50.0), 300).astype(np.float32)
    powers = unsure.astype(np.float64) ** (1 / 0.07)
    assert np.abs(with_temperature(unsure, 0.07) - powers / powers.sum(1, keepdims=True)).max() < 1e-5


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_fitted_temperature_corrects_a_wrong_one(temperature):
    """Labels are drawn from the probabilities, so T corrects what 1/T sharpened."""
    chance = np.random.default_rng(1)
    honest = chance.dirichlet(np.ones(7), 20_000).astype(np.float32)
    labels = np.array([chance.choice(7, p=row / row.sum()) for row in honest.astype(np.float64)])
    assert fit_temperature(with_temperature(honest, 1 / temperature), labels) == pytest.approx(temperature, rel=0.05)


def test_the_fitted_temperature_never_harms():
    fitted = with_temperature(ANSWERS[0], fit_temperature(ANSWERS[0], LABELS))
    assert negative_log_likelihood(fitted, LABELS) <= negative_log_likelihood(ANSWERS[0], LABELS) + 1e-6


def test_the_gain_is_the_mean_divergence_from_the_members():
    """Pooled NLL = mean member NLL - mean KL(pooled || member), exactly."""
    diversity = measure_diversity(ANSWERS, LABELS)
    pooled = pool_probabilities(ANSWERS).astype(np.float64)
    divergence = (pooled * (np.log(pooled) - np.log(ANSWERS))).sum(2).mean()
    assert diversity.gain == pytest.approx(divergence, abs=1e-5)
    assert diversity.pooled_nll == pytest.approx(negative_log_likelihood(pool_probabilities(ANSWERS), LABELS))


def test_disagreement_by_hand():
    """Two members, four images: they differ on two, and both miss one."""
    diversity = measure_diversity(np.stack([certain([0, 1, 2, 3]), certain([0, 1, 5, 4])]), np.array([0, 2, 2, 3]))
    assert diversity.disagreement[0, 1] == 0.5
    assert diversity.double_fault[0, 1] == 0.25
    assert diversity.all_wrong == 0.25
    assert diversity.oracle_accuracy == 0.75
    assert (diversity.best_member, diversity.best_accuracy) == (0, 0.75)


def test_weak_members_share_mistakes_by_chance():
    """Each member is right on different 10 % of the images; the text is not contradictory."""
    labels = np.zeros(100, int)
    first, second = np.ones(100, int), np.full(100, 2)
    first[:10] = second[-10:] = 0
    text = conclude(measure_diversity(np.stack([certain(first), certain(second)]), labels))
    assert "share 89% of their mistakes" in text
    assert "Beyond chance, their mistakes are hardly related" in text


def test_equal_members_gain_nothing():
    diversity = measure_diversity(np.stack([ANSWERS[0]] * 3), LABELS)
    assert diversity.gain == pytest.approx(0, abs=1e-6)
    assert diversity.mean_disagreement == 0
    assert "could be chance" in conclude(diversity)
    assert "100%" in conclude(diversity)


def test_a_significant_gain_is_reported():
    """Three members that are wrong on different images are right together."""
    labels = np.zeros(90, np.int64)
    members = []
    for member in range(3):
        predictions = np.zeros(90, np.int64)
        predictions[30 * member : 30 * member + 30] = member + 1
        members.append(certain(predictions))
    diversity = measure_diversity(np.stack(members), labels)
    assert diversity.pooled_accuracy == 1
    assert conclude(diversity).startswith("The ensemble beats its best member by 33.33 points")


def test_an_ensemble_of_one_equals_its_member():
    assert "ensemble of one" in conclude(measure_diversity(ANSWERS[:1], LABELS))
