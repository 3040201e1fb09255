"""Files with two heads: the crowd's output first, the prior, and all commands that read such a file."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

from emotify import Predictor
from emotify.choices import Head
from emotify.cli import app
from emotify.data import VOTES, Split
from emotify.data.ferplus import EXPRESSION_COLUMNS
from emotify.emotions import EMOTIONS
from emotify.ensembling.pooling import CrowdPooling, Pooling, mean_prior
from emotify.errors import ModelError, UsageError
from emotify.exporting.export import export
from emotify.exporting.read_back import read_members, read_network
from emotify.networks import build_network
from emotify.networks.heads import CROWD
from emotify.networks.inference import predict_answers
from emotify.onnx_runtime.classifier import open_session
from emotify.training.teacher import open_teacher

EQUAL = Pooling((0.5, 0.5), 1.3)
PRIOR = (0.1, 0.02, 0.05, 0.25, 0.15, 0.13, 0.3)
CPU = torch.device("cpu")


def two_headed(seed: int):
    torch.manual_seed(seed)
    network = build_network("fnn", crowd=True)
    network.crowd_prior = PRIOR
    with torch.no_grad():
        network.train()(torch.randint(0, 256, (64, 1, 48, 48), dtype=torch.uint8))
    return network.eval()


@pytest.fixture(scope="module")
def members():
    return [(f"fnn-{seed}", two_headed(seed)) for seed in (0, 1)]


@pytest.fixture(scope="module")
def crowd():
    return CrowdPooling(dataclasses.replace(EQUAL, temperature=0.8), PRIOR, 0.5)


@pytest.fixture(scope="module")
def path(members, crowd, faces, tmp_path_factory):
    target = tmp_path_factory.mktemp("export") / "model.onnx"
    return export(members, target, pooling=EQUAL, crowd=crowd, valid=faces[Split.VALID]).path


@pytest.mark.parametrize(
    ("key", "value"),
    [("crowd_prior", "[0.5, 0.5]"), ("crowd_prior", "[1, 1, 1, 1, 1, 1, 0]"), ("crowd_weights", "[1.0]")],
)
def test_a_file_with_damaged_crowd_metadata_is_refused(key, value, path, tmp_path):
    """The prior has a positive number for each expression, and each member has a weight."""
    model = onnx.load(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**metadata, f"emotify.{key}": value})
    onnx.save(model, tmp_path / "odd.onnx")
    assert read_members(path).crowd is not None
    with pytest.raises(ModelError, match=r"odd\.onnx has no valid metadata about its pooling"):
        read_members(tmp_path / "odd.onnx")


def test_the_prior_is_divided_out_by_hand():
    """Of two equally probable expressions, the one that is four times as frequent becomes half as probable."""
    prior = (0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1)
    answers = np.array([[[0.5, 0.5, 0, 0, 0, 0, 0]]], np.float32)
    shifted = CrowdPooling(Pooling((1.0,), 1.0), prior, 0.5)(answers)
    assert shifted[0, :2] == pytest.approx([1 / 3, 2 / 3], abs=1e-5)
    assert CrowdPooling(Pooling((1.0,), 1.0), prior, 0.0)(answers)[0, :2] == pytest.approx([0.5, 0.5], abs=1e-5)


def test_priors_of_members_are_averaged_as_logarithms():
    other = tuple(reversed(PRIOR))
    powers = np.sqrt(np.array(PRIOR) * np.array(other))
    assert mean_prior([PRIOR, other], (0.5, 0.5)) == pytest.approx((powers / powers.sum()).tolist())
    assert mean_prior([PRIOR], (1.0,)) == pytest.approx(PRIOR)


def test_both_heads_are_in_the_file(path, members, crowd, faces):
    """`probabilities` is the crowd head, `labels` the labels head; each has its own pooling."""
    images = faces[Split.VALID].images
    answers = [predict_answers(network, images, device=CPU) for _, network in members]
    expected = crowd(np.stack([each.crowd for each in answers if each.crowd is not None]))
    labels = EQUAL(np.stack([each.labels for each in answers]))
    given = open_session(path).answers(images)
    assert np.abs(given.labels - labels).max() < 1e-5
    assert given.crowd is not None
    assert np.abs(given.crowd - expected).max() < 1e-5
    assert np.abs(open_session(path).probabilities(images) - expected).max() < 1e-5
    assert np.abs(open_session(path, head=Head.LABELS).probabilities(images) - labels).max() < 1e-5
    assert np.abs(expected - labels).max() > 0.05
    metadata = open_session(path).metadata
    assert json.loads(metadata["emotify.heads"]) == ["labels", "crowd"]
    assert float(metadata["emotify.prior_power"]) == 0.5
    assert json.loads(metadata["emotify.crowd_prior"]) == list(PRIOR)


def test_outputs_have_no_axis_before_the_images(path):
    """Some clients take the first axis for the batch."""
    shapes = {out.name: out.type.tensor_type.shape.dim for out in onnx.load(path).graph.output}
    assert list(shapes) == ["probabilities", "labels"]
    assert all(len(shape) == 2 and shape[1].dim_value == 7 for shape in shapes.values())


def test_predict_uses_the_chosen_head(path, faces, members, tmp_path, crowd):
    face = faces[Split.VALID].images[0, 0]
    by_head = {head: Predictor(path, head=head, faces="whole").predict(face).faces[0] for head in (None, *Head)}
    assert by_head[None] == by_head[Head.CROWD] != by_head[Head.LABELS]
    alone = export([members[0]], tmp_path / "one.onnx", pooling=Pooling((1.0,), 1.0)).path
    with pytest.raises(ModelError, match="has no crowd head"):
        Predictor(alone, head="crowd")
    with pytest.raises(UsageError, match="choose from labels, crowd"):
        Predictor(path, head="people")


def test_training_can_start_from_a_file_with_two_heads(path, members, faces):
    """The first network of the file is read with its crowd head."""
    train = faces[Split.TRAIN].images
    network = read_network(path).unfold(train)
    assert network.crowd
    before = predict_answers(members[0][1], train[:50], device=CPU)
    after = predict_answers(network, train[:50], device=CPU)
    assert np.abs(before.labels - after.labels).max() < 1e-3
    assert before.crowd is not None
    assert after.crowd is not None
    assert np.abs(before.crowd - after.crowd).max() < 1e-3


def test_a_file_exported_again_gives_the_same_results(path, faces, tmp_path):
    """Temperatures, prior and prior power are those of the file; --prior-power replaces the power."""
    images, again = faces[Split.VALID].images, tmp_path / "again.onnx"
    run("export", path, "--out", again)
    before, after = open_session(path).answers(images), open_session(again).answers(images)
    assert np.abs(before.labels - after.labels).max() < 1e-5
    assert before.crowd is not None
    assert after.crowd is not None
    assert np.abs(before.crowd - after.crowd).max() < 1e-5
    run("export", path, "--out", tmp_path / "other.onnx", "--prior-power", "0")
    assert float(open_session(tmp_path / "other.onnx").metadata["emotify.prior_power"]) == 0


def with_votes(csv, folder):
    """Write FER+'s file for a csv: eight votes for the label, two for neutral. Return both paths."""
    rows = csv.read_text().splitlines()[1:]
    lines = [",".join(["Usage", "Image name", *VOTES])]
    for row in rows:
        label, _, usage = row.split(",")
        votes = [0] * len(VOTES)
        votes[VOTES.index("neutral")] = 2
        votes[EXPRESSION_COLUMNS[int(label)]] += 8
        lines.append(",".join([usage, "", *map(str, votes)]))
    data = folder / "fer2013.csv"
    data.write_bytes(csv.read_bytes())
    (folder / "fer2013new.csv").write_text("\n".join(lines) + "\n")
    return data


def run(*words, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def test_all_commands_work_with_votes(tiny_csv, tmp_path, monkeypatch):
    """Train two runs, combine, export, evaluate and predict. The votes beside the data are found; both heads stay."""
    monkeypatch.chdir(tmp_path)
    data = with_votes(tiny_csv, tmp_path)
    words = ("train", "--data", data, "--model", "fnn", "--epochs", "4", "--batch-size", "32")
    runs = [run(*words, "--seed", seed).stdout.strip() for seed in (0, 1)]
    told = run("ensemble", *runs, "--data", data, "--out", "pool")
    assert "Crowd heads, on valid" in told.stdout
    document = json.loads((tmp_path / "pool" / "ensemble.json").read_text())
    assert document["crowd"]["temperature"] > 0
    file = tmp_path / "m.onnx"
    told = run("export", "pool", "--data", data, "--out", file, "--json")
    assert json.loads(told.stdout)["crowd"]["truth"] == "FER+ majority"
    assert "crowd head:" in told.stderr
    plain = tmp_path / "plain.onnx"
    run("export", "pool", "--data", data, "--out", plain, "--prior-power", "0")
    board = json.loads(run("evaluate", "pool", plain, file, "--data", data, "--json").stdout)
    by_model = {result["model"].rpartition("/")[2]: result for result in board["results"]}
    for result in by_model.values():
        assert (result["head"], result["crowd"]["head"]) == ("labels", "crowd")
    assert by_model["plain.onnx"]["crowd"]["cross_entropy"] == pytest.approx(
        by_model["pool"]["crowd"]["cross_entropy"], abs=1e-4
    )
    assert by_model["m.onnx"]["crowd"]["cross_entropy"] != by_model["pool"]["crowd"]["cross_entropy"]
    assert len(board["crowd_pairs"]) == 3
    text = run("evaluate", "pool", plain, file, "--data", data).stdout.partition(
        "Differences in accuracy against FER+"
    )[2]
    assert re.findall(r"^ (#\d - #\d) ", text, re.MULTILINE)[:3] == ["#1 - #2", "#1 - #3", "#2 - #3"]
    one = json.loads(run("evaluate", file, "--data", data, "--head", "labels", "--json").stdout)["results"][0]
    assert one["crowd"]["head"] == "labels"
    assert one["accuracy"] == by_model["m.onnx"]["accuracy"]


def test_a_missing_crowd_head_is_an_error(tiny_csv, tmp_path, monkeypatch):
    """--head crowd and --prior-power are refused with advice."""
    monkeypatch.chdir(tmp_path)
    words = ("train", "--model", "fnn", "--epochs", "1", "--batch-size", "32")
    alone = run(*words, "--data", tiny_csv).stdout.strip()
    assert "--ferplus" in run("export", alone, "--data", tiny_csv, "--prior-power", "0.5", code=2).stderr
    assert "no crowd head" in run("evaluate", alone, "--data", tiny_csv, "--head", "crowd", code=5).stderr


@pytest.fixture(scope="module")
def mixed(tiny_csv, tmp_path_factory):
    """Return data with votes, and two runs trained on it: one on the labels alone, one with both heads."""
    folder = tmp_path_factory.mktemp("mixed")
    data = with_votes(tiny_csv, folder)
    words = ("train", "--data", data, "--model", "fnn", "--epochs", "1", "--batch-size", "32", "--out", folder / "runs")
    return data, run(*words, "--crowd-weight", "0").stdout.strip(), run(*words, "--seed", "1").stdout.strip()


def test_an_ensemble_has_the_crowd_heads_of_some_members(mixed, tmp_path, monkeypatch):
    """A member without a crowd head is in the labels head only: in the ensemble, its file, and a copy of the file."""
    monkeypatch.chdir(tmp_path)
    data, alone, both = mixed
    told = run("ensemble", alone, both, "--data", data, "--out", "pool")
    assert f"{Path(alone).name} has no crowd head: it is a member of the labels head only" in told.stderr
    members = json.loads((tmp_path / "pool" / "ensemble.json").read_text())["members"]
    assert [(member["weight"], member["crowd_weight"]) for member in members] == [(0.5, 0), (0.5, 1)]
    run("export", "pool", "--data", data, "--out", "m.onnx", "--prior-power", "0")
    run("export", "m.onnx", "--data", data, "--out", "again.onnx")
    assert json.loads(open_session(tmp_path / "again.onnx").metadata["emotify.crowd_weights"]) == [0, 1]
    board = json.loads(run("evaluate", "pool", "m.onnx", "again.onnx", both, "--data", data, "--json").stdout)
    results = {Path(result["model"]).name: result for result in board["results"]}
    pool, single = results["pool"], results[Path(both).name]
    for file in ("m.onnx", "again.onnx"):
        assert results[file]["nll"] == pytest.approx(pool["nll"], abs=1e-4)
        assert results[file]["crowd"]["cross_entropy"] == pytest.approx(pool["crowd"]["cross_entropy"], abs=1e-4)
    assert pool["crowd"]["accuracy"] == single["crowd"]["accuracy"]
    assert pool["nll"] != pytest.approx(single["nll"], abs=1e-4)
    document = json.loads((tmp_path / "pool" / "ensemble.json").read_text())
    document["members"].reverse()
    document["members"][0]["crowd_weight"], document["members"][1]["crowd_weight"] = 0, 1
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "ensemble.json").write_text(json.dumps(document))
    for command in ("evaluate", "export"):
        told = run(command, "odd", "--data", data, code=5).stderr
        assert "odd gives a weight in the crowd head to a member without one; combine again with" in told
    images = torch.randint(0, 256, (5, 1, 48, 48)).float()
    pooled, alone = (open_teacher(each, device=CPU)(images)[:, CROWD].softmax(1) for each in ("pool", both))
    assert torch.allclose(pooled, alone, atol=1e-6)


def test_an_ensemble_is_fitted_to_the_views_that_its_file_averages(tiny_csv, tmp_path, monkeypatch):
    """The ensemble and its file average over the views that `ensemble --views` was given."""
    monkeypatch.chdir(tmp_path)
    data = with_votes(tiny_csv, tmp_path)
    words = ("train", "--data", data, "--model", "fnn", "--epochs", "2", "--batch-size", "32")
    runs = [run(*words, "--seed", seed).stdout.strip() for seed in (0, 1)]
    for views in ("one", "mirror"):
        run("ensemble", *runs, "--data", data, "--method", "weighted", "--views", views, "--out", views)
    weights = [json.loads((tmp_path / views / "ensemble.json").read_text()) for views in ("one", "mirror")]
    assert [document["views"] for document in weights] == ["one", "mirror"]
    assert weights[0]["temperature"] != weights[1]["temperature"]
    file = run("export", "mirror", "--data", data).stdout.strip()
    assert Path(file).name == "model-mirror.onnx"
    board = json.loads(run("evaluate", "mirror", "one", file, "--data", data, "--json").stdout)["results"]
    by_name = {Path(result["model"]).name: result for result in board}
    assert by_name["mirror"]["nll"] == pytest.approx(weights[1]["valid"]["nll"], abs=1e-5)
    assert by_name["model-mirror.onnx"]["nll"] == pytest.approx(by_name["mirror"]["nll"], abs=1e-4)
    assert by_name["one"]["nll"] != pytest.approx(by_name["mirror"]["nll"], abs=1e-4)


def test_without_votes_a_mixed_ensemble_has_no_crowd_head(mixed, tiny_csv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data, alone, both = mixed
    told = run("ensemble", alone, both, "--data", tiny_csv, "--out", "pool")
    assert f"the ensemble has no crowd head: {Path(alone).name} has none; the data has no votes" in told.stderr
    assert EMOTIONS[0] in run("evaluate", "pool", "--data", data).stdout


def test_without_votes_the_crowd_heads_are_pooled_as_the_labels_heads(mixed, tiny_csv, tmp_path, monkeypatch):
    """The ensemble and its file have the same weights and temperature, which is not 1."""
    monkeypatch.chdir(tmp_path)
    data, _, both = mixed
    told = run("ensemble", both, "--data", tiny_csv, "--out", "pool").stderr
    assert "the crowd heads get the weights and the temperature of the labels heads; the data has no votes" in told
    run("export", "pool", "--data", tiny_csv, "--out", "m.onnx", "--prior-power", "0")
    metadata = open_session(tmp_path / "m.onnx").metadata
    assert metadata["emotify.crowd_temperature"] == metadata["emotify.temperature"] != "1.0"
    pool, file = json.loads(run("evaluate", "pool", "m.onnx", "--data", data, "--json").stdout)["results"]
    assert file["crowd"]["cross_entropy"] == pytest.approx(pool["crowd"]["cross_entropy"], abs=1e-4)


def test_the_temperature_of_a_runs_crowd_head_is_fitted_to_the_votes(mixed, tiny_csv, tmp_path, monkeypatch):
    """As `ensemble` fits the temperature of this run to the vote shares. Without votes it is 1, with a note."""
    monkeypatch.chdir(tmp_path)
    data, _, both = mixed
    run("ensemble", both, "--data", data, "--out", "pool")
    fitted = json.loads((tmp_path / "pool" / "ensemble.json").read_text())["crowd"]["temperature"]
    run("export", both, "--data", data, "--out", "fitted.onnx", "--prior-power", "0")
    told = run("export", both, "--data", tiny_csv, "--out", "plain.onnx", "--prior-power", "0").stderr
    assert "the crowd head has no temperature of its own, as no votes were found; name them with --ferplus" in told
    read = {name: open_session(tmp_path / name).metadata for name in ("fitted.onnx", "plain.onnx")}
    assert float(read["plain.onnx"]["emotify.crowd_temperature"]) == 1
    assert float(read["fitted.onnx"]["emotify.crowd_temperature"]) == pytest.approx(fitted, rel=1e-3)
    board = json.loads(run("evaluate", *read, "--data", data, "--split", "valid", "--json").stdout)
    entropy = {Path(result["model"]).name: result["crowd"]["cross_entropy"] for result in board["results"]}
    assert entropy["fitted.onnx"] < entropy["plain.onnx"]


def test_the_printed_resume_command_names_the_votes(tiny_csv, tmp_path):
    """The printed command includes --ferplus if the votes are not beside the data."""
    data = with_votes(tiny_csv, tmp_path)
    votes = (tmp_path / "fer2013new.csv").rename(tmp_path / "votes.csv")
    words = [
        "train",
        "--data",
        data,
        "--ferplus",
        votes,
        "--model",
        "fnn",
        "--epochs",
        "500",
        "--out",
        tmp_path / "runs",
    ]
    process = subprocess.Popen([sys.executable, "-m", "emotify", *map(str, words)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    talk = ""
    while "epoch 1/" not in talk:
        line = process.stderr.readline()
        assert line, talk
        talk += line
    process.send_signal(signal.SIGINT)
    talk += process.communicate(timeout=60)[1]
    assert process.returncode == 130, talk
    assert shlex.quote(str(votes)) in talk.partition("resume with: emotify ")[2]
