"""Weights: fitted where they help, and scored on held-out images."""

from __future__ import annotations

import numpy as np
import pytest

from emotify.choices import Method
from emotify.data.ferplus import EXPRESSION_COLUMNS, VOTES
from emotify.ensembling.combine import combine, combine_crowd, identical_members
from emotify.ensembling.conclusion import conclude
from emotify.ensembling.diversity import measure_diversity
from emotify.ensembling.pooling import Pooling
from emotify.ensembling.weights import BEST, drop_small_weights, fit, fit_weights, score_method, select_greedily
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
def test_weights_sum_to_1_and_depend_only_on_the_seed(method):
    pooling = fit(method, UNEQUAL, LABELS, seed=3)
    assert sum(pooling.weights) == pytest.approx(1)
    assert min(pooling.weights) >= 0
    assert fit(method, UNEQUAL, LABELS, seed=3) == pooling


def test_fitted_weights_depend_on_accuracy_and_not_on_confidence():
    """A more accurate member has more weight, even with low confidence, which the temperature corrects."""
    timid = np.stack([member(2.0, confidence=0.3, seed=1), member(1.0, seed=2)])
    for weights in (fit_weights(UNEQUAL, LABELS), select_greedily(UNEQUAL, LABELS, seed=0)):
        assert weights[0] > weights[2] > weights[1]
    assert fit_weights(timid, LABELS)[0] > 0.6


def test_fitted_weights_are_optimal():
    """A coarse grid search finds no weights that are better by more than the ridge penalty."""
    found = fit(Method.WEIGHTED, UNEQUAL, LABELS, seed=0)(UNEQUAL)
    grid = [(a / 10, b / 10, (10 - a - b) / 10) for a in range(11) for b in range(11 - a)]
    temperature = fit(Method.WEIGHTED, UNEQUAL, LABELS, seed=0).temperature
    best = min(negative_log_likelihood(Pooling(weights, temperature)(UNEQUAL), LABELS) for weights in grid)
    assert negative_log_likelihood(found, LABELS) < best + 0.002


def test_the_crowd_heads_have_weights_of_their_own():
    """They are fitted to the vote shares. A member without a crowd head has weight 0."""
    votes = np.zeros((len(LABELS), len(VOTES)), np.uint8)
    votes[np.arange(len(LABELS)), np.array(EXPRESSION_COLUMNS)[LABELS]] = 8
    votes[:, VOTES.index("neutral")] += 2
    votes[0] = [0] * 9 + [10]  # an image without a vote for an expression
    combination = combine_crowd([UNEQUAL[1], None, UNEQUAL[0]], votes, method=Method.WEIGHTED)
    assert combination is not None
    weak, none, good = combination.pooling.weights
    assert none == 0
    assert good > 2 * weak > 0
    assert combination.member_scores[1] is None
    equal = combine_crowd([UNEQUAL[1], None, UNEQUAL[0]], votes)
    assert equal is not None
    assert equal.pooling.weights == (0.5, 0, 0.5)
    assert combination.scores.cross_entropy < equal.scores.cross_entropy
    assert combine_crowd([None, None], votes) is None


def test_unanimous_votes_give_the_same_weights_as_labels():
    shares = np.eye(7, dtype=np.float32)[LABELS]
    for method in (Method.WEIGHTED, Method.GREEDY):
        assert fit(method, UNEQUAL, shares, seed=0) == fit(method, UNEQUAL, LABELS, seed=0)


def test_similar_members_share_their_weight():
    weights = fit_weights(np.stack([UNEQUAL[0], UNEQUAL[0], UNEQUAL[1]]), LABELS)
    assert weights[0] == pytest.approx(weights[1], abs=1e-3)


def test_small_weights_become_zero():
    assert drop_small_weights(np.array([0.01, 0.495, 0.495])).tolist() == [0, 0.5, 0.5]


def test_the_cross_fitted_score_is_not_optimistic():
    """Forty random members fit 400 images by chance, but not held-out images."""
    answers = np.stack([member(0.0, seed=seed) for seed in range(40)])
    trial = score_method(Method.WEIGHTED, answers, LABELS, seed=0)
    assert trial.fitted.nll < trial.cross_fitted.nll
    assert trial.cross_fitted.nll > np.log(7) - 0.01


def test_fitted_weights_without_a_gain_are_not_used():
    """Equal members get equal weights. One good member among twelve random ones is used alone."""
    equal = combine(np.stack([member(1.5, seed=seed) for seed in range(4)]), LABELS, method=Method.GREEDY)
    assert equal.taken is Method.MEAN
    assert len(set(equal.pooling.weights)) == 1
    answers = np.stack([member(2.5, seed=99), *(member(0.0, seed=seed) for seed in range(12))])
    alone = combine(answers, LABELS, method=Method.WEIGHTED)
    assert alone.taken is BEST
    assert alone.pooling.weights == (1.0, *[0.0] * 12)
    assert alone.conclusion.startswith("The ensemble is only #1")
    assert not alone.worse_in()


def test_a_mean_below_its_best_member_is_explained():
    """The method stays mean, and the advice names a better method."""
    combination = combine(UNEQUAL[:2], LABELS)
    assert combination.taken is Method.MEAN
    assert "accuracy" in combination.worse_in()[0]
    assert "points weaker than the best member and has 50% of the weight" in combination.conclusion
    assert combination.advice() in (Method.WEIGHTED, Method.GREEDY, BEST)


@pytest.mark.parametrize("linear", [False, True])
def test_an_ensemble_of_one_equals_its_member(linear):
    pooled = Pooling((1.0,), 1.0, linear)(UNEQUAL[:1])
    assert np.allclose(pooled, UNEQUAL[0], atol=1e-6)


def test_the_method_probabilities_averages_probabilities():
    pooled = Pooling((0.25, 0.75), 1.0, linear=True).raw(UNEQUAL[:2])
    assert np.allclose(pooled, 0.25 * UNEQUAL[0] + 0.75 * UNEQUAL[1])


def test_fitted_weights_are_scored_on_held_out_images():
    """The conclusion's accuracy and p use cross-fitted answers; equal weights do not need them."""
    fitted, equal = (combine(UNEQUAL, LABELS, method=method) for method in (Method.WEIGHTED, Method.MEAN))
    assert fitted.diversity.pooled_accuracy == fitted.cross_fitted.accuracy
    assert "cross-fitted" in fitted.conclusion
    assert equal.diversity.pooled_accuracy == equal.scores.accuracy
    assert "cross-fitted" not in equal.conclusion


def test_identical_members_are_found_once():
    assert identical_members(np.stack([UNEQUAL[0], UNEQUAL[1], UNEQUAL[0], UNEQUAL[0]])) == {2: 0, 3: 0}


def test_the_gain_is_the_weighted_mean_divergence():
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


def test_undefined_measures_are_null():
    """A member that is never wrong has no error correlation: null in JSON, and not in the conclusion."""
    right = np.eye(7, dtype=np.float32)[LABELS]
    diversity = measure_diversity(np.stack([right, UNEQUAL[0]]), LABELS)
    assert diversity.document()["error_correlation"][0][1] is None
    assert "correlation" not in conclude(diversity)


def test_the_gain_of_a_member_is_the_loss_without_it():
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
        ({}, "of the time)."),
    ],
)
def test_the_conclusion_explains_why_members_are_similar(other, told):
    diversity = measure_diversity(np.stack([UNEQUAL[0], UNEQUAL[0]]), LABELS)
    text = conclude(diversity, [{"model": "cnn", "seed": 0, "threads": 1}, other])
    assert "mistakes are very similar" in text
    assert told in text
