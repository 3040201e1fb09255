"""Run folders whose files are not as the training wrote them are reported, whatever they contain."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from emotify.cli import app
from emotify.data import read_dataset
from emotify.ensembling.ensemble import open_ensemble
from emotify.errors import ModelError
from emotify.training.checkpoint import load_checkpoint, load_tensors, save_tensors
from emotify.training.classifier import open_run
from emotify.training.config import TrainConfig
from tests.training.short_runs import train

MISSING = object()
OTHERS: list[Any] = [
    MISSING,
    None,
    [],
    {},
    "text",
    -1,
    1e999,
    10**400,
    [[]],
    {"sha256": 3},
    {"sha256": {"train": []}},
    True,
]
READ = ("status", "versions", "data", "wall_seconds")  # of run.json, without which a run does not go on


@pytest.fixture(scope="module")
def stopped(toy_csv, tmp_path_factory) -> Path:
    """A run that was stopped at its second step."""
    config = TrainConfig(model="fnn", epochs=2, batch_size=7, device="cpu", precision="fp32", threads=1)
    folder: Path = train(config, read_dataset(str(toy_csv)), tmp_path_factory.mktemp("stopped"), stop_at=2)
    return folder


def resume(folder: Path, data: Path) -> Any:
    return CliRunner().invoke(app, ["train", "--resume", str(folder), "--data", str(data)])


def check_told(result: Any, *, codes: set[int]) -> None:
    assert result.exit_code in codes, result.output
    assert "bug" not in result.stderr
    if result.exit_code:
        assert result.stderr.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize("name", ["status", "versions", "data", "wall_seconds", "processes", "earlier", "device"])
def test_a_changed_record_is_exit_5_or_harmless(name, stopped, toy_csv, tmp_path):
    """Each key in turn is missing or has another type."""
    for number, other in enumerate(OTHERS):
        folder = tmp_path / str(number)
        shutil.copytree(stopped, folder)
        record = json.loads((folder / "run.json").read_text())
        if other is MISSING:
            record.pop(name, None)
        else:
            record[name] = other
        (folder / "run.json").write_text(json.dumps(record))
        fits = name not in READ or (name, other) in [("status", "text"), ("wall_seconds", -1), ("versions", {})]
        check_told(resume(folder, toy_csv), codes={0, 5} if fits else {5})


@pytest.mark.parametrize(
    "content", ["", "null", "[]", "{}", "3", '{"schema": 1}', '{"schema": "1"}', "[" * 10_000, "\0"]
)
def test_a_record_of_another_kind_is_exit_5(content, stopped, toy_csv, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    (folder / "run.json").write_text(content)
    check_told(resume(folder, toy_csv), codes={5})


@pytest.mark.parametrize(
    "name", ["schema", "step", "config", "data_sha256", "history", "optimizers", "teacher_sha256", "measured"]
)
def test_a_changed_state_is_exit_5_or_harmless(name, stopped, toy_csv, tmp_path):
    """The digest is correct, as in a file that was made on purpose."""
    tensors, document = load_tensors(stopped / "state.safetensors")
    for number, other in enumerate([*OTHERS[:-4], [{"epoch": "one"}], [{"step": 1}]]):
        if other == 1e999:
            continue  # no JSON
        folder = tmp_path / str(number)
        shutil.copytree(stopped, folder)
        changed = {key: value for key, value in document.items() if key != name or other is not MISSING}
        if other is not MISSING:
            changed[name] = other
        save_tensors(folder / "state.safetensors", tensors, changed)
        fits = name in {"teacher_sha256", "measured"} or (name == "history" and other in ([], {}))
        check_told(resume(folder, toy_csv), codes={0, 5, 7} if fits or name == "step" else {5})


@pytest.mark.parametrize(("name", "other"), [("heads", 3), ("heads", [[]]), ("crowd_prior", "text"), ("crowd_prior", 3),
                                             ("crowd_prior", [None]), ("crowd_prior", [10**400])])  # fmt: skip
def test_a_changed_checkpoint_is_exit_5_or_harmless(name, other, runs, tmp_path):
    """The digest is correct, as in a file that was made on purpose."""
    tensors, document = load_tensors(runs[0] / "checkpoint.safetensors")
    save_tensors(tmp_path / "checkpoint.safetensors", tensors, {**document, name: other})
    if (name, other) == ("heads", [[]]):
        load_checkpoint(tmp_path / "checkpoint.safetensors")
        return
    with pytest.raises(ModelError, match="does not fit this version's fnn"):
        load_checkpoint(tmp_path / "checkpoint.safetensors")


@pytest.mark.parametrize("change", [{"temperature": 10**400}, {"run": "x" * 5000}, {"run": "\0"}])
def test_a_changed_ensemble_is_exit_5(change, ensemble, tmp_path):
    """The changed numbers and names are impossible."""
    document = json.loads((ensemble / "ensemble.json").read_text())
    if "run" in change:
        document["members"][0] |= change
    else:
        document |= change
    (tmp_path / "ensemble.json").write_text(json.dumps(document))
    with pytest.raises(ModelError, match=r"is damaged|are missing|no checkpoint"):
        open_ensemble(tmp_path, open_run)


@pytest.mark.parametrize("change", ["missing", "other shape", "other type", "more"])
def test_a_state_of_other_tensors_is_exit_5(change, stopped, toy_csv, tmp_path):
    tensors, document = load_tensors(stopped / "state.safetensors")
    for name in ("loss_sum", next(key for key in tensors if key.startswith("network."))):
        folder = tmp_path / name
        shutil.copytree(stopped, folder)
        changed = dict(tensors)
        if change == "missing":
            del changed[name]
        elif change == "other shape":
            changed[name] = torch.zeros(3, 5)
        elif change == "other type":
            changed[name] = tensors[name].to(torch.int8)
        else:
            changed[f"network.{name}"] = torch.zeros(2)
        save_tensors(folder / "state.safetensors", changed, document)
        check_told(resume(folder, toy_csv), codes={5} if change == "missing" else {0, 5})
