"""Faces of few pixels are labelled `uncertain`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from emotify import Predictor
from emotify.cli import app
from emotify.onnx_runtime.classifier import open_session
from emotify.pictures.pixels import cut_square, whole_square


def write_face(folder: Path, side: int) -> Path:
    path = folder / f"{side}.png"
    noise = np.random.default_rng(side).integers(0, 256, (side, side)).astype(np.uint8)
    Image.fromarray(noise).save(path)
    return path


@pytest.mark.parametrize(("side", "uncertain"), [(16, True), (23, True), (24, False), (48, False)])
def test_a_small_picture_of_a_face_is_uncertain(small_model, tmp_path, side, uncertain):
    """The size of the face is the side of the picture. The probabilities are unchanged."""
    path = write_face(tmp_path, side)
    (face,) = Predictor(small_model).predict(path).faces
    assert (face.label == "uncertain") is uncertain
    seen = cut_square(Image.open(path), whole_square(side, side))
    answer = open_session(small_model).probabilities(seen[None, None])[0]
    assert face.probabilities == pytest.approx(answer.tolist())


def test_every_output_contains_uncertain(small_model, tmp_path):
    """JSON, CSV and the text lines contain `uncertain`, and the explanation is written."""
    path = write_face(tmp_path, 20)
    words = ["predict", str(path), "--model", str(small_model)]
    document = json.loads(CliRunner().invoke(app, [*words, "--jsonl"]).stdout)
    assert document["faces"][0]["label"] == "uncertain"
    assert document["faces"][0]["probability"] == max(document["faces"][0]["probabilities"].values())
    table = tmp_path / "faces.csv"
    result = CliRunner().invoke(app, [*words, "--csv", str(table), "--explain", str(tmp_path / "why")])
    assert result.exit_code == 0, result.output
    assert result.stdout.split("\t")[1] == "uncertain"
    assert ",uncertain," in table.read_text()
    assert (tmp_path / "why" / "20-1.png").is_file()
