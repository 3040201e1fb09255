"""The models inside emotify answer for samples/ as they did when tests/golden/ was made."""

from __future__ import annotations

import json

import pytest

from tests.make_golden import GOLDEN, answer_samples

BOX_TOLERANCE = 1.0  # pixels
PROBABILITY_TOLERANCE = 0.03


def test_predictions_for_the_samples_have_not_changed():
    """Boxes within a pixel, labels alike, probabilities within 0.03; remake with `python tests/make_golden.py`."""
    golden, answers = json.loads(GOLDEN.read_text()), answer_samples()
    assert answers.keys() == golden.keys()
    for model, pictures in golden.items():
        assert answers[model].keys() == pictures.keys()
        for picture, faces in pictures.items():
            found = answers[model][picture]
            assert [face["label"] for face in found] == [face["label"] for face in faces], (model, picture)
            for now, before in zip(found, faces, strict=True):
                assert now["box"] == pytest.approx(before["box"], abs=BOX_TOLERANCE), (model, picture)
                assert now["probability"] == pytest.approx(before["probability"], abs=PROBABILITY_TOLERANCE)
