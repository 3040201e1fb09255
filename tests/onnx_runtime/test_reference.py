"""A model file contains reference vectors: images and the outputs at export. evaluate replays them."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from emotify.cli import app
from emotify.evaluation.classifier import Answers
from emotify.onnx_runtime.classifier import open_session
from emotify.onnx_runtime.reference import KEY, TOLERANCE, decode, encode, replay
from emotify.opening import packaged_models


def test_reference_vectors_survive_encoding_and_decoding():
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 48, 48), np.uint8)
    labels, crowd = np.full((3, 7), 1 / 7, np.float32), np.eye(7, dtype=np.float32)[:3]
    for answers in (Answers(labels), Answers(labels, crowd)):
        decoded = decode(encode(images, answers))
        np.testing.assert_array_equal(decoded[0], images)
        np.testing.assert_allclose(decoded[1].labels, labels, atol=1e-6)
        assert decoded[1].heads == answers.heads
    assert decoded[1].crowd is not None
    np.testing.assert_allclose(decoded[1].crowd, crowd, atol=1e-6)


@pytest.mark.parametrize("name", packaged_models())
def test_packaged_models_reproduce_their_reference_outputs(name):
    """The outputs are within the tolerance on this CPU and with this onnxruntime."""
    session = open_session(packaged_models()[name])
    images, _ = decode(session.metadata[KEY])
    assert len(images) == 7
    difference = replay(session)
    assert difference is not None
    assert difference <= TOLERANCE


def with_reference(changed_model, text: str):
    """Return the path of the small model with a text as its reference vectors."""

    def describe(model):
        known = {entry.key: entry.value for entry in model.metadata_props}
        onnx.helper.set_model_props(model, {**known, KEY: text})

    return changed_model(describe)


def test_evaluate_replays_the_reference_vectors(changed_model, tiny_csv):
    """evaluate ends with exit 7 if the outputs differ by more than 0.03."""
    images = np.full((2, 1, 48, 48), 100, np.uint8)
    original = open_session(changed_model(lambda model: None)).probabilities(images)
    matching = with_reference(changed_model, encode(images, Answers(original)))
    shown = CliRunner().invoke(app, ["evaluate", str(matching), "--data", str(tiny_csv)])
    assert shown.exit_code == 0, shown.output
    assert "reproduces its reference outputs within" in shown.stderr
    differing = with_reference(changed_model, encode(images, Answers(np.roll(original, 1, axis=1) + np.float32(0.1))))
    shown = CliRunner().invoke(app, ["evaluate", str(differing), "--data", str(tiny_csv)])
    assert shown.exit_code == 7, shown.output
    assert "allowed 0.03" in shown.stderr


@pytest.mark.parametrize("text", ["", "7", "{}", json.dumps({"pixels": "!", "answers": {}}), "[" * 10**5])
def test_damaged_reference_vectors_are_reported_in_one_line(text, changed_model, tiny_csv):
    shown = CliRunner().invoke(app, ["evaluate", str(with_reference(changed_model, text)), "--data", str(tiny_csv)])
    assert shown.exit_code == 5, shown.output
    assert "reference vectors" in shown.stderr
    assert len(shown.stderr.splitlines()) == 1


def test_reference_vectors_of_a_head_that_the_model_lacks_are_reported(changed_model, tiny_csv):
    """The small model has no crowd head. The error is exit 5 and says what to do."""
    answers = np.full((1, 7), 1 / 7, np.float32)
    path = with_reference(changed_model, encode(np.zeros((1, 1, 48, 48), np.uint8), Answers(answers, answers)))
    shown = CliRunner().invoke(app, ["evaluate", str(path), "--data", str(tiny_csv)])
    assert shown.exit_code == 5, shown.output
    assert "changed.onnx are of a head that it does not have; export it again" in shown.stderr


@pytest.mark.parametrize("number", ["1e300", "1" + "0" * 400])
def test_reference_outputs_beyond_float32_become_infinite_or_are_refused(number):
    """A number beyond float32 becomes infinite, so it differs from every probability.

    An integer beyond any float raises ValueError.
    """
    images, answers = np.zeros((1, 1, 48, 48), np.uint8), Answers(np.full((1, 7), 0.125, np.float32))
    text = encode(images, answers).replace("0.125", number, 1)
    if "e" in number:
        assert np.isinf(decode(text)[1].labels).any()
    else:
        with pytest.raises(ValueError, match="too large"):
            decode(text)
