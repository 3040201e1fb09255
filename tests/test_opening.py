"""How MODEL is resolved, and the errors for names that are not models."""

from __future__ import annotations

import re

import pytest

from emotify.errors import ModelError
from emotify.onnx_runtime.classifier import open_session
from emotify.opening import Kind, packaged_models, resolve


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Create a folder with one model of each kind, named after its kind, and enter it."""
    for name, file in (("run", "run.json"), ("ensemble", "ensemble.json"), ("other", "notes.txt")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("{}")
    (tmp_path / "model.onnx").write_text("")
    (tmp_path / "model.bin").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ("run", Kind.RUN),
        ("ensemble", Kind.ENSEMBLE),
        ("model.onnx", Kind.FILE),
        ("model.bin", Kind.FILE),
        ("not-there.ONNX", Kind.FILE),
        ("default", Kind.FILE),
    ],
)
def test_each_kind_of_model_is_recognised(folder, given, kind):
    model = resolve(given)
    assert (model.given, model.kind) == (given, kind)
    assert model.path == packaged_models().get(given, model.path)


@pytest.mark.parametrize(
    ("given", "takes", "expected"),
    [
        (
            "nothing",
            tuple(Kind),
            "nothing does not exist; name a run, an ensemble, an .onnx file, default or fast",
        ),
        ("other", (Kind.RUN,), "other is not a model; name a run"),
        ("ensemble", (Kind.RUN, Kind.FILE), "ensemble is an ensemble; name a run, an .onnx file, default or fast"),
        ("fast", (Kind.RUN, Kind.ENSEMBLE), "fast is an .onnx file; name a run or an ensemble"),
    ],
)
def test_the_error_names_the_accepted_models(folder, given, takes, expected):
    with pytest.raises(ModelError, match=f"^{re.escape(expected)}$"):
        resolve(given, takes=takes)


def test_a_model_in_the_current_folder_comes_before_a_packaged_model(folder):
    (folder / "run").rename("default")
    assert resolve("default").kind is Kind.RUN
    (folder / "other").rename("fast")
    assert resolve("fast").path == packaged_models()["fast"]


def test_packaged_models_have_their_own_names():
    """Tables, pages and JSON show the name that the user typed, not a file name."""
    assert [open_session(path).name for path in packaged_models().values()] == ["default", "fast"]
