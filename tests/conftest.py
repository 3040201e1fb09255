"""Fixtures that several folders of tests share: drawn faces, data sets, runs and models."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from PIL import Image
from typer.testing import CliRunner

from emotify.cli import app
from emotify.data import Dataset, LabelledImages, Split
from emotify.data.synthetic import synthetic_splits
from emotify.emotions import EMOTIONS

Change = Callable[[ModelProto], object]

REPO = Path(__file__).parent.parent


def _no_network(event: str, arguments: tuple[object, ...]) -> None:
    """Fail a test that connects to the network."""
    if event == "socket.connect" and isinstance(arguments[1], tuple):  # local sockets have a path
        msg = f"A test tried to connect to the network: {arguments[1]}"
        raise RuntimeError(msg)


sys.addaudithook(_no_network)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder with real faces and photographs: $EMOTIFY_SHARED, or `shared` beside the repository."""
    folder = Path(os.environ.get("EMOTIFY_SHARED", REPO.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("no folder with real data; set EMOTIFY_SHARED to its path")
    return folder


@pytest.fixture(scope="session")
def faces() -> dict[Split, LabelledImages]:
    """Draw faces of each expression: 40 for train, 10 for valid and 10 for test."""
    return synthetic_splits(seed=0, counts=(280, 70, 70))


@pytest.fixture(scope="session")
def few(faces) -> Dataset:
    """Return every fourth of the `faces`, as a data set."""
    return Dataset("few", {split: images.take(np.arange(0, len(images), 4)) for split, images in faces.items()})


@pytest.fixture(scope="session")
def tiny_csv(faces, tmp_path_factory) -> Path:
    """Write the `faces` to a CSV file in FER-2013's format."""
    return _write_csv(faces, tmp_path_factory.mktemp("data") / "fer2013.csv")


@pytest.fixture(scope="session")
def toy_csv(tmp_path_factory) -> Path:
    """Write a CSV file with two train faces, one valid face and one test face of each expression."""
    return _write_csv(synthetic_splits(seed=0, counts=(14, 7, 7)), tmp_path_factory.mktemp("toys") / "fer2013.csv")


def _write_csv(faces: dict[Split, LabelledImages], path: Path) -> Path:
    usages = {Split.TRAIN: "Training", Split.VALID: "PublicTest", Split.TEST: "PrivateTest"}
    lines = ["emotion,pixels,Usage"]
    for split, drawn in faces.items():
        for image, label in zip(drawn.images, drawn.labels, strict=True):
            lines.append(f"{label},{' '.join(map(str, image.ravel()))},{usages[split]}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def class_folder(faces, tmp_path_factory) -> Path:
    """Write one folder for each expression, with the first two of its valid `faces` as PNG files."""
    folder = Path(tmp_path_factory.mktemp("classes"))
    valid = faces[Split.VALID]
    for index, emotion in enumerate(EMOTIONS):
        (folder / emotion).mkdir()
        for number, image in enumerate(valid.images[valid.labels == index][:2]):
            Image.fromarray(image[0]).save(folder / emotion / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def runs(tiny_csv, tmp_path_factory) -> list[Path]:
    """Train the smallest network with two seeds, and return the run folders."""
    out = tmp_path_factory.mktemp("runs")
    options = ["--model", "fnn", "--epochs", "2", "--batch-size", "32", "--out", str(out)]
    return [_command("train", "--data", str(tiny_csv), *options, "--seed", str(seed)) for seed in (0, 1)]


@pytest.fixture(scope="session")
def ensemble(runs, tiny_csv, tmp_path_factory) -> Path:
    """Combine the two `runs`, and return the ensemble folder."""
    folder = tmp_path_factory.mktemp("ensembles") / "both"
    return _command("ensemble", *map(str, runs), "--data", str(tiny_csv), "--out", str(folder))


@pytest.fixture(scope="session")
def onnx_file(ensemble, tiny_csv, tmp_path_factory) -> Path:
    """Export the `ensemble`, and return the .onnx file."""
    path = tmp_path_factory.mktemp("exports") / "model.onnx"
    return _command("export", str(ensemble), "--data", str(tiny_csv), "--out", str(path))


def _command(*words: str) -> Path:
    """Run a command and return the path on the last line of its standard output."""
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return Path(result.stdout.splitlines()[-1])


def build_model() -> ModelProto:
    """Build a model of one layer with random weights and the metadata that `emotify export` writes."""
    weights = np.random.default_rng(0).normal(0, 2e-4, (48 * 48, 7)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 1, 48, 48])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 7])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {"emotify.schema": "1", "emotify.classes": json.dumps(EMOTIONS)})
    return model


@pytest.fixture(scope="session")
def small_model(tmp_path_factory) -> Path:
    """Write the model of `build_model` to a file."""
    path: Path = tmp_path_factory.mktemp("models") / "small.onnx"
    path.write_bytes(build_model().SerializeToString())
    return path


@pytest.fixture
def changed_model(tmp_path) -> Callable[[Change], Path]:
    """Return a function that applies a change to the small model and writes it to a file."""

    def write(change: Change) -> Path:
        model = build_model()
        change(model)
        path: Path = tmp_path / "changed.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return write
