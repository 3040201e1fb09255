"""Distillation, --start-from, mixup and drop-path: their effects, and exact resuming with all of them."""

from __future__ import annotations

import dataclasses
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from emotify.data import Dataset, Split
from emotify.ensembling.combine import combine
from emotify.ensembling.ensemble import open_ensemble, save_ensemble
from emotify.errors import ModelError, UsageError
from emotify.exporting.export import export
from emotify.networks.inference import predict_logits
from emotify.onnx_runtime.classifier import open_session
from emotify.opening import packaged_models
from emotify.training.classifier import NetworkClassifier, open_run
from emotify.training.config import TrainConfig
from emotify.training.prepare import prepare
from emotify.training.recipes import RECIPES, distinguish, recipe
from emotify.training.run_folder import close_run, finish_run, resumed_run
from emotify.training.teacher import distillation_loss, open_teacher
from tests.training.short_runs import train

CONFIG = TrainConfig(model="fnn", epochs=2, batch_size=32, device="cpu", precision="fp32", threads=1, compile="off")


@pytest.fixture(scope="module")
def dataset(faces) -> Dataset:
    """A third of the drawn faces."""
    return Dataset("synthetic", {split: images.take(np.arange(0, len(images), 3)) for split, images in faces.items()})


@pytest.fixture(scope="module")
def runs(dataset, tmp_path_factory):
    """Two finished runs with different seeds."""
    out = tmp_path_factory.mktemp("teachers")
    return [train(dataclasses.replace(CONFIG, seed=seed, epochs=4), dataset, out) for seed in (1, 2)]


@pytest.fixture(scope="module")
def ensemble(runs, dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ensemble")
    valid = dataset.splits[Split.VALID]
    answers = np.stack([open_run(run, device="cpu").answers(valid.images).labels for run in runs])
    save_ensemble(folder, runs, combine(answers, valid.labels))
    return folder


@pytest.fixture(scope="module")
def teacher_file(ensemble, tmp_path_factory):
    """The exported ensemble."""
    path = tmp_path_factory.mktemp("file") / "teacher.onnx"
    opened = open_ensemble(ensemble, lambda run: open_run(run, device="cpu"))
    members = [(member.name, member.network) for member in opened.members if isinstance(member, NetworkClassifier)]
    export(members, path, pooling=opened.pooling)
    return path


def test_a_teacher_answers_as_its_ensemble(ensemble, runs, dataset):
    """Its logits are the mean of the members' log-probabilities, up to a constant in each row."""
    images = torch.from_numpy(dataset.splits[Split.VALID].images[:50])
    answers = open_teacher(ensemble, device=torch.device("cpu"))(images)
    members = [
        predict_logits(open_run(run, device="cpu").network, images.numpy(), device=torch.device("cpu")) for run in runs
    ]
    pooled = torch.stack([member.log_softmax(1) for member in members]).mean(0)
    assert torch.allclose(answers.log_softmax(1), pooled.log_softmax(1), atol=1e-4)


def test_an_exported_file_teaches_as_its_ensemble(teacher_file, ensemble, dataset):
    """Without the file's temperature, its log-probabilities equal the ensemble's up to a constant in each row."""
    images = torch.from_numpy(dataset.splits[Split.VALID].images[:50])
    expected = open_teacher(ensemble, device=torch.device("cpu"))(images)
    teacher = open_teacher(teacher_file, device=torch.device("cpu"))
    assert torch.allclose(teacher(images).log_softmax(1), expected.log_softmax(1), atol=1e-3)
    assert torch.equal(teacher(images + 0.3), teacher(images.float()))


@pytest.mark.parametrize("name", ["default", "fast"])
def test_built_in_models_can_teach(name, dataset):
    images = torch.from_numpy(dataset.splits[Split.VALID].images[:20])
    answers = open_teacher(Path(name), device=torch.device("cpu"), threads=1)(images)
    inside = open_session(packaged_models()[name])
    cooled = (answers / inside.temperature).softmax(1)
    assert np.allclose(cooled, inside.answers(images.numpy()).labels, atol=1e-5)


def test_the_distillation_loss_equals_a_computation_by_hand():
    logits, teacher = torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([[0.5, 0.0, 0.1]])
    student, target = (logits / 2).softmax(1), (teacher / 2).softmax(1)
    expected = 4 * (target * (target / student).log()).sum()
    assert float(distillation_loss(logits, teacher, temperature=2.0)) == pytest.approx(float(expected), rel=1e-5)
    assert float(distillation_loss(teacher + 3, teacher, temperature=2.0)) == pytest.approx(0, abs=1e-6)


def test_a_student_comes_closer_to_its_teacher(ensemble, runs, dataset, tmp_path):
    """A network with the teacher alone is closer to it than a network with the labels and the same seed."""
    images = torch.from_numpy(dataset.splits[Split.VALID].images)
    answers = open_teacher(ensemble, device=torch.device("cpu"))(images).softmax(1)

    def distance(config) -> float:
        network = open_run(train(config, dataset, tmp_path), device="cpu").network
        logits = predict_logits(network, images.numpy(), device=torch.device("cpu"))
        return float(F.kl_div(logits.log_softmax(1), answers, reduction="batchmean"))

    config = dataclasses.replace(CONFIG, epochs=4)
    taught = dataclasses.replace(config, distill=str(ensemble), distill_weight=1.0, distill_temperature=1.0)
    assert distance(taught) < distance(config)


@pytest.mark.parametrize(("model", "kind"), [("small", "run"), ("whitened", "file")])
def test_resuming_with_distillation_mixup_and_drop_path_is_exact(model, kind, runs, teacher_file, dataset, tmp_path):
    """Distillation, mixup and drop-path are on; the teacher has full size while the student's images grow."""
    teacher = {"run": runs[0], "file": teacher_file}[kind]
    few = Dataset(
        "few", {split: images.take(np.arange(min(len(images), 48))) for split, images in dataset.splits.items()}
    )
    config = dataclasses.replace(CONFIG, model=model, batch_size=16, distill=str(teacher), schedule="linear")
    config = dataclasses.replace(config, augment=True, mixup=0.4, drop_path=0.3)
    stopped = train(config, few, tmp_path / "a", stop_at=4)
    with resumed_run(stopped, few) as training:
        list(training.run())
        close_run(stopped, finish_run(training))
    whole = train(config, few, tmp_path / "b")
    assert (stopped / "checkpoint.safetensors").read_bytes() == (whole / "checkpoint.safetensors").read_bytes()


def test_a_training_with_another_teacher_is_not_resumed(runs, dataset, tmp_path):
    """The run resumes after the teacher is restored."""
    teacher = tmp_path / "teacher"
    shutil.copytree(runs[0], teacher)
    config = dataclasses.replace(CONFIG, distill=str(teacher))
    folder = train(config, dataset, tmp_path / "out", stop_at=2)
    for other, message in ((runs[1], f"the teacher {teacher} has changed since"), (runs[0], "")):
        shutil.copy(other / "checkpoint.safetensors", teacher)
        with pytest.raises(ModelError, match=message) if message else nullcontext(), resumed_run(folder, dataset):
            pass


def test_a_run_starts_from_a_finished_one(runs, dataset, tmp_path):
    """With a tiny learning rate the weights stay the same; the weights of another model are refused."""
    config = dataclasses.replace(CONFIG, start_from=str(runs[0]), learning_rate=1e-12, epochs=1, weight_decay=0.0)
    before, after = (open_run(run).network.state_dict() for run in (runs[0], train(config, dataset, tmp_path)))
    assert torch.allclose(before["layers.1.weight"], after["layers.1.weight"], atol=1e-6)
    with pytest.raises(UsageError, match="weights of fnn do not fit cnn"):
        prepare(dataclasses.replace(config, model="cnn"))


def test_a_missing_teacher_fails_before_any_work(tmp_path):
    for name in ("nowhere", "nowhere.onnx"):
        with pytest.raises(ModelError, match=name):
            prepare(dataclasses.replace(CONFIG, distill=str(tmp_path / name)))
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ModelError, match=r"text\.onnx"):
        prepare(dataclasses.replace(CONFIG, distill=str(tmp_path / "text.onnx")))


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_options(name):
    assert dataclasses.replace(CONFIG, **recipe(name)).augment


def test_an_unknown_recipe_lists_the_known_ones():
    with pytest.raises(UsageError, match="fast, standard, best"):
        recipe("slow")


def test_trainings_are_named_by_their_different_options():
    """Options are written as typed. Seed, machine and default values are not in the name."""
    plain = TrainConfig(model="cnn", epochs=30, threads=2)
    others = [
        TrainConfig(model="cnn", epochs=30, seed=7, layout="contiguous"),
        TrainConfig(model="fnn", epochs=30, augment=True, grow=False, label_smoothing=0.0, distill="/some/where/best"),
    ]
    data = {"name": "fer2013.csv", "sha256": {"train": "1", "valid": "2"}}
    learned = "fnn --augment --distill best --label-smoothing 0 --no-grow"
    assert distinguish([plain, *others], [data] * 3) == ["cnn", "cnn", learned]
    namesake = dataclasses.replace(others[1], distill="/elsewhere/best")
    assert distinguish([*others, namesake, others[1]], [data] * 4)[1:] == [learned, f"{learned} (2)", learned]
    assert distinguish([plain] * 2, [data, {"name": "faces", "sha256": {"train": "3", "valid": "2"}}]) == [
        "cnn --data fer2013.csv",
        "cnn --data faces",
    ]
