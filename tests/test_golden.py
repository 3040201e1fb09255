"""The packaged models give the predictions in tests/golden/ for samples/."""

from __future__ import annotations

import json

import pytest

from tests.make_golden import GOLDEN, answer_samples

BOX_TOLERANCE = 1.0  # pixels
PROBABILITY_TOLERANCE = 0.03


def test_predictions_for_the_samples_have_not_changed():
    """Boxes agree within a pixel, probabilities within 0.03, labels exactly. Update: `python tests/make_golden.py`."""
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
