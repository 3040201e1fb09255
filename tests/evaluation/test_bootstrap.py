"""Bootstrap intervals: they agree with SciPy, and they are fast."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from emotify.evaluation.bootstrap import bootstrap_confusion, bootstrap_difference

CHANCE = np.random.default_rng(3)
LABELS = CHANCE.integers(0, 7, 400)
ANSWERS = np.where(CHANCE.random(400) < 0.6, LABELS, CHANCE.integers(0, 7, 400))
OTHERS = np.where(CHANCE.random(400) < 0.2, CHANCE.integers(0, 7, 400), ANSWERS)
CONFUSION = metrics.confusion_matrix(LABELS, ANSWERS)


def oracle(statistic, *data):
    result = stats.bootstrap(
        data, statistic, paired=True, vectorized=False, n_resamples=1000, method="percentile", rng=CHANCE
    )
    return tuple(result.confidence_interval)


def test_the_interval_of_accuracy_agrees_with_scipy():
    """They agree up to the noise of the resampling."""
    ours = bootstrap_confusion(CONFUSION).accuracy
    assert ours == pytest.approx(oracle(lambda right: right.mean(), ANSWERS == LABELS), abs=0.01)


def test_intervals_of_balanced_accuracy_and_f1_agree_with_resampled_images():
    """emotify draws the counts of the confusion matrix. The test draws images and scores them with scikit-learn."""
    values = []
    for row in np.random.default_rng(0).integers(0, 400, (300, 400)):
        columns = metrics.precision_recall_fscore_support(LABELS[row], ANSWERS[row], average="macro")
        values.append(columns[1:3])
    (low_recall, low_f1), (high_recall, high_f1) = np.percentile(values, [2.5, 97.5], axis=0)
    ours = bootstrap_confusion(CONFUSION)
    assert ours.balanced_accuracy == pytest.approx((low_recall, high_recall), abs=0.015)
    assert ours.macro_f1 == pytest.approx((low_f1, high_f1), abs=0.015)


def test_the_interval_of_a_difference_agrees_with_scipy():
    """The interval is paired, so it is much narrower than two separate intervals would suggest."""
    a, b = ANSWERS == LABELS, OTHERS == LABELS
    ours = bootstrap_difference(int((a & ~b).sum()), int((b & ~a).sum()), 400)
    assert ours == pytest.approx(oracle(lambda x, y: x.mean() - y.mean(), a, b), abs=0.01)
    low, high = bootstrap_confusion(CONFUSION).accuracy
    assert ours[1] - ours[0] < high - low


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=49, max_size=49).filter(any))
def test_intervals_contain_the_accuracy_and_are_in_0_to_1(cells):
    """This holds for any missing classes. The intervals are the same every time."""
    confusion = np.array(cells).reshape(7, 7)
    intervals = bootstrap_confusion(confusion, resamples=500)
    low, high = intervals.accuracy
    assert 0 <= low <= np.trace(confusion) / confusion.sum() <= high <= 1
    for low, high in (intervals.balanced_accuracy, intervals.macro_f1):
        assert 0 <= low <= high <= 1
    assert intervals == bootstrap_confusion(confusion, resamples=500)


def test_the_interval_of_a_perfect_classifier_has_width_zero():
    intervals = bootstrap_confusion(np.diag([5, 0, 1, 2, 3, 4, 6]))
    assert intervals.accuracy == intervals.balanced_accuracy == intervals.macro_f1 == (1, 1)
    assert bootstrap_difference(0, 0, 10) == (0, 0)


def test_ten_thousand_resamples_are_faster_than_fifty_single_ones():
    """CPU times are compared. The single resamples are scored with scikit-learn."""
    labels, answers = np.tile(LABELS, 9), np.tile(ANSWERS, 9)
    confusion = metrics.confusion_matrix(labels, answers)
    begun = time.process_time()
    bootstrap_confusion(confusion)
    ours = time.process_time() - begun
    begun = time.process_time()
    for row in np.random.default_rng(0).integers(0, len(labels), (50, len(labels))):
        metrics.balanced_accuracy_score(labels[row], answers[row])
        metrics.f1_score(labels[row], answers[row], average="macro")
    assert ours < time.process_time() - begun
