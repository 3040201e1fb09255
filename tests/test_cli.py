"""The five commands on the command line: their output, files and exit codes."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from emotify import __version__
from emotify.cli import app, errors
from emotify.cli.console import next_command
from emotify.cli.options import chosen_views
from emotify.emotions import EMOTIONS
from emotify.errors import ExitCode
from emotify.evaluation.seeds import RecipeComparison
from emotify.networks import NETWORKS
from emotify.training.config import TrainConfig

runner = CliRunner()


def invoke(*words: object, code: int = 0):
    result = runner.invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def test_train_makes_one_run_folder(runs):
    """The folder has the documented files and no state to resume. Its name has the model and the seed."""
    run = runs[0]
    assert re.fullmatch(r"\d{8}-\d{6}-fnn-s0-[0-9a-f]{4}", run.name)
    assert {path.name for path in run.iterdir()} - {".lock"} == {
        "config.json", "run.json", "metrics.jsonl", "checkpoint.safetensors", "checkpoint.json", "history.png",
        "confusion.png",
    }  # fmt: skip
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["data"]["counts"]["train"] == [40] * 7
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2
    for name in ("history.png", "confusion.png"):
        with Image.open(run / name) as image:
            assert image.width > 500


def test_train_prints_only_the_folder_on_stdout(tiny_csv, tmp_path):
    """Scripts can read the folder from standard output. Messages go to standard error."""
    result = invoke("train", "--data", tiny_csv, "--model", "fnn", "--epochs", 1, "--batch-size", 32, "--out", tmp_path)
    assert Path(result.stdout.strip()).parent == tmp_path
    assert "next: emotify evaluate" in result.stderr


def test_suggested_commands_can_be_pasted(monkeypatch):
    """Commands are quoted for the system's shell."""
    words = ("train", "--resume", r"my runs\a")
    assert next_command(*words) == r"emotify train --resume 'my runs\a'"
    monkeypatch.setattr(sys, "platform", "win32")
    assert next_command(*words) == r'emotify train --resume "my runs\a"'
    assert next_command("predict", r"C:\R&D\a.onnx", "--jsonl") == r'emotify predict "C:\R&D\a.onnx" --jsonl'


def test_train_reads_a_saved_configuration(runs, tiny_csv, tmp_path):
    """A config.json can be used again, and options on the command line win."""
    options = ("--data", tiny_csv, "--config", runs[0] / "config.json", "--seed", 7, "--out", tmp_path)
    folder = Path(invoke("train", *options).stdout.strip())
    before, after = (json.loads((run / "config.json").read_text()) for run in (runs[0], folder))
    assert after == {**before, "seed": 7}


def test_zero_epochs_only_estimate_batch_norm_statistics(runs, tiny_csv, tmp_path):
    """The run folder works like any other, but has no training history and no plot of it."""
    options = ("--model", "fnn", "--start-from", runs[0], "--epochs", 0, "--batch-size", 32, "--out", tmp_path)
    folder = Path(invoke("train", "--data", tiny_csv, *options).stdout.strip())
    assert {path.name for path in folder.iterdir()} - {".lock"} == {
        "config.json", "run.json", "checkpoint.safetensors", "checkpoint.json", "confusion.png",
    }  # fmt: skip
    scores = json.loads(invoke("evaluate", folder, "--data", tiny_csv, "--json").stdout)["results"][0]
    assert scores["accuracy"] == json.loads((folder / "run.json").read_text())["valid"]["accuracy"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--epochs", "0"], "--epochs"),
        (["--epochs", "-1"], "--epochs"),
        (["--epochs", "1000000000"], "--epochs"),
        (["--learning-rate", "nan"], "--learning-rate"),
        (["--lr", "inf"], "--learning-rate"),
        (["--lr", "0"], "--learning-rate"),
        (["--batch-size", "0"], "--batch-size"),
        (["--batch-size", "281"], "--batch-size"),
        (["--model", "vit"], "fnn, small, cnn"),
        (["--mixup", "0.9"], "--mixup"),
        (["--schedule", "steps"], "--schedule"),
        (["--recipe", "slow"], "fast, standard, best"),
    ],
)
def test_invalid_options_are_refused(words, expected, tiny_csv, tmp_path):
    """Exit 2 with the name of the option, and without a new folder."""
    result = invoke("train", "--data", tiny_csv, "--out", tmp_path / "runs", *words, code=2)
    assert expected in result.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"epoch": 3}', "'epoch'"),
        (b'{"epochs": "3"}', "--epochs"),
        (b'{"augment": 1}', "--augment"),
        (b'{"epochs": 3, "epochs": 4}', "'epochs' occurs twice"),
        (b"\x00\xff\x00", "not JSON"),
        (b"[1]", "JSON object"),
        (b" " * 1_000_001, "larger"),
        (b"[" * 200_000, "not JSON"),
        (b'{"learning_rate": 1%s}' % (b"0" * 400), "--learning-rate"),
        (b'{"weight_decay": 1%s}' % (b"0" * 400), "--weight-decay"),
    ],
)
def test_invalid_configurations_are_refused(content, expected, tiny_csv, tmp_path):
    """An unknown key, a wrong type, a repeated key, invalid JSON or a huge number is exit 2 with its name."""
    path = tmp_path / "config.json"
    path.write_bytes(content)
    assert expected in invoke("train", "--data", tiny_csv, "--config", path, code=2).stderr


def test_the_first_five_mistakes_of_a_configuration_are_listed_and_all_are_counted(tiny_csv, tmp_path):
    """Mistakes in keys and values, and repeated keys, are counted."""
    path = tmp_path / "config.json"
    path.write_text(
        '{"epoch": 3, "blur": 2, "jpeg": "x", "seed": 1, "seed": 2, "device": "tpu", "class_order": "x", "zzz": 1}'
    )
    lines = invoke("train", "--data", tiny_csv, "--config", path, code=2).stderr.splitlines()
    assert lines[0] == f"error: {path}: 7 mistakes, the first 5:"
    assert "the key 'seed' occurs twice" in lines[1]
    assert "unknown key 'epoch'; did you mean epochs?" in lines[2]
    assert "unknown key 'zzz'; known keys: model, augment" in lines[3]
    assert "--class-order: 'x' is not a class order" in lines[4]
    assert "--blur cannot be 2" in lines[5]
    assert len(lines) == 6


def test_all_unreadable_models_are_listed(runs, tiny_csv, tmp_path):
    names = [tmp_path / name for name in ("a", "b.onnx", "c")]
    for command in ("evaluate", "ensemble"):
        text = invoke(command, runs[0], *names, "--data", tiny_csv, code=5).stderr
        assert "3 " in text.splitlines()[0]
        assert all(str(name) in text for name in names)


def test_all_missing_members_of_an_ensemble_are_listed(ensemble, runs, tiny_csv, tmp_path):
    shutil.copytree(ensemble, tmp_path / "ensembles" / "both")
    text = invoke("evaluate", tmp_path / "ensembles" / "both", "--data", tiny_csv, code=5).stderr
    assert "2 members are missing or changed" in text
    assert all(run.name in text for run in runs)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["train", "--data", ""], "--data"),
        (["train", "--data="], "--data"),
        (["train", "--config", ""], "--config"),
        (["train", "--model", ""], "--model"),
        (["train", "--resume", ""], "--resume"),
        (["train", "--out", ""], "--out"),
        (["evaluate", "fast", "--data", ""], "--data"),
        (["evaluate", ""], "MODEL"),
        (["evaluate", "fast", "--ferplus", ""], "--ferplus"),
        (["ensemble", "", "x"], "RUN"),
        (["export", ""], "MODEL"),
        (["export", "--out", ""], "--out"),
        (["predict", ""], "PATH"),
        (["predict", "x", ""], "PATH"),
        (["predict", "x", "--model", ""], "--model"),
        (["predict", "x", "--csv", ""], "--csv"),
        (["predict", "x", "--files-from", ""], "--files-from"),
    ],
)
def test_empty_names_are_refused_in_one_line(words, name, tmp_path, monkeypatch):
    """An unset shell variable gives an empty name; it must not mean the current folder."""
    monkeypatch.chdir(tmp_path)
    result = invoke(*words, code=2)
    assert result.stderr == f'error: {name} is empty (""); is a variable in the command unset?\n'
    assert not any(tmp_path.iterdir())


def test_an_empty_value_can_undo_an_option_of_a_configuration(tiny_csv, tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"distill": "nothing", "model": "fnn", "epochs": 1, "batch_size": 64}')
    words = ("train", "--data", tiny_csv, "--config", path, "--out", tmp_path / "runs")
    invoke(*words, code=5)
    invoke(*words, "--distill", "")


def test_resume_refuses_other_options(runs):
    """A resumed run keeps its own options."""
    assert "--data" in invoke("train", "--resume", runs[0], "--epochs", 3, code=2).stderr


def test_sigint_keeps_the_state_and_resume_is_exact(tiny_csv, tmp_path):
    """Ctrl-C exits 130 with the resume command, and a resumed run equals an uninterrupted one."""
    options = ["--data", str(tiny_csv), "--model", "fnn", "--augment", "--epochs", "30", "--batch-size", "16"]
    options += ["--threads", "1"]
    command = [sys.executable, "-m", "emotify", "train", *options, "--out", str(tmp_path / "a")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        begun = next((line for line in process.stderr if "epoch 3/" in line), None)
        assert begun, "the training ended before its third epoch"
        process.send_signal(signal.SIGINT)
        messages = process.stderr.read()
    assert process.returncode == 130, messages
    resume = re.search(r"resume with: emotify (train --resume \S+ --data \S+)", messages)
    assert resume, messages
    stopped = Path(resume[1].split()[2])
    assert json.loads((stopped / "run.json").read_text())["status"] == "interrupted"

    resumed = Path(invoke(*resume[1].split()).stdout.strip())
    straight = Path(invoke("train", *options, "--out", tmp_path / "b").stdout.strip())
    for name in ("checkpoint.safetensors", "metrics.jsonl"):
        assert (resumed / name).read_bytes() == (straight / name).read_bytes()


def test_the_command_that_resumes_is_quoted(toy_csv, tmp_path, monkeypatch):
    """The folder of the unfinished run has a space in its name. The message of `train` says "1 epoch"."""
    monkeypatch.chdir(tmp_path)
    words = ["train", "--data", toy_csv, "--model", "fnn", "--epochs", "1", "--batch-size", "7", "--out", "my runs"]
    result = invoke(*words)
    assert ", 1 epoch, " in result.stderr
    (run,) = Path("my runs").iterdir()
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    (run / "checkpoint.safetensors").unlink()
    stderr = invoke("evaluate", run, "--data", toy_csv, code=5).stderr
    assert f"emotify train --resume '{run}'" in stderr


def test_evaluate_json_has_the_documented_keys(runs, tiny_csv):
    """`--json` has the documented keys, the most accurate model first, and all pairs of models."""
    document = json.loads(invoke("evaluate", *runs, "--data", tiny_csv, "--json").stdout)
    assert document["schema"] == 1
    accuracies = [result["accuracy"] for result in document["results"]]
    assert accuracies == sorted(accuracies, reverse=True)
    for result in document["results"]:
        assert {
            "model",
            "split",
            "n",
            "accuracy",
            "accuracy_ci95",
            "balanced_accuracy",
            "macro_f1",
            "nll",
            "brier",
        } < set(result)
        assert result["n"] == 70 == np.sum(result["confusion"])
        assert result["accuracy"] == np.trace(result["confusion"]) / 70
        assert list(result["per_class"]) == list(EMOTIONS)
        assert (result["clean"]["n"], result["clean"]["accuracy"]) == (70, result["accuracy"])
    (pair,) = document["pairs"]
    assert {"a", "b", "difference", "mcnemar_p"} < set(pair)
    accuracies = [result["accuracy"] for result in document["results"]]
    (recipe,) = document["recipes"]  # two seeds of one recipe
    assert recipe["recipe"] == "fnn"
    assert sorted(recipe["accuracies"], reverse=True) == accuracies
    assert recipe["mean"] == pytest.approx(np.mean(accuracies))
    assert document["recipe_pairs"] == []


def test_evaluate_compares_recipes_over_seeds(runs, tiny_csv, tmp_path):
    """The number of threads does not change a recipe, and the same run twice does not count as two seeds."""
    others = [copy_run(run, tmp_path / run.name, epochs=9, threads=7) for run in runs]
    again = copy_run(runs[0], tmp_path / "again", threads=7)
    words = (*runs, *others, again, runs[0], "--data", tiny_csv)
    document = json.loads(invoke("evaluate", *words, "--json").stdout)
    assert [len(recipe["accuracies"]) for recipe in document["recipes"]] == [2, 2]
    assert {recipe["recipe"] for recipe in document["recipes"]} == {"fnn --epochs 2", "fnn --epochs 9"}
    (pair,) = document["recipe_pairs"]
    assert (pair["difference"], pair["better"]) == (0, None)
    text = invoke("evaluate", *words).stdout
    assert "fnn --epochs 9" in text
    assert "Differences between recipes" in text


def copy_run(run, folder, **changes):
    """Copy a run, with changed options."""
    shutil.copytree(run, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


def test_every_key_of_evaluate_json_is_documented(runs, tiny_csv):
    """docs/formats.md names each key, and unknown values are null rather than missing."""
    formats = (Path(__file__).parent.parent / "docs" / "formats.md").read_text()
    section = formats.partition("## evaluate --json")[2].partition("\n## ")[0]
    document = json.loads(invoke("evaluate", *runs, "--data", tiny_csv, "--split", "test", "--json").stdout)
    result = document["results"][0]
    assert result["crowd"] is None
    assert not result["calibrated"]["cross_fitted"]
    assert document["recipes"]
    parts = (document, result, result["calibrated"], result["bootstrap_ci95"], result["clean"], document["pairs"][0])
    recipes = (document["recipes"][0], RecipeComparison("a", "b", 0.0, (0.0, 0.0), 1.0, 1.0).document())
    for key in (key for part in (*parts, *recipes) for key in part):
        assert f"`{key}`" in section, key


def test_evaluate_scores_against_the_votes_of_ferplus(runs, tiny_csv, tmp_path):
    """When all votes are for the label, both accuracies are equal, and the entropy of the votes is 0."""
    columns = ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF"]
    places = [4, 5, 6, 1, 3, 2, 0]  # columns of FER-2013's classes
    lines = [",".join(["Usage", "Image name", *columns])]
    for row in tiny_csv.read_text().splitlines()[1:]:
        label, _, usage = row.split(",")
        votes = ["10" if place == places[int(label)] else "0" for place in range(10)]
        lines.append(",".join([usage, "", *votes]))
    path = tmp_path / "fer2013new.csv"
    path.write_text("\n".join(lines) + "\n")
    words = ("evaluate", runs[0], "--data", tiny_csv, "--ferplus", path)
    (result,) = json.loads(invoke(*words, "--json").stdout)["results"]
    assert (result["crowd"]["n"], result["crowd"]["accuracy"]) == (70, result["accuracy"])
    assert result["crowd"]["cross_entropy"] == pytest.approx(result["nll"])
    assert result["crowd"]["entropy"] == 0
    assert (result["crowd"]["head"], result["crowd"]["truth"]) == ("labels", "FER+ majority")
    assert "against FER+'s votes" in invoke(*words).stdout
    beside = json.loads(invoke("evaluate", runs[0], "--data", tiny_csv.parent / "fer2013.csv", "--json").stdout)
    assert beside["results"][0]["crowd"] is None


def test_evaluate_shows_tables_without_colour_or_trailing_blanks(runs, tiny_csv):
    """Output to a file has no colours and no trailing blanks."""
    text = invoke("evaluate", *runs, "--data", tiny_csv).stdout
    assert "Confusion matrix" in text
    assert "Leaderboard" in text
    assert "\x1b" not in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_a_score_below_min_accuracy_is_exit_7(runs, tiny_csv):
    """A score below `--min-accuracy` exits 7, and a score above it exits 0."""
    assert "--min-accuracy" in invoke("evaluate", runs[0], "--data", tiny_csv, "--min-accuracy", 1, code=7).stderr
    invoke("evaluate", runs[0], "--data", tiny_csv, "--min-accuracy", 0, code=0)


def test_ensemble_is_the_mean_of_its_members(ensemble, runs, tiny_csv):
    """The scores do not depend on the order of the members, and ensemble.json has their digests."""
    document = json.loads((ensemble / "ensemble.json").read_text())
    assert [Path(member["run"]).name for member in document["members"]] == [run.name for run in runs]
    assert all(re.fullmatch("[0-9a-f]{64}", member["sha256"]) for member in document["members"])
    other = ensemble.parent / "reversed"
    invoke("ensemble", *reversed(runs), "--data", tiny_csv, "--out", other)
    assert json.loads((other / "ensemble.json").read_text())["valid"]["nll"] == pytest.approx(document["valid"]["nll"])


def test_ensemble_reports_whether_it_helped(runs, tiny_csv, tmp_path):
    """The output ends with the conclusion, and the folder is never overwritten."""
    text = invoke("ensemble", *runs, "--data", tiny_csv, "--out", tmp_path / "e").stdout
    assert "members disagree on" in text
    invoke("ensemble", *runs, "--data", tiny_csv, "--out", tmp_path / "e", code=6)


def test_a_changed_member_is_refused(runs, tiny_csv, tmp_path):
    """Exit 5 if a member has changed since the ensemble was made."""
    import shutil

    copies = [Path(shutil.copytree(run, tmp_path / run.name)) for run in runs]
    invoke("ensemble", *copies, "--data", tiny_csv, "--out", tmp_path / "e")
    shutil.copy(copies[1] / "checkpoint.safetensors", copies[0] / "checkpoint.safetensors")
    assert "of a member has changed" in invoke("evaluate", tmp_path / "e", "--data", tiny_csv, code=5).stderr


def test_an_exported_file_has_the_scores_of_its_ensemble(onnx_file, ensemble, tiny_csv):
    """The .onnx file and its ensemble folder have the same scores."""
    results = json.loads(invoke("evaluate", onnx_file, ensemble, "--data", tiny_csv, "--json").stdout)["results"]
    assert results[0]["nll"] == pytest.approx(results[1]["nll"], abs=1e-5)
    assert results[0]["confusion"] == results[1]["confusion"]


def test_evaluate_json_has_the_data_of_the_page(onnx_file, tiny_csv):
    """The JSON has reliability and examples of each model, and the diversity of the models."""
    document = json.loads(invoke("evaluate", onnx_file, "fast", "--data", tiny_csv, "--json").stdout)
    for result in document["results"]:
        counts = result["reliability"]["right_by_confidence"], result["reliability"]["wrong_by_confidence"]
        assert [sum(count) for count in counts] == [
            round(result["accuracy"] * result["n"]), round((1 - result["accuracy"]) * result["n"])
        ]  # fmt: skip
        assert sum(part["count"] for part in result["reliability"]["bins"]) == result["n"]
        for example in result["examples"]["mistakes"]:
            assert max(example["probabilities"], key=example["probabilities"].get) != example["label"]
    accuracies = [result["accuracy"] for result in document["results"]]
    assert document["diversity"]["accuracies"] == pytest.approx(accuracies)
    alone = json.loads(invoke("evaluate", onnx_file, "--data", tiny_csv, "--json").stdout)
    assert alone["diversity"] is None


def test_packaged_models_are_scored_by_name(tiny_csv, tmp_path, monkeypatch):
    """`fast` is the packaged file, unless a run has that name. The file cannot be exported again."""
    from emotify.opening import packaged_models

    first = invoke("evaluate", "fast", "--data", tiny_csv, "--json").stdout
    results = json.loads(invoke("evaluate", "fast", packaged_models()["fast"], "--data", tiny_csv, "--json").stdout)
    assert results["results"][0] == results["results"][1]
    assert "fast is an exported file already" in invoke("export", "fast", "--onnx", "--data", tiny_csv, code=2).stderr
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fast").mkdir()
    assert invoke("evaluate", "fast", "--data", tiny_csv, "--json").stdout == first
    (tmp_path / "fast" / "run.json").write_text('{"schema": 1, "status": "running"}')
    assert "fast has not finished" in invoke("evaluate", "fast", "--data", tiny_csv, code=5).stderr


def test_export_reports_the_loss_of_the_file(ensemble, tiny_csv, tmp_path):
    """The scores of torch and of the file are in the JSON and, without --quiet, on stderr."""
    words = ("export", ensemble, "--data", tiny_csv, "--precision", "fp16", "--out", tmp_path / "a.onnx")
    result = invoke(*words, "--json")
    document = json.loads(result.stdout)
    assert document["drawn_images"] == 280
    assert document["valid_torch"]["n"] == document["valid"]["n"]
    assert "points from PyTorch" in result.stderr
    bare = json.loads(invoke("export", ensemble, "--json", "--data", tiny_csv, "--out", tmp_path / "b.onnx").stdout)
    assert bare["valid"]["nll"] == pytest.approx(bare["valid_torch"]["nll"], abs=1e-4)


def test_export_refuses_to_overwrite(onnx_file, ensemble, tiny_csv):
    """Exit 6 without --force, and the file does not change."""
    before = onnx_file.read_bytes()
    invoke("export", ensemble, "--data", tiny_csv, "--out", onnx_file, code=6)
    assert onnx_file.read_bytes() == before


def test_predict_prints_one_json_object_per_picture(onnx_file, class_folder):
    """The output of `--jsonl` is JSON in the order of the pictures, and nothing else is on stdout."""
    lines = invoke("predict", class_folder, "--model", onnx_file, "--jsonl").stdout.splitlines()
    documents = [json.loads(line) for line in lines]
    assert [document["path"] for document in documents] == sorted(str(path) for path in class_folder.rglob("*.png"))
    for document in documents:
        (face,) = document["faces"]
        assert face["box"] == [0, 0, 48, 48]
        assert sum(face["probabilities"].values()) == pytest.approx(1, abs=1e-3)
        assert face["probability"] == max(face["probabilities"].values()) == face["probabilities"][face["label"]]


def test_predict_scores_folders_named_as_expressions(onnx_file, class_folder):
    """The accuracy against the folders' names agrees with the rows, in --json and in the table."""
    document = json.loads(invoke("predict", class_folder, "--model", onnx_file, "--json").stdout)
    right = [Path(row["path"]).parent.name == row["faces"][0]["label"] for row in document["pictures"]]
    assert document["truth"]["accuracy"] == pytest.approx(np.mean(right))
    assert document["summary"]["faces"] == len(right) == 14
    result = invoke("predict", class_folder, "--model", onnx_file)
    assert "accuracy against the folders' names" in result.stderr
    assert "Confusion matrix" in result.stderr
    assert len(result.stdout.splitlines()) == 14
    assert "accuracy" not in invoke("predict", class_folder, "--model", onnx_file, "--truth", "none").output


@pytest.mark.parametrize("words", [["."], ["0.png"], ["../happy/1.png"]])
def test_truth_uses_the_folder_of_relative_paths_too(words, onnx_file, class_folder, monkeypatch):
    monkeypatch.chdir(class_folder / "happy")
    assert "accuracy against" in invoke("predict", *words, "--model", onnx_file, "--truth", "folders").stderr


def test_missing_truth_is_reported_at_the_first_picture(onnx_file, class_folder, tmp_path):
    shutil.copy(class_folder / "happy" / "0.png", tmp_path / "a.png")
    result = invoke("predict", tmp_path, class_folder, "--model", onnx_file, "--truth", "folders", code=4)
    assert f"the folder of {tmp_path / 'a.png'} is not named as an expression" in result.stderr


def test_bad_pictures_do_not_stop_predict(onnx_file, class_folder, tmp_path):
    """Each bad file has a status, and the others are predicted with exit 3. Exit 4 if no file is readable."""
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    good = next(class_folder.rglob("*.png"))
    lines = invoke("predict", bad, good, tmp_path / "none.jpg", "--model", onnx_file, "--jsonl", code=3).stdout
    assert [json.loads(line)["status"] for line in lines.splitlines()] == ["not_an_image", "ok", "not_found"]
    invoke("predict", bad, "--model", onnx_file, code=4)
    (tmp_path / "empty").mkdir()
    assert "no images found" in invoke("predict", tmp_path / "empty", "--model", onnx_file, code=4).stderr


def test_predict_prints_one_line_per_picture_in_a_pipe(onnx_file, class_folder, tmp_path):
    """A line has path, label, probability and box, separated by tabs. An unreadable picture has its status there."""
    bad, good = tmp_path / "bad\t1.png", class_folder / "happy" / "0.png"
    bad.touch()
    options = ("--model", onnx_file, "--truth", "none")
    lines = invoke("predict", bad, good, *options, code=3).stdout.splitlines()
    assert [line.split("\t")[1] for line in lines[:1]] == ["empty"]
    path, label, probability, box = lines[1].split("\t")
    assert (path, label in EMOTIONS, 0 < float(probability) <= 1, box) == (str(good), True, True, "0,0,48,48")
    assert len(lines) == 2
    labels, shares = invoke("predict", good, *options, "--top", 3).stdout.split("\t")[1:3]
    assert labels.split(",")[0] == label
    assert len(labels.split(",")) == len(shares.split(",")) == 3
    unsure = invoke("predict", good, *options, "--top", 3, "--min-confidence", 1).stdout.split("\t")[1]
    assert unsure.split(",") == ["uncertain", *labels.split(",")[1:]]


def test_faces_below_min_confidence_are_uncertain(onnx_file, class_folder):
    """The label is `uncertain`, the probabilities do not change, and --top still names the most probable expression."""
    options = ("predict", class_folder, "--model", onnx_file, "--jsonl")
    plain, unsure = (
        [json.loads(line)["faces"][0] for line in invoke(*options, *more).stdout.splitlines()]
        for more in ((), ("--min-confidence", 1, "--top", 2))
    )
    assert {face["label"] for face in unsure} == {"uncertain"}
    for before, after in zip(plain, unsure, strict=True):
        assert after["top"][0] == {"label": before["label"], "probability": before["probability"]}
        assert {**after, "label": before["label"], "top": None} == {**before, "top": None}


def test_skipped_frames_are_reported(onnx_file, tmp_path):
    """Every output notes that only the first frame of an animation was read."""
    frames = [Image.new("L", (48, 48), grey) for grey in (40, 120, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    result = invoke("predict", tmp_path, "--model", onnx_file, "--jsonl", "--csv", tmp_path / "a.csv")
    document = json.loads(result.stdout)
    assert (document["frames"], document["note"]) == (3, "only the first of its 3 frames was read")
    assert "1 picture with several frames" in result.stderr
    assert document["note"] in (tmp_path / "a.csv").read_text()


def test_csv_cells_cannot_start_a_formula(onnx_file, class_folder, tmp_path, monkeypatch):
    """A name that starts like a formula is text in a spreadsheet. There is one row per face."""
    import csv

    monkeypatch.chdir(tmp_path)
    good = next(class_folder.rglob("*.png"))
    for name in ("=1+1.png", "@x.png", "plain.png"):
        Path(name).write_bytes(good.read_bytes())
    invoke("predict", "=1+1.png", "@x.png", "plain.png", "--model", onnx_file, "--csv", "out.csv")
    with Path("out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["'=1+1.png", "'@x.png", "plain.png"]
    assert rows[0]["label"] in EMOTIONS
    invoke("predict", "plain.png", "--model", onnx_file, "--csv", "out.csv", code=6)


def test_file_names_that_are_not_text_are_kept(onnx_file, class_folder, tmp_path):
    """JSON keeps any name exactly, and the terminal shows control characters escaped."""
    good = next(class_folder.rglob("*.png")).read_bytes()
    names = [b"caf\xe9.png", b"[red]x.png", b"a\x1b[31mb.png", b"new\nline.png", "r\u202etl.png".encode()]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(good)
    result = invoke("predict", tmp_path, "--model", onnx_file, "--jsonl")
    found = {os.fsencode(Path(json.loads(line)["path"]).name) for line in result.stdout.splitlines()}
    assert found == set(names)
    text = invoke("predict", tmp_path, "--model", onnx_file).stdout
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[red]x.png" in text


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x08\x12\x00" * 9])
def test_files_that_are_not_models_are_refused(content, class_folder, tmp_path):
    """An empty file, text and random bytes are exit 5 with the name of the file."""
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    assert "x.onnx" in invoke("predict", class_folder, "--model", path, code=5).stderr


def test_missing_data_models_and_devices_have_their_exit_codes(tmp_path, monkeypatch, onnx_file):
    """Exit 4 for data, 5 for models, 8 for devices, each with one line that says what to do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EMOTIFY_DATA", raising=False)
    assert "--data synthetic" in invoke("train", code=4).stderr
    assert "emotify train" in invoke("evaluate", code=5).stderr
    assert "emotify train" in invoke("export", "--onnx", code=5).stderr
    assert "typo does not exist; name a run" in invoke("ensemble", "typo", code=5).stderr
    assert "cpu" in invoke("train", "--data", "synthetic", "--device", "cuda:99", code=8).stderr
    assert "cpu" in invoke("evaluate", onnx_file, "--data", "synthetic", "--device", "cuda:99", code=8).stderr
    for words in (["evaluate", onnx_file, "--split", "x"], ["predict", ".", "--faces", "x"], ["export", "--nope"]):
        invoke(*words, code=2)
    invoke("evaluate", onnx_file, "--data", "synthetic", "--device", "x", code=2)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["evaluate", "MODEL"], "has no images of the valid split; name a split that it has: --split test"),
        (["ensemble", "MODEL"], "has no valid split; an ensemble is chosen on it, so name data that has one"),
        (["export", "MODEL", "--precision", "int8"], "--precision int8 needs train and valid images, to measure the"),
    ],
    ids=["evaluate", "ensemble", "export"],
)
def test_data_without_the_needed_split_is_refused(words, told, runs, class_folder, tmp_path, monkeypatch):
    """Exit 4 with what to do, and no output."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "test").symlink_to(class_folder)
    monkeypatch.chdir(tmp_path)
    words = [runs[0] if word == "MODEL" else word for word in words]
    stderr = invoke(*words, "--data", "photos", *(["--out", "made"] if words[0] != "evaluate" else []), code=4).stderr
    assert told in stderr.splitlines()[-1]
    assert not (tmp_path / "made").exists()


def test_a_quantised_export_needs_data(runs, tmp_path, monkeypatch):
    """Without data, an exported fp32 file is checked on drawn faces. An int8 file also needs its accuracy."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EMOTIFY_DATA", raising=False)
    assert "error: no data: " in invoke("export", runs[0], "--out", "m.onnx", "--precision", "int8", code=4).stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ("predict", ""),
        ("predict", "a.jpg", ""),
        ("predict", "a.jpg", "--model", ""),
        ("predict", "--files-from", ""),
        ("predict", "a.jpg", "--csv", ""),
        ("train", "--data", ""),
        ("train", "--out", ""),
        ("evaluate", ""),
        ("ensemble", "a", ""),
        ("export", ""),
    ],
    ids=" ".join,
)
def test_an_empty_path_is_refused(words, tmp_path, monkeypatch):
    """An unset shell variable gives an empty path, which must not mean the current folder."""
    monkeypatch.chdir(tmp_path)
    Image.new("L", (48, 48)).save("face.png")
    stderr = invoke(*words, code=2).stderr
    assert "is empty" in stderr
    assert len(stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["face.png"]


def test_outputs_are_checked_before_any_work(runs, ensemble, onnx_file, tmp_path, monkeypatch):
    """Exit 6 for an output that is not writable, before any data is read."""
    (tmp_path / "file").touch()
    nowhere, data = tmp_path / "file" / "below", ("--data", tmp_path / "no data")
    commands = (["train", "--out"], ["evaluate", onnx_file, "--report"], ["ensemble", *runs, "--out"])
    for words in (*commands, ["export", ensemble, "--out"]):
        assert "cannot write" in invoke(*words, nowhere, *data, code=6).stderr
    monkeypatch.chdir(tmp_path)
    Path("runs").touch()
    for words in (["train"], ["ensemble", *runs]):
        assert "cannot write runs" in invoke(*words, *data, code=6).stderr


def test_a_link_is_not_written_through_without_force(runs, onnx_file, class_folder, tmp_path, monkeypatch):
    """This holds for a link to a folder and for a broken link."""
    monkeypatch.chdir(tmp_path)
    Path("elsewhere").mkdir()
    Path("link").symlink_to("elsewhere")
    Path("dangling").symlink_to("nowhere")
    predict = ["predict", class_folder, "--model", onnx_file]
    for name in ("link", "dangling"):
        for words in (
            ["evaluate", onnx_file, "--data", "synthetic", "--report", name],
            ["ensemble", *runs, "--data", "synthetic", "--out", name],
            [*predict, "--annotate", name],
            [*predict, "--explain", name, "--append", "--jsonl-file", "lines"],
        ):
            invoke(*words, code=6)
    assert not list(Path("elsewhere").iterdir())
    assert not Path("nowhere").exists()


def test_the_data_that_was_found_is_reported(onnx_file, tmp_path, monkeypatch):
    """Synthetic faces are never used silently."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMOTIFY_DATA", "synthetic")
    assert "data: synthetic" in invoke("evaluate", onnx_file).stderr
    assert "data: synthetic" not in invoke("evaluate", onnx_file, "--data", "synthetic").stderr


@pytest.mark.parametrize("debug", [False, True])
def test_out_of_memory_is_not_called_a_bug(debug, tmp_path, monkeypatch):
    """Exit 8 with the option to lower, and no crash log. Only --debug shows the traceback."""
    stderr = fail_to_print(MemoryError(), tmp_path, monkeypatch, debug=debug, code=8)
    assert "lower --threads" in stderr
    assert ("Traceback" in stderr) == debug
    assert not list(tmp_path.iterdir())


def fail_to_print(error: Exception, folder: Path, monkeypatch, *, debug: bool, code: int) -> str:
    """Run a command in a folder, let Python's json fail with `error`, and return what is printed on stderr."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.chdir(folder)
    monkeypatch.setattr(json, "dumps", fail)
    words = ["predict", "missing.png", "--json", *(["--debug"] if debug else [])]
    monkeypatch.setattr(sys, "argv", ["emotify", *words])
    return str(invoke(*words, code=code).stderr)


@pytest.mark.parametrize("debug", [False, True])
def test_the_traceback_of_a_bug_is_in_the_crash_log(debug, tmp_path, monkeypatch):
    """Exit 1 with one line that names the file. --debug shows the traceback, too, without control characters."""
    error = RuntimeError("not \x1b[31mexpected")
    *shown, line = fail_to_print(error, tmp_path, monkeypatch, debug=debug, code=1).splitlines()
    log = tmp_path / "emotify.crash.log"
    told = r"RuntimeError: not \x1b[31mexpected"
    assert line == f"error: a bug in emotify: {told}; the traceback is in {log}"
    assert log.read_text().count("Traceback (most recent call last)") == 1
    assert (shown.count("Traceback (most recent call last):"), shown.count(told)) == (int(debug), int(debug))


@pytest.mark.parametrize("debug", [False, True])
def test_the_traceback_of_a_bug_is_printed_once_without_a_crash_log(debug, tmp_path, monkeypatch):
    """The file is not writable, for example in a read-only folder."""
    (tmp_path / "emotify.crash.log").mkdir()
    shown = fail_to_print(RuntimeError("unexpected"), tmp_path, monkeypatch, debug=debug, code=1)
    assert shown.count("Traceback (most recent call last):") == 1
    assert shown.endswith("error: a bug in emotify: RuntimeError: unexpected; the traceback is above\n")


def test_debug_shows_the_traceback_of_an_error(tmp_path, monkeypatch):
    """An error of the user's is no bug: no crash log is written."""
    monkeypatch.chdir(tmp_path)
    words = ["predict", "a.png", "--model", "missing.onnx"]
    (line,) = invoke(*words, code=5).stderr.splitlines()
    monkeypatch.setattr(sys, "argv", ["emotify", *words, "--debug"])
    first, *_, last = invoke(*words, "--debug", code=5).stderr.splitlines()
    assert (first, last) == ("Traceback (most recent call last):", line)
    assert not list(tmp_path.iterdir())


def test_a_closed_pipe_is_silent(onnx_file, class_folder):
    """`| head -1` ends the command with 0 and without a traceback."""
    pictures = [str(path) for path in class_folder.rglob("*.png")] * 40  # far more output than a pipe buffer holds
    command = [sys.executable, "-m", "emotify", "predict", *pictures, "--model", str(onnx_file), "--jsonl", "-q"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["status"] == "ok"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["predict", "-h"], ["predict", "missing.png", "--json"]])
def test_a_closed_or_full_stdout_is_handled_at_the_end(words):
    """A closed pipe is exit 0 without a message. A full disk is exit 6, also after a failed command."""
    command = [sys.executable, "-m", "emotify", *words]
    reading, writing = os.pipe()
    os.close(reading)
    full = os.open("/dev/full", os.O_WRONLY)
    for stdout, code in ((writing, 0), (full, 6)):
        result = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True)
        os.close(stdout)
        assert result.returncode == code, result.stderr
        assert "Exception ignored" not in result.stderr
        assert ("cannot write to standard output" in result.stderr) == (stdout == full)


def test_a_closed_pipe_does_not_change_the_exit_code(monkeypatch):
    """For example, a failed gate keeps its exit code."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        pipe.write("held back")
        with pytest.raises(typer.Exit) as ended, errors._writing():
            raise typer.Exit(ExitCode.GATE)
    assert ended.value.exit_code == ExitCode.GATE


@pytest.mark.parametrize(("closed", "kept"), [("2>&-", 14), (">&-", 0), ("<&-", 14)])
def test_nothing_is_written_to_closed_streams(closed, kept, onnx_file, class_folder, tmp_path):
    """Output for a closed stream does not go to another stream or file."""
    words = f'exec "$0" -m emotify predict "$1" --model "$2" --jsonl --csv "$3" {closed}'
    command = ["sh", "-c", words, sys.executable, str(class_folder), str(onnx_file), str(tmp_path / "a.csv")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert [json.loads(line)["status"] for line in result.stdout.splitlines()] == ["ok"] * kept
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 15


def test_a_closed_pipe_of_messages_does_not_end_the_work(onnx_file, class_folder, tmp_path):
    """The reader of stderr has gone. All results are printed, and the exit code is that of the work."""
    (tmp_path / "empty.png").touch()
    reading, writing = os.pipe()
    os.close(reading)
    words = ["predict", tmp_path / "empty.png", class_folder, "--model", onnx_file, "--jsonl"]
    command = [sys.executable, "-m", "emotify", *map(str, words)]
    with os.fdopen(writing) as stderr:
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
    assert result.returncode == 3
    assert [json.loads(line)["status"] for line in result.stdout.splitlines()] == ["empty"] + ["ok"] * 14


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_is_printed(option):
    assert invoke(option).stdout == f"emotify {__version__}\n"


def test_without_a_command_the_help_is_printed():
    """Exit 2 on stderr, so that a script without a command notices."""
    assert invoke(code=2).stderr == invoke("--help").stdout


def test_the_command_runs_with_replaced_streams():
    """In a notebook, for example, sys.stdout is not Python's own stream."""
    program = "import io, sys; sys.stdout = io.StringIO(); from emotify.cli import main; sys.argv = ['emotify', '-V']\n"
    program += "try:\n    main()\nfinally:\n    sys.__stdout__.write(sys.stdout.getvalue())"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"emotify {__version__}\n", "")


def test_help_shows_examples_first():
    """Every command's help has its examples above its options, and -h is --help."""
    for command in ("train", "evaluate", "ensemble", "export", "predict"):
        text = invoke(command, "-h").stdout
        assert text.index("Examples:") < text.index("Options:"), text


def test_the_main_help_has_the_first_lines_of_each_command():
    """`emotify --help` shows these lines without importing the commands."""
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        assert command.help == command.loaded.help.partition("\n")[0], name


@pytest.mark.parametrize(
    "words", [["--threads", "two"], ["--threads", "-1"], ["--top", "8"], ["--min-confidence", "x"]]
)
def test_values_of_another_type_are_refused(words, tmp_path):
    """Exit 2 with the name of the option."""
    result = invoke("predict", tmp_path, *words, code=2)
    assert words[0] in result.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train", "--optimizer", "adam"], "--optimizer 'adam': choose from sgd, muon"),
        (["train", "--recipe", "slow"], "--recipe 'slow': choose from fast, standard, best"),
        (["evaluate", "--split", "holdout"], "--split 'holdout': choose from train, valid, test"),
        (["evaluate", "--views", "two"], "--views 'two': choose from one, mirror, ten"),
        (["ensemble", "--method", "vote"], "--method 'vote': choose from mean, probabilities, weighted, greedy"),
        (["export", "--precision", "int4"], "--precision 'int4': choose from fp32, fp16, int8"),
        (["predict", "x", "--head", "crwd"], "--head 'crwd': choose from labels, crowd"),
        (["train", "--epochs", "x"], "--epochs takes a whole number, not 'x'"),
        (["train", "--warmup", "1"], "--warmup cannot be 1.0; it must be at least 0 and below 1"),
        (["train", "--momentum", "1"], "--momentum cannot be 1.0; it must be above 0 and below 1"),
        (["predict", "x", "--top", "9"], "--top cannot be 9; it must be at most 7"),
        (["train", "--bogus"], "no such option: --bogus"),
        (
            ["predict", "x", "--json", "--jsonl"],
            "--json prints one document and --jsonl one line per picture; give only",
        ),
        (["predcit"], "no such command 'predcit'; did you mean 'predict'?"),
        (["predict", "x", "--csv"], "option '--csv' requires an argument; see emotify"),
        (["ensemble", "--excel"], "no such option: --excel; see "),
        (["predict", "x", "--csv", "x.xlsx"], "--csv x.xlsx: this option writes a .csv file; name it so"),
        (["predict", "x", "--report", "x.pdf"], "--report x.pdf: this option writes a .html file; name it so"),
        (["predict", "x", "--parquet", "x.csv"], "--parquet x.csv: this option writes a .parquet file; name it so"),
    ],
)
def test_every_wrong_option_is_reported_in_one_line_of_the_same_form(words, expected):
    """For wrong choices, numbers, ranges and names, the line has `error:`, the option, and its valid values."""
    lines = invoke(*words, code=2).stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"error: {expected}"), lines


def test_help_groups_options_under_headings():
    """At most ten options come before the first heading, and no help text has a Python type."""
    for command in ("train", "evaluate", "ensemble", "export", "predict"):
        text = invoke(command, "-h").stdout
        everyday = text.partition("Options:")[2].partition("\n\n")[0]
        assert 1 <= len(re.findall(r"^  -", everyday, re.MULTILINE)) <= 10, everyday
        assert text.index("Output:") > text.index("Options:")
        assert not re.search(r"<(str|int|float|Path|list)\b|int range|float range", text), text


def test_every_field_of_the_configuration_is_an_option_of_train():
    """Each option has the help and the default from its only declaration."""
    options = {each.name: each for each in typer.main.get_command(app).commands["train"].loaded.params}  # type: ignore[attr-defined]
    for field in dataclasses.fields(TrainConfig):
        assert options[field.name].default == field.default, field.name
        assert options[field.name].help, field.name


def test_tta_is_the_older_name_of_views_mirror(tmp_path):
    """--tta still works, and the help does not show it."""
    assert chosen_views(None, tta=True) == "mirror"
    assert chosen_views("ten", tta=True) == "ten"
    assert chosen_views(None, tta=False) is None
    for command in ("evaluate", "export"):
        assert "--tta" not in invoke(command, "-h").stdout
        assert "no such option" not in runner.invoke(app, [command, str(tmp_path / "no"), "--tta"]).stderr


def test_a_model_trained_on_drawn_faces_gives_a_warning(runs, onnx_file, tmp_path, monkeypatch):
    """`predict` uses the newest export by default, and warns when it was trained on drawn faces."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "a"
    shutil.copytree(runs[0], run)
    shutil.copy(onnx_file, run / "model.onnx")
    Image.new("L", (48, 48), 128).save("face.png")
    warning = "that model was trained on drawn faces; for photographs use the built-in one: --model default"
    assert warning not in invoke("predict", "face.png").stderr
    record = json.loads((run / "run.json").read_text())
    record["data"]["name"] = "synthetic"
    (run / "run.json").write_text(json.dumps(record))
    assert warning in invoke("predict", "face.png").stderr
    assert warning not in invoke("predict", "face.png", "--model", run / "model.onnx").stderr
    folder = tmp_path / "runs" / "b"
    folder.mkdir()
    shutil.move(run / "model.onnx", folder / "model.onnx")
    (folder / "ensemble.json").write_text(json.dumps({"members": [{"run": "../a"}]}))
    assert warning in invoke("predict", "face.png").stderr


def test_the_folder_of_all_runs_is_not_a_model(runs):
    result = invoke("evaluate", runs[0].parent, code=5)
    assert f"{runs[0].parent} is a folder of runs; name one of them, or all: {runs[0].parent}/*" in result.stderr


def test_the_model_of_the_environment_variable_is_used(small_model, tmp_path, monkeypatch):
    """$EMOTIFY_MODEL is preferred to the exports in runs/, and named on stderr."""
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    monkeypatch.delenv("EMOTIFY_MODEL", raising=False)
    Path("runs", "newest.onnx").write_bytes(small_model.read_bytes())
    Image.new("L", (48, 48)).save("face.png")
    shown = invoke("predict", "face.png", "--json")
    assert "model: the newest export in runs/, runs/newest.onnx\n" in shown.stderr
    assert "drawn faces" not in shown.stderr  # the data of the model is unknown
    monkeypatch.setenv("EMOTIFY_MODEL", str(small_model))
    shown = invoke("predict", "face.png", "--json")
    assert f"model: $EMOTIFY_MODEL, {small_model}\n" in shown.stderr
    assert json.loads(shown.stdout)["model"].endswith("small.onnx")


def test_evaluate_suggests_the_next_command(runs, ensemble, tiny_csv):
    """It suggests `ensemble` for several runs, `export` for one run or ensemble, and nothing for a file."""
    data = ("--data", tiny_csv)
    assert f"next: emotify ensemble {runs[0]} {runs[1]} --data {tiny_csv}" in invoke("evaluate", *runs, *data).stderr
    assert f"next: emotify export {ensemble} --data {tiny_csv}" in invoke("evaluate", ensemble, *data).stderr
    assert "next:" not in invoke("evaluate", "fast", *data).stderr


def test_a_folder_too_small_for_a_valid_split_can_be_scored(tmp_path):
    """With one picture per class, 10 % for valid is no picture. `evaluate` still scores the test split."""
    for number, emotion in enumerate(EMOTIONS):
        for split in ("train", "test"):
            (tmp_path / split / emotion).mkdir(parents=True)
            Image.new("L", (48, 48), 30 * number + len(split)).save(tmp_path / split / emotion / "a.png")
    document = json.loads(invoke("evaluate", "fast", "--data", tmp_path, "--split", "test", "--json").stdout)
    assert document["results"][0]["n"] == 7


def test_data_without_train_and_valid_gets_no_clean_scores_and_no_temperature(class_folder, tmp_path):
    """Neither in the tables, nor in the report and its figure of the calibration."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "test").symlink_to(class_folder)
    words = ("evaluate", "fast", "fast", "--data", tmp_path / "photos", "--split", "test")
    report = tmp_path / "report"
    text = invoke(*words, "--report", report).stdout
    assert "accuracy" in text
    assert "Brier score" in text
    assert not re.search("clean|with temperature|fitted on valid", text)
    page = (report / "index.html").read_text()
    assert "Reliability" in page
    assert not re.search("clean accuracy|with temperature|fitted on valid", page)


def test_the_networks_are_listed():
    """Their sizes in a table, then their descriptions; --json has the exact numbers."""
    text = invoke("train", "--list-models").stdout
    networks = json.loads(invoke("train", "--list-models", "--json").stdout)["models"]
    assert [network["name"] for network in networks] == list(NETWORKS)
    cnn = next(network for network in networks if network["name"] == "cnn-eq")
    assert cnn["input_size"] == 44
    assert cnn["equalise"]
    assert cnn["macs"] > 1e8
    table = text.partition("\n\n")[0]
    assert f"cnn-eq {cnn['parameters'] / 1e6:.2f} M {cnn['macs'] / 1e6:.1f} M 44x44, equalised" in re.sub(
        " +", " ", table
    )
    assert max(map(len, table.splitlines())) < 80
    for network in networks:
        assert re.search(rf"^ {network['name']} ", text, re.MULTILINE)
        assert f": {network['description']}\n" in text
    assert f"\ncnn, cnn-eq: {cnn['description']}\n" in text


def test_uncertain_faces_are_explained(tmp_path):
    Image.new("L", (20, 20), 128).save(tmp_path / "small.png")
    explained = "an uncertain face is smaller than 24x24 pixels, or below --min-confidence"
    assert explained in invoke("predict", tmp_path / "small.png", "--model", "fast").stderr
    Image.new("L", (48, 48), 128).save(tmp_path / "large.png")
    assert explained not in invoke("predict", tmp_path / "large.png", "--model", "fast").stderr


def test_closing_the_pipe_early_causes_no_abort():
    """A thread may still decode and classify when the pipe closes. Native code must not abort at exit."""
    samples = Path(__file__).parent.parent / "samples"
    command = [sys.executable, "-m", "emotify", "predict", str(samples), "--model", "default", "--threads", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert b"terminate" not in process.stderr.read()
        assert process.wait() == 0
