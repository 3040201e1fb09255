"""Weights: found where they pay, judged on images they were not found on, and never more than that."""

from __future__ import annotations

import numpy as np
import pytest

from emotify.choices import Method
from emotify.ensembling.combine import combine, identical_members
from emotify.ensembling.conclusion import conclude
from emotify.ensembling.diversity import measure_diversity
from emotify.ensembling.pooling import Pooling
from emotify.ensembling.weights import BEST, attempt, fit, fit_weights, select_greedily, without_small
from emotify.evaluation.metrics import negative_log_likelihood

CHANCE = np.random.default_rng(0)
LABELS = CHANCE.integers(0, 7, 400)


def member(skill, *, confidence=1.0, seed=0):
    """Return answers (N, 7) whose true class leads by `skill` on average."""
    logits = np.random.default_rng(seed).normal(size=(len(LABELS), 7)) + skill * np.eye(7)[LABELS]
    powers = np.exp(confidence * logits)
    return (powers / powers.sum(1, keepdims=True)).astype(np.float32)


UNEQUAL = np.stack([member(2.0, seed=1), member(0.3, seed=2), member(1.5, seed=3)])


@pytest.mark.parametrize("method", Method)
def test_weights_are_shares_and_the_same_for_the_same_seed(method):
    pooling = fit(method, UNEQUAL, LABELS, seed=3)
    assert sum(pooling.weights) == pytest.approx(1)
    assert min(pooling.weights) >= 0
    assert fit(method, UNEQUAL, LABELS, seed=3) == pooling


def test_fitted_weights_follow_skill_and_not_confidence():
    """The better member counts more, however timidly it answers: the temperature mends that."""
    timid = np.stack([member(2.0, confidence=0.3, seed=1), member(1.0, seed=2)])
    for weights in (fit_weights(UNEQUAL, LABELS), select_greedily(UNEQUAL, LABELS, seed=0)):
        assert weights[0] > weights[2] > weights[1]
    assert fit_weights(timid, LABELS)[0] > 0.6


def test_no_weights_are_better_than_the_fitted():
    """A coarse search of the whole simplex finds nothing that beats the fit by more than its ridge."""
    found = fit(Method.WEIGHTED, UNEQUAL, LABELS, seed=0)(UNEQUAL)
    grid = [(a / 10, b / 10, (10 - a - b) / 10) for a in range(11) for b in range(11 - a)]
    temperature = fit(Method.WEIGHTED, UNEQUAL, LABELS, seed=0).temperature
    best = min(negative_log_likelihood(Pooling(weights, temperature)(UNEQUAL), LABELS) for weights in grid)
    assert negative_log_likelihood(found, LABELS) < best + 0.002


def test_alike_members_share_their_weight():
    weights = fit_weights(np.stack([UNEQUAL[0], UNEQUAL[0], UNEQUAL[1]]), LABELS)
    assert weights[0] == pytest.approx(weights[1], abs=1e-3)


def test_small_weights_go():
    assert without_small(np.array([0.01, 0.495, 0.495])).tolist() == [0, 0.5, 0.5]


def test_the_cross_fitted_score_is_the_sober_one():
    """Forty members of pure chance fit 400 images by luck; on other images that luck is gone."""
    answers = np.stack([member(0.0, seed=seed) for seed in range(40)])
    trial = attempt(Method.WEIGHTED, answers, LABELS, seed=0)
    assert trial.fitted.nll < trial.cross_fitted.nll
    assert trial.cross_fitted.nll > np.log(7) - 0.01


def test_weights_that_do_not_pay_are_not_taken():
    """Equal members get equal weights; one able member among twelve of chance is taken alone."""
    equal = combine(np.stack([member(1.5, seed=seed) for seed in range(4)]), LABELS, method=Method.GREEDY)
    assert equal.taken is Method.MEAN
    assert len(set(equal.pooling.weights)) == 1
    answers = np.stack([member(2.5, seed=99), *(member(0.0, seed=seed) for seed in range(12))])
    alone = combine(answers, LABELS, method=Method.WEIGHTED)
    assert alone.taken is BEST
    assert alone.pooling.weights == (1.0, *[0.0] * 12)
    assert alone.conclusion.startswith("The ensemble is only #1")
    assert not alone.worse_in()


def test_a_mean_that_is_worse_than_its_best_member_says_so_and_why():
    """Nothing is changed behind one's back: mean stays mean, and the advice is a method that does better."""
    combination = combine(UNEQUAL[:2], LABELS)
    assert combination.taken is Method.MEAN
    assert "accuracy" in combination.worse_in()[0]
    assert "points weaker than the best member and has 50% of the weight" in combination.conclusion
    assert combination.advice() in (Method.WEIGHTED, Method.GREEDY, BEST)


@pytest.mark.parametrize("linear", [False, True])
def test_an_ensemble_of_one_is_its_member(linear):
    pooled = Pooling((1.0,), 1.0, linear)(UNEQUAL[:1])
    assert np.allclose(pooled, UNEQUAL[0], atol=1e-6)


def test_the_mean_of_probabilities_is_that():
    pooled = Pooling((0.25, 0.75), 1.0, linear=True).raw(UNEQUAL[:2])
    assert np.allclose(pooled, 0.25 * UNEQUAL[0] + 0.75 * UNEQUAL[1])


def test_fitted_weights_are_judged_on_other_images():
    """The verdict's accuracy and p are of the cross-fitted answers; equal weights need no such care."""
    fitted, equal = (combine(UNEQUAL, LABELS, method=method) for method in (Method.WEIGHTED, Method.MEAN))
    assert fitted.diversity.pooled_accuracy == fitted.cross_fitted.accuracy
    assert "cross-fitted" in fitted.conclusion
    assert equal.diversity.pooled_accuracy == equal.scores.accuracy
    assert "cross-fitted" not in equal.conclusion


def test_twins_are_found_once():
    assert identical_members(np.stack([UNEQUAL[0], UNEQUAL[1], UNEQUAL[0], UNEQUAL[0]])) == {2: 0, 3: 0}


def test_the_weighted_decomposition_is_exact():
    """Pooled NLL = weighted member NLL - weighted KL(pooled || member), for any weights."""
    diversity = measure_diversity(UNEQUAL, LABELS, Pooling((0.6, 0.1, 0.3), 1.0))
    assert diversity.gain == pytest.approx(diversity.divergence, abs=1e-6)
    nll = [negative_log_likelihood(one, LABELS) for one in UNEQUAL]
    assert diversity.member_nll == pytest.approx(np.dot([0.6, 0.1, 0.3], nll))


def test_pair_measures_by_hand():
    """Ten images: both right on 4, only the first on 3, only the second on 1, both wrong on 2, once alike."""
    labels = np.zeros(10, np.int64)
    first, second = [0] * 7 + [1, 1, 1], [0] * 4 + [1] * 3 + [0, 1, 2]
    diversity = measure_diversity(np.stack([np.eye(7, dtype=np.float32)[one] for one in (first, second)]), labels)
    assert diversity.q_statistic[0, 1] == pytest.approx((4 * 2 - 3 * 1) / (4 * 2 + 3 * 1))
    wrong = np.array([first, second]) != 0
    assert diversity.error_correlation[0, 1] == pytest.approx(np.corrcoef(wrong)[0, 1])
    assert diversity.same_mistake[0, 1] == pytest.approx(0.5)
    assert diversity.disagreement[0, 1] == pytest.approx(0.5)


def test_what_has_no_meaning_is_null():
    """A member that is never wrong correlates with nothing: null in JSON, and the conclusion does without."""
    right = np.eye(7, dtype=np.float32)[LABELS]
    diversity = measure_diversity(np.stack([right, UNEQUAL[0]]), LABELS)
    assert diversity.document()["error_correlation"][0][1] is None
    assert "correlation" not in conclude(diversity)


def test_what_a_member_adds_is_what_is_lost_without_it():
    diversity = measure_diversity(UNEQUAL, LABELS, Pooling((0.5, 0.0, 0.5), 1.0))
    first, left_out, _ = diversity.marginal
    assert left_out is None
    assert first is not None
    assert first.nll < 0 < first.accuracy
    alone = (UNEQUAL[2].argmax(1) == LABELS).mean()
    assert first.accuracy == pytest.approx(diversity.pooled_accuracy - alone)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"model": "cnn", "seed": 1, "threads": 4}, "differ only in their seed"),
        ({"model": "fnn", "seed": 0, "threads": 1}, "differ in model"),
        ({"model": "cnn", "seed": 1, "threads": 1, "mixup": 0.0}, "differ only in their seed"),
        ({"model": "cnn", "seed": 0, "threads": 9}, "with the same seed"),
        ({}, "same answer)."),
    ],
)
def test_the_conclusion_says_why_members_are_alike(other, told):
    diversity = measure_diversity(np.stack([UNEQUAL[0], UNEQUAL[0]]), LABELS)
    text = conclude(diversity, [{"model": "cnn", "seed": 0, "threads": 1}, other])
    assert "mistakes are very similar" in text
    assert told in text
