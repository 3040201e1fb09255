"""`emotify ensemble`: its folder opens again, its export gives equal answers, and it never reads the test split."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from emotify.cli import app
from emotify.emotions import EMOTIONS
from emotify.ensembling.combine import combine
from emotify.reports.figures import plot_disagreement
from emotify.reports.tables import diversity_table, gains_table, members_table, methods_table
from emotify.runs import better_member
from emotify.training.checkpoint import load_tensors, save_tensors


def invoke(*words, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def combined(count):
    """Return the combination of `count` members of increasing accuracy on 300 images."""
    chance = np.random.default_rng(0)
    labels = chance.integers(0, 7, 300)
    logits = chance.normal(size=(count, 300, 7)) + np.linspace(0.2, 1.5, count)[:, None, None] * np.eye(7)[labels]
    powers = np.exp(logits)
    return combine((powers / powers.sum(2, keepdims=True)).astype(np.float32), labels)


def copied(ensemble, folder, **changes):
    """Write a changed copy of an ensemble.json with schema 1 into `folder`."""
    document = json.loads((ensemble / "ensemble.json").read_text())
    members = [{**member, "run": str((ensemble / member["run"]).resolve())} for member in document["members"]]
    folder.mkdir()
    old = {"schema": 1, "method": "mean", "members": members, "temperature": document["temperature"]}
    (folder / "ensemble.json").write_text(json.dumps({**old, **changes}))
    return folder


@pytest.mark.parametrize("method", ["weighted", "probabilities"])
def test_an_ensemble_and_its_export_give_equal_probabilities(method, runs, tiny_csv, tmp_path):
    """ensemble.json and the exported graph have the same weights and kind of mean."""
    folder, file = tmp_path / "e", tmp_path / "e.onnx"
    invoke("ensemble", *runs, "--data", tiny_csv, "--method", method, "--out", folder)
    document = json.loads((folder / "ensemble.json").read_text())
    assert document["method"] == method
    assert sum(member["weight"] for member in document["members"]) == pytest.approx(1)
    invoke("export", folder, "--data", tiny_csv, "--out", file)
    results = json.loads(invoke("evaluate", file, folder, "--data", tiny_csv, "--json").stdout)["results"]
    for result in results:
        assert result["nll"] == pytest.approx(document["valid"]["nll"], abs=1e-5)
        assert result["confusion"] == document["valid"]["confusion"]


def test_ensembling_never_reads_the_test_split(runs, tiny_csv, tmp_path):
    """Other labels in test, or no test split, give the same ensemble."""
    lines = tiny_csv.read_text().splitlines()
    without = [line for line in lines if not line.endswith("PrivateTest")]
    turned = [f"{(int(line[0]) + 1) % 7}{line[1:]}" if line.endswith("PrivateTest") else line for line in lines]
    documents = []
    for name, content in (("as-it-is", lines), ("without", without), ("turned", turned)):
        csv = tmp_path / f"{name}.csv"
        csv.write_text("\n".join(content) + "\n")
        invoke("ensemble", *runs, "--data", csv, "--method", "greedy", "--out", tmp_path / name)
        documents.append((tmp_path / name / "ensemble.json").read_text())
    assert documents[0] == documents[1] == documents[2]


def test_json_has_all_numbers_of_the_terminal(runs, tiny_csv, tmp_path):
    words = ("ensemble", *runs, "--data", tiny_csv, "--method", "weighted")
    document = json.loads(invoke(*words, "--out", tmp_path / "a", "--json").stdout)
    assert document["schema"] == 1
    assert {method["method"] for method in document["methods"]} >= {"mean", "probabilities", "weighted", "greedy"}
    assert {"accuracy", "nll"} <= document["cross_fitted"].keys()
    names = {"disagreement", "double_fault", "q_statistic", "error_correlation", "gain", "all_wrong", "marginal"}
    assert names <= document["diversity"].keys()
    assert document["conclusion"] in invoke(*words, "--out", tmp_path / "b").stdout


def test_the_folder_has_the_heat_map(ensemble):
    with Image.open(ensemble / "diversity.png") as picture:
        assert picture.width > 400
    assert "<svg" in (ensemble / "diversity.svg").read_text()


@pytest.mark.parametrize("count", [2, 12, 40])
def test_tables_fit_any_number_of_members(count, tmp_path):
    """Every table fits 80 columns, no number is cut, and the heat map has a reasonable size."""
    combination = combined(count)
    names = [f"20260131-120000-cnn-s{number}-1a2b" for number in range(count)]
    console = Console(width=80, record=True, file=(tmp_path / "shown").open("w"))
    tables = (members_table(names, combination), methods_table(combination), gains_table(names, combination.diversity))
    for table in (*tables, diversity_table(combination.diversity)):
        console.print(table)
    console.file.close()
    text = console.export_text()
    assert "…" not in text
    assert text.count(f"#{count} cnn-s{count - 1}-1a2b ") == 2
    assert max(map(len, text.splitlines())) <= 80
    plot_disagreement(names, combination.diversity, tmp_path / "d.png")
    with Image.open(tmp_path / "d.png") as picture:
        assert max(picture.size) < 2000


def test_a_run_given_twice_is_counted_once(runs, tiny_csv, tmp_path):
    """A warning reports it. Here one member remains, and the conclusion says so."""
    result = invoke("ensemble", runs[0], runs[0], "--data", tiny_csv, "--out", tmp_path / "e")
    assert "counted once" in result.stderr
    assert "An ensemble of one run" in result.stdout
    assert len(json.loads((tmp_path / "e" / "ensemble.json").read_text())["members"]) == 1


def test_another_order_of_classes_is_refused(runs, tiny_csv, tmp_path):
    """Exit 5 with the names of the classes, and without a new folder."""
    other = Path(shutil.copytree(runs[0], tmp_path / "other"))
    tensors, document = load_tensors(other / "checkpoint.safetensors")
    save_tensors(other / "checkpoint.safetensors", tensors, {**document, "classes": EMOTIONS[::-1]})
    result = invoke("ensemble", runs[1], other, "--data", tiny_csv, "--out", tmp_path / "e", code=5)
    assert "has other classes" in result.stderr
    assert not (tmp_path / "e").exists()


def test_a_folder_of_schema_1_still_opens(ensemble, tiny_csv, tmp_path):
    old = copied(ensemble, tmp_path / "old")
    results = json.loads(invoke("evaluate", old, ensemble, "--data", tiny_csv, "--json").stdout)["results"]
    assert results[0]["nll"] == results[1]["nll"]


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "vote"},
        {"schema": 4},
        {"views": "nine"},
        {"views": ["one"]},
        {"temperature": 0},
        {"members": []},
        {"weight": -1},
        {"weight": 0.7},
    ],
    ids=str,
)
def test_an_invalid_pooling_is_refused(changes, ensemble, tiny_csv, tmp_path):
    """Exit 5 for weights that are negative or do not sum to 1, for an unknown method, and so on."""
    folder = copied(ensemble, tmp_path / "odd", **changes)
    if "weight" in changes:
        document = json.loads((folder / "ensemble.json").read_text())
        document["members"][0]["weight"] = changes["weight"]
        (folder / "ensemble.json").write_text(json.dumps(document))
    assert "combine again with" in invoke("evaluate", folder, "--data", tiny_csv, code=5).stderr


def test_an_unknown_method_is_refused_with_the_list_of_methods(runs):
    text = invoke("ensemble", *runs, "--method", "vote", code=2).stderr
    assert "'vote': choose from mean, probabilities, weighted, greedy" in text


@pytest.mark.parametrize("options", [None, "{", "[]"], ids=["missing", "damaged", "a list"])
def test_without_models_all_finished_runs_are_combined(options, runs, tiny_csv, tmp_path, monkeypatch):
    """Unfinished runs and folders without a readable run.json are left out. The options of a run may be unreadable."""
    monkeypatch.chdir(tmp_path)
    for run in runs:
        shutil.copytree(run, tmp_path / "runs" / run.name)
    for name, record in (("begun", '{"schema": 1, "status": "running"}'), ("damaged", "{")):
        (tmp_path / "runs" / name).mkdir()
        (tmp_path / "runs" / name / "run.json").write_text(record)
    config = tmp_path / "runs" / runs[0].name / "config.json"
    config.unlink() if options is None else config.write_text(options)
    result = invoke("ensemble", "--data", tiny_csv)
    assert f"using every finished run in runs/: {runs[0].name}, {runs[1].name}\n" in result.stderr
    folder = Path(result.stdout.splitlines()[-1])
    assert folder.parent == Path("runs")
    members = json.loads((folder / "ensemble.json").read_text())["members"]
    assert [member["run"] for member in members] == [f"../{run.name}" for run in runs]
    assert "training" not in result.stdout


def test_the_cost_of_many_members_is_printed(runs, tiny_csv, tmp_path):
    """From twelve members on."""
    for number in range(12):
        shutil.copytree(runs[0], tmp_path / str(number))
        path = tmp_path / str(number) / "checkpoint.safetensors"
        tensors, document = load_tensors(path)
        last = next(name for name, values in reversed(tensors.items()) if values.shape == (7,))
        chance = np.random.default_rng(number)
        tensors[last] += torch.from_numpy(chance.normal(size=7).astype(np.float32))
        save_tensors(path, tensors, document)
    words = [tmp_path / str(number) for number in range(12)]
    told = "members take {0} times as long to predict as one"
    assert told.format(12) in invoke("ensemble", *words, "--data", tiny_csv, "--out", tmp_path / "all").stderr
    assert told.format(11) not in invoke("ensemble", *words[1:], "--data", tiny_csv, "--out", tmp_path / "few").stderr


def test_a_pattern_of_runs_may_match_ensembles(runs, ensemble, tiny_csv, tmp_path):
    """Ensembles are skipped with a warning. A single ensemble is refused."""
    result = invoke("ensemble", *runs, ensemble, "--data", tiny_csv, "--out", tmp_path / "e")
    assert f"ensembles are no members, and are left out: {ensemble.name}" in result.stderr
    assert len(json.loads((tmp_path / "e" / "ensemble.json").read_text())["members"]) == 2
    assert "is an ensemble; name a run" in invoke("ensemble", ensemble, "--data", tiny_csv, code=5).stderr


def test_export_warns_of_an_ensemble_that_is_worse_than_a_member(runs, ensemble, tmp_path, monkeypatch):
    """Export warns only when it chooses the newest ensemble itself."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    diversity = {"runs": list(map(str, runs)), "best_member": 1}
    worse = ["NLL (1.0 against 0.9)"]
    copied(ensemble, tmp_path / "runs" / "both", diversity=diversity, worse_than_best_member=worse)
    result = invoke("export", "--out", "a.onnx")
    assert (
        f"on valid this ensemble is worse than its best member; to export that: emotify export {runs[1]}"
        in result.stderr
    )
    copied(ensemble, tmp_path / "runs" / "newer", diversity=diversity, worse_than_best_member=[])
    assert "is worse than its best member" not in invoke("export", "--out", "b.onnx").stderr


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"worse_than_best_member": ["NLL"]},
        {"worse_than_best_member": 1, "diversity": {"runs": [], "best_member": 1}},
    ],
)
def test_an_ensemble_without_scores_of_its_members_has_no_better_member(changes, ensemble, tmp_path):
    """Folders of schema 1 have no such scores, and a file may be damaged. The member is only for a hint."""
    assert better_member(copied(ensemble, tmp_path / "old", **changes)) is None
