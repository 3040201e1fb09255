"""Scores: cases worked by hand, and scikit-learn as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics
from sklearn.calibration import calibration_curve

from emotify.data import LabelledImages, Split
from emotify.emotions import EMOTIONS
from emotify.evaluation.classifier import Answers, AveragedViews, pool_probabilities
from emotify.evaluation.crowd import crowd_labels, crowd_shares, score_crowd
from emotify.evaluation.evaluate import evaluate
from emotify.evaluation.metrics import (
    adaptive_calibration_error,
    brier_score,
    calibration_bins,
    calibration_error,
    negative_log_likelihood,
    score,
    top2_accuracy,
    wilson_interval,
)


def certain(predictions):
    return np.eye(7, dtype=np.float32)[predictions]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 200))
def test_scores_agree_with_scikit_learn(seed, n):
    """Random probabilities, also with missing classes."""
    chance = np.random.default_rng(seed)
    labels = chance.integers(0, chance.integers(1, 8), n)
    probabilities = chance.dirichlet(np.ones(7), n).astype(np.float32)
    scores = score(probabilities, labels)
    predictions = probabilities.argmax(1)
    present = np.unique(labels)
    assert scores.accuracy == pytest.approx(metrics.accuracy_score(labels, predictions), abs=1e-12)
    recall = metrics.recall_score(labels, predictions, labels=present, average="macro", zero_division=0)
    assert scores.balanced_accuracy == pytest.approx(recall, abs=1e-12)
    f1 = metrics.f1_score(labels, predictions, labels=present, average="macro", zero_division=0)
    assert scores.macro_f1 == pytest.approx(f1, abs=1e-12)
    wide = probabilities.astype(np.float64) / probabilities.sum(1, keepdims=True, dtype=np.float64)
    assert scores.nll == pytest.approx(metrics.log_loss(labels, wide, labels=range(7)), abs=1e-5)
    wanted = np.eye(7)[labels]
    assert scores.brier == pytest.approx(7 * metrics.mean_squared_error(wanted, probabilities), abs=1e-12)
    top2 = metrics.top_k_accuracy_score(labels, probabilities, k=2, labels=range(7))
    assert scores.top2_accuracy == pytest.approx(top2, abs=1e-12)
    columns = metrics.precision_recall_fscore_support(labels, predictions, labels=range(7), zero_division=0.0)
    ours = [(row.precision, row.recall, row.f1, row.support) for row in scores.per_class.values()]
    assert np.array(ours) == pytest.approx(np.array(columns).T, abs=1e-12)
    assert (scores.confusion == metrics.confusion_matrix(labels, predictions, labels=range(7))).all()


@settings(max_examples=50, deadline=None)
@given(data=st.data(), count=st.integers(1, 10**6))
def test_the_interval_of_accuracy_is_wilsons_interval(data, count):
    """It agrees with scipy, also when all or no predictions are right."""
    right = data.draw(st.sampled_from([0, count]) | st.integers(0, count))
    interval = binomtest(right, count).proportion_ci(method="wilson")
    low, high = wilson_interval(right, count)
    assert (low, high) == pytest.approx((interval.low, interval.high), abs=1e-12)
    assert 0 <= low <= right / count <= high <= 1


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 20), adaptive=st.booleans())
def test_bins_agree_with_scikit_learn(seed, n, adaptive):
    """Both kinds of bins, with a multiple of 15 images, so that all adaptive bins have equal size."""
    chance = np.random.default_rng(seed)
    labels = chance.integers(0, 7, 15 * n)
    probabilities = chance.dirichlet(np.ones(7), 15 * n).astype(np.float32)
    bins = calibration_bins(probabilities, labels, adaptive=adaptive)
    right, confidence = probabilities.argmax(1) == labels, probabilities.max(1).astype(np.float64)
    strategy = "quantile" if adaptive else "uniform"
    accuracies, confidences = calibration_curve(right, confidence, n_bins=15, strategy=strategy)
    filled = bins.counts > 0
    assert bins.accuracy[filled] == pytest.approx(accuracies, abs=1e-12)
    assert bins.confidence[filled] == pytest.approx(confidences, abs=1e-12)
    assert bins.counts.sum() == 15 * n
    assert bins.error == pytest.approx(np.abs(accuracies - confidences) @ bins.counts[filled] / (15 * n), abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 200))
def test_calibration_does_not_depend_on_the_order_of_images(seed, n):
    """Images with equal confidence share a bin."""
    chance = np.random.default_rng(seed)
    labels = chance.integers(0, 7, n)
    probabilities = np.round(chance.dirichlet(np.ones(7), n), 1).astype(np.float32)
    order = chance.permutation(n)
    for error in (calibration_error, adaptive_calibration_error):
        here, there = error(probabilities, labels), error(probabilities[order], labels[order])
        assert here == pytest.approx(there, abs=1e-12)
        assert 0 <= here <= 1


def test_confusion_rows_are_the_truth():
    scores = score(certain([0, 0, 3]), np.array([0, 3, 3]))
    assert scores.confusion[3, 0] == 1
    assert scores.confusion[0, 3] == 0
    assert scores.per_class["happy"].recall == 0.5
    assert scores.per_class["happy"].precision == 1
    assert [row.support for row in scores.per_class.values()] == [1, 0, 0, 2, 0, 0, 0]


def test_calibration_by_hand():
    """Two answers with confidence 0.8, one right: the gap is 0.3. Certain and right: the gap is 0."""
    answers = np.full((2, 7), 0.2 / 6, np.float32)
    answers[:, 0] = 0.8
    assert calibration_error(answers, np.array([0, 1])) == pytest.approx(0.3, abs=1e-6)
    assert calibration_error(certain([0, 1]), np.array([0, 1])) == 0


def test_adaptive_bins_by_hand():
    """Thirty confidences between 0.9 and 1 are in one or two equal-width bins, but two are in each adaptive bin."""
    confidence = np.linspace(0.9, 1, 30)
    answers = np.stack([confidence, 1 - confidence, *np.zeros((5, 30))], 1).astype(np.float32)
    labels = np.arange(30) % 2
    assert calibration_bins(answers, labels, adaptive=True).counts.tolist() == [2] * 15
    assert np.count_nonzero(calibration_bins(answers, labels).counts) == 2
    assert adaptive_calibration_error(answers, labels) == pytest.approx(np.mean(confidence) - 0.5, abs=1e-6)


def test_top_2_by_hand():
    """The second place counts, the third does not. Of equal probabilities, the first class wins, as in a prediction."""
    answers = np.array([[0.5, 0.3, 0.2, 0, 0, 0, 0]] * 3, np.float32)
    assert top2_accuracy(answers, np.array([0, 1, 2])) == pytest.approx(2 / 3)
    assert top2_accuracy(np.full((1, 7), 1 / 7, np.float32), np.array([2])) == 0


def test_brier_and_nll_by_hand():
    half = np.array([[0.5, 0.5, 0, 0, 0, 0, 0]], np.float32)
    assert brier_score(half, np.array([0])) == pytest.approx(0.5)
    assert brier_score(certain([1]), np.array([0])) == pytest.approx(2)
    assert negative_log_likelihood(half, np.array([0])) == pytest.approx(np.log(2))


class Fixed:
    """A classifier whose answer depends on the first pixel, so a mirrored image gets another answer."""

    name = "fixed"

    def answers(self, images):
        return Answers(certain(images[:, 0, 0, 0].astype(np.int64)))


def labelled(first, labels, last=None) -> LabelledImages:
    images = np.zeros((len(labels), 1, 48, 48), np.uint8)
    images[:, 0, 0, 0] = first
    images[:, 0, 0, -1] = first if last is None else last
    return LabelledImages(images, np.array(labels))


def test_clean_scores_exclude_images_of_train():
    """The accuracy is 3/4 over all images, and 1/2 without the two in train. One of the rest is nearly in train."""
    exact, near = np.array([True, True, False, False]), np.array([True, False, True, False])
    images = labelled([0, 1, 2, 3], [0, 1, 2, 4])
    (result,) = evaluate([Fixed()], images, Split.VALID, in_train=exact, near_train=near).results
    assert result.scores.accuracy == 0.75
    assert result.clean is not None
    assert (result.clean.scores.n, result.clean.scores.accuracy) == (2, 0.5)
    assert (result.clean.near_duplicates, result.clean.accuracy_without_near) == (1, 0)


def test_without_images_outside_train_there_are_no_clean_scores():
    inside, images = np.array([True, True]), labelled([0, 1], [0, 1])
    (result,) = evaluate([Fixed()], images, Split.TEST, in_train=inside, near_train=inside).results
    assert result.clean is None
    assert result.document()["clean"] is None


def test_the_mirrored_view_is_averaged_with_the_image():
    """A symmetric image keeps its answer; otherwise, two certain answers share the probability."""
    both = AveragedViews(Fixed(), "mirror").answers(labelled([3, 3], [3, 3], last=[3, 5]).images).labels
    assert both[0, 3] == pytest.approx(1)
    assert both[1, 3] == pytest.approx(both[1, 5]) == pytest.approx(0.5, abs=1e-4)


def test_ten_views_are_five_places_and_their_mirror_images():
    """A bright pixel appears in the middle, shifted by one pixel along both diagonals, and mirrored."""

    class Looking:
        name = "looking"
        seen: list[tuple[int, int]] = []  # noqa: RUF012

        def answers(self, images):
            self.seen.append(np.unravel_index(images[0, 0].argmax(), (48, 48)))
            return Answers(np.full((len(images), 7), 1 / 7, np.float32))

    images = np.zeros((1, 1, 48, 48), np.uint8)
    images[0, 0, 10, 20] = 255
    AveragedViews(Looking(), "ten").answers(images)
    places = [(10, 20), (11, 21), (11, 19), (9, 21), (9, 19)]
    assert Looking.seen == places + [(row, 47 - column) for row, column in places]


def test_pooling_one_member_changes_nothing_and_order_does_not_matter():
    answers = np.random.default_rng(0).dirichlet(np.ones(7), (3, 20)).astype(np.float32)
    assert np.allclose(pool_probabilities(answers[:1]), answers[0], atol=1e-6)
    assert np.allclose(pool_probabilities(answers), pool_probabilities(answers[::-1]), atol=1e-6)
    assert np.allclose(pool_probabilities(answers).sum(1), 1, atol=1e-6)


def test_documents_use_the_names_of_the_classes():
    assert tuple(score(certain([0]), np.array([0])).document()["per_class"]) == EMOTIONS


def test_crowd_scores_by_hand():
    """FER+'s columns become FER-2013's classes. Contempt, unknown, no face and ties have no class."""
    #              neutral happy surprise sad anger disgust fear contempt unknown NF
    votes = np.array(
        [
            [8, 1, 0, 0, 0, 0, 0, 0, 1, 0],
            [0, 0, 0, 1, 9, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 6, 4, 0],
            [5, 5, 0, 0, 0, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 1, 0, 0, 9],
        ],
        np.uint8,
    )
    assert crowd_labels(votes).tolist() == [6, 0, -1, -1, -1]
    labelled_votes = LabelledImages(labelled([6, 3, 0, 0, 0], [0] * 5).images, np.zeros(5, np.int64), votes)
    (result,) = evaluate([Fixed()], labelled_votes, Split.VALID).results
    assert result.crowd is not None
    assert (result.crowd.scores.n, result.crowd.scores.accuracy) == (2, 0.5)


def test_cross_entropy_to_the_crowd_by_hand():
    """Three votes are neutral and one is happy; votes for contempt do not count."""
    votes = np.array([[3, 1, 0, 0, 0, 0, 0, 2, 0, 0]], np.uint8)
    assert crowd_shares(votes).tolist() == [[0, 0, 0, 0.25, 0, 0, 0.75]]
    crowd = score_crowd(np.array([[0, 0, 0, 0.5, 0, 0, 0.5]], np.float32), votes)
    assert crowd is not None
    assert crowd.cross_entropy == pytest.approx(np.log(2))
    assert crowd.entropy == pytest.approx(-0.25 * np.log(0.25) - 0.75 * np.log(0.75))
    assert score_crowd(certain([0]), np.zeros((1, 10), np.uint8)) is None
