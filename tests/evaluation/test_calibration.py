"""Calibrated scores use images that the temperature was not fitted on."""

from __future__ import annotations

import numpy as np
import pytest

from emotify.data import LabelledImages, Split
from emotify.evaluation.calibration import calibrate
from emotify.evaluation.classifier import Answers
from emotify.evaluation.evaluate import evaluate
from emotify.evaluation.metrics import calibration_error, negative_log_likelihood
from emotify.evaluation.temperature import fit_temperature, with_temperature

CHANCE = np.random.default_rng(0)
HONEST = CHANCE.dirichlet(np.ones(7), 2000).astype(np.float32)
LABELS = np.array([CHANCE.choice(7, p=row / row.sum()) for row in HONEST.astype(np.float64)])
SHARP = with_temperature(HONEST, 0.5)


class Answering:
    """A classifier that answers image i with row i. The first two pixels of an image give its i."""

    name = "answering"

    def answers(self, images):
        return Answers(SHARP[images[:, 0, 0, 0].astype(np.int64) * 256 + images[:, 0, 0, 1]])


def images(rows) -> LabelledImages:
    pixels = np.zeros((len(rows), 1, 48, 48), np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = rows // 256, rows % 256
    return LabelledImages(pixels, LABELS[rows])


def test_temperature_corrects_overconfidence():
    """Answers sharpened by a temperature of 1/2 need temperature 2, which restores them. Predictions do not change."""
    after = calibrate(SHARP, LABELS)
    assert after.temperature == pytest.approx(2, rel=0.1)
    assert after.nll == pytest.approx(negative_log_likelihood(HONEST, LABELS), abs=0.01)
    assert after.ece < 0.05 < calibration_error(SHARP, LABELS)
    assert (after.probabilities.argmax(1) == SHARP.argmax(1)).all()


def test_the_temperature_of_an_image_does_not_depend_on_its_label():
    """A changed label changes the probabilities of the other folds, but not those of its own image."""
    labels = LABELS.copy()
    labels[7] = SHARP[7].argmin()
    changed = (calibrate(SHARP, labels).probabilities != calibrate(SHARP, LABELS).probabilities).any(1)
    assert not changed[7]
    assert changed.mean() > 0.7


def test_other_splits_use_the_temperature_of_valid():
    """Test and train use the temperature that was fitted on all of valid and on nothing else."""
    valid, test = np.arange(1000), np.arange(1000, 2000)
    (result,) = evaluate([Answering()], images(test), Split.TEST, valid=images(valid)).results
    assert result.calibration is not None
    assert not result.calibration.cross_fitted
    assert result.calibration.temperature == fit_temperature(SHARP[valid], LABELS[valid])
    (alone,) = evaluate([Answering()], images(test), Split.TEST).results
    assert alone.calibration is None
    (itself,) = evaluate([Answering()], images(valid), Split.VALID).results
    assert itself.calibration is not None
    assert itself.calibration.cross_fitted


def test_very_few_images_are_scored_without_a_temperature():
    (result,) = evaluate([Answering()], images(np.arange(4)), Split.VALID).results
    assert result.calibration is None
    assert result.document()["calibrated"] is None
