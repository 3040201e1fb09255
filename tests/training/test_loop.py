"""The training loop: reproducible, resumable, able to learn, and able to stop with an error."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from emotify.choices import Optimizer, names_of
from emotify.cli import app
from emotify.data import Dataset, Split
from emotify.errors import GateError, ModelError, UnavailableError, UsageError, WriteError
from emotify.runs import read_run, update_record
from emotify.training.checkpoint import load_checkpoint, load_tensors, save_tensors
from emotify.training.config import TrainConfig
from emotify.training.distributed import World
from emotify.training.loop import Epoch, Step, Training
from emotify.training.run_folder import changes_since, close_run, finish_run, new_run, resumed_run
from tests.training.short_runs import train

CONFIG = TrainConfig(
    model="fnn", augment=True, epochs=3, batch_size=64, seed=5, device="cpu", precision="fp32", threads=2
)


@pytest.fixture(scope="session")
def dataset(faces) -> Dataset:
    return Dataset("synthetic", faces)


def resume(folder, dataset):
    with resumed_run(folder, dataset) as training:
        list(training.run())
        close_run(folder, finish_run(training))


@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory):
    """An uninterrupted run."""
    return train(CONFIG, dataset, tmp_path_factory.mktemp("whole"))


def weights(folder):
    return load_file(folder / "checkpoint.safetensors")


def same(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_same_seed_gives_the_same_weights(dataset, whole, tmp_path):
    """Weights are equal bit for bit, and the metrics are equal."""
    again = train(CONFIG, dataset, tmp_path)
    assert same(weights(again), weights(whole))
    assert (again / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_another_seed_gives_other_weights(dataset, whole, tmp_path):
    """The seed decides the random numbers."""
    assert not same(weights(train(dataclasses.replace(CONFIG, seed=6), dataset, tmp_path)), weights(whole))


@pytest.mark.parametrize("step", [1, 2, 4, 5, 8, 12])
def test_a_training_resumed_at_any_step_gives_the_same_weights(step, dataset, whole, tmp_path):
    """Weights, average and metrics equal those of an uninterrupted run, also at the end of an epoch or the run."""
    folder = train(CONFIG, dataset, tmp_path, stop_at=step)
    assert not (folder / "checkpoint.safetensors").exists()
    resume(folder, dataset)
    assert same(weights(folder), weights(whole))
    assert (folder / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert not (folder / "state.safetensors").exists()


@pytest.mark.parametrize("optimizer", names_of(Optimizer))
def test_every_optimizer_resumes_exactly(optimizer, faces, tmp_path):
    """The momentum is restored in the memory layout of the weights."""
    few = {split: images.take(np.arange(0, len(images), 7)) for split, images in faces.items()}
    dataset = Dataset("synthetic", few)
    config = dataclasses.replace(CONFIG, model="cnn", optimizer=optimizer, epochs=2, batch_size=16)
    stopped = train(config, dataset, tmp_path / "a", stop_at=3)
    resume(stopped, dataset)
    assert same(weights(stopped), weights(train(config, dataset, tmp_path / "b")))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # of what torch.compile itself imports
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs g++ on a CPU")
def test_a_compiled_training_resumes_exactly(few, tmp_path):
    """Resuming is exact, with a teacher too. Dropout draws other numbers than without compiling."""
    config = dataclasses.replace(CONFIG, epochs=2, batch_size=16, learning_rate=0.01, threads=1, compile="off")
    teacher = train(dataclasses.replace(config, augment=False), few, tmp_path / "teacher")
    plain = dataclasses.replace(config, distill=str(teacher), mixup=0.3)
    taught = dataclasses.replace(plain, compile="on")
    whole, stopped = train(taught, few, tmp_path / "whole"), train(taught, few, tmp_path / "stopped", stop_at=5)
    resume(stopped, few)
    assert same(weights(whole), weights(stopped))
    folders = whole, train(plain, few, tmp_path / "plain")
    losses = [json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1]) for folder in folders]
    assert losses[0]["valid_loss"] == pytest.approx(losses[1]["valid_loss"], rel=0.05)
    assert losses[0]["train_loss"] == pytest.approx(losses[1]["train_loss"], rel=0.1)


ON_GPU = TrainConfig(
    model="resnet18-eq",
    augment=True,
    low_resolution=0.3,
    blur=0.15,
    jpeg=0.2,
    mixup=0.3,
    drop_path=0.1,
    epochs=2,
    batch_size=8,
    device="cuda",
    compile="off",
)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@needs_gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode:UserWarning")  # is a prototype, torch says
@pytest.mark.parametrize("optimizer", names_of(Optimizer))
def test_no_step_waits_for_the_gpu(optimizer, few, tmp_path):
    """Only the first steps may wait, as they create what later steps use."""
    with new_run(dataclasses.replace(ON_GPU, optimizer=optimizer), few, out=tmp_path) as training:
        steps = training.run()
        for _ in itertools.islice(steps, 3):
            pass
        try:
            torch.cuda.set_sync_debug_mode("error")
            for _ in itertools.islice(steps, 3):
                pass
        finally:
            torch.cuda.set_sync_debug_mode("default")


@needs_gpu
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # of what torch.compile itself imports
@pytest.mark.parametrize("compiled", ["off", "on"])
@pytest.mark.parametrize("optimizer", names_of(Optimizer))
def test_resuming_on_a_gpu_is_exact(optimizer, compiled, few, tmp_path):
    """The weights equal those of an uninterrupted run, bit for bit."""
    config = dataclasses.replace(ON_GPU, optimizer=optimizer, compile=compiled)
    stopped = train(config, few, tmp_path / "stopped", stop_at=5)
    resume(stopped, few)
    assert same(weights(stopped), weights(train(config, few, tmp_path / "whole")))


def test_an_edited_configuration_is_refused(dataset, tmp_path):
    """A run resumes only with the configuration that it began with."""
    folder = train(CONFIG, dataset, tmp_path, stop_at=2)
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"epochs": 3', '"epochs": 4'))
    with pytest.raises(ModelError, match=r"config\.json"):
        resume(folder, dataset)


def test_a_state_older_than_an_option_resumes(dataset, whole, tmp_path, monkeypatch):
    """The missing option has its default value."""
    document = TrainConfig.document
    with monkeypatch.context() as earlier:
        earlier.setattr(
            TrainConfig, "document", lambda config: {k: v for k, v in document(config).items() if k != "optimizer"}
        )
        folder = train(CONFIG, dataset, tmp_path, stop_at=2)
    assert "optimizer" not in (folder / "config.json").read_text()
    resume(folder, dataset)
    assert same(weights(folder), weights(whole))


def test_a_run_resumes_without_the_run_that_it_started_from(dataset, whole, tmp_path):
    """Its state has everything that it needs."""
    shutil.copytree(whole, tmp_path / "first")
    config = dataclasses.replace(CONFIG, start_from=str(tmp_path / "first"))
    straight = train(config, dataset, tmp_path / "a")
    folder = train(config, dataset, tmp_path / "b", stop_at=2)
    shutil.rmtree(tmp_path / "first")
    resume(folder, dataset)
    assert same(weights(folder), weights(straight))


def test_the_record_lists_the_machines_of_a_resumed_run(dataset, tmp_path):
    """run.json has the machine of the last part and, for each earlier part, the last step and the differences."""
    folder = train(CONFIG, dataset, tmp_path, stop_at=2)
    assert changes_since(folder) == []
    assert changes_since(folder, threads=1) == ["threads 2, now 1"]
    with resumed_run(folder, dataset, threads=1):
        pass
    record = read_run(folder).record
    assert record["threads"] == 1
    assert record["earlier"] == [{"until_step": 2, "threads": 2}]
    assert changes_since(folder) == ["threads 1, now 2"]
    with resumed_run(folder, dataset, threads=2):
        pass
    assert read_run(folder).record["earlier"] == [{"until_step": 2, "threads": 2}, {"until_step": 2, "threads": 1}]


def test_the_record_has_the_time_of_all_parts_and_the_speed_of_the_last(dataset, tmp_path):
    """Only the images of the steps after resuming count for the speed."""
    folder = train(CONFIG, dataset, tmp_path, stop_at=2)
    update_record(folder, wall_seconds=1000.0)
    with resumed_run(folder, dataset) as training:
        begun = time.monotonic()
        steps = sum(isinstance(event, Step) for event in training.run())
        time.sleep(0.5)
        least = time.monotonic() - begun
    record = read_run(folder).record
    seconds = record["wall_seconds"] - 1000
    assert least - 0.1 < seconds < least + 10
    assert record["images_per_second"] * seconds == pytest.approx(steps * CONFIG.batch_size, rel=0.15)


def test_a_batch_size_must_be_a_multiple_of_the_processes(dataset, tmp_path):
    """This holds for new and for resumed runs."""
    folder = train(CONFIG, dataset, tmp_path, stop_at=2)
    world = World(rank=0, size=3)
    with pytest.raises(UsageError, match="64 cannot be shared by 3"), resumed_run(folder, dataset, world=world):
        pass
    with (
        pytest.raises(UsageError, match="64 cannot be shared by 3"),
        new_run(CONFIG, dataset, out=tmp_path, world=world),
    ):
        pass


def end_memory_of_a_gpu(*_, **__):
    raise torch.OutOfMemoryError


def end_memory_of_a_cpu(*_, **__):
    torch.empty(2**60)


@pytest.mark.parametrize("end_memory", [end_memory_of_a_gpu, end_memory_of_a_cpu])
def test_out_of_memory_in_inference_is_reported(end_memory, dataset, tmp_path, monkeypatch):
    """It is exit 8, also before the first step."""
    for name in ("_update", "__init__"):
        monkeypatch.setattr(Training, name, end_memory)
        with pytest.raises(UnavailableError, match="lower --batch-size 64"):
            train(CONFIG, dataset, tmp_path)


def test_out_of_memory_while_resuming_is_not_blamed_on_the_state(few, tmp_path, monkeypatch):
    """A damaged state would have to be deleted. Here the batch size is too large, so the state stays valid."""
    folder = train(CONFIG, few, tmp_path, stop_at=2)
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Optimizer, "load_state_dict", end_memory_of_a_cpu)
        with pytest.raises(UnavailableError, match="lower --batch-size 64"):
            resume(folder, few)
    with resumed_run(folder, few) as training:
        assert training.step == 2


@pytest.mark.parametrize("missing", [Split.TRAIN, Split.VALID])
def test_data_without_train_or_valid_are_refused(missing, tiny_csv, tmp_path):
    """It is exit 4, and no run folder is made."""
    usage = {Split.TRAIN: "Training", Split.VALID: "PublicTest"}[missing]
    lines = [line for line in tiny_csv.read_text().splitlines() if not line.endswith(usage)]
    (tmp_path / "part.csv").write_text("\n".join(lines))
    words = ["--data", str(tmp_path / "part.csv"), "--out", str(tmp_path / "runs")]
    shown = CliRunner().invoke(app, ["train", *words])
    assert (shown.exit_code, (tmp_path / "runs").exists()) == (4, False)
    assert f"part.csv has no images of the {missing} split; training needs train and valid" in shown.stderr


def test_the_record_has_no_absolute_paths(dataset, tmp_path):
    """An absolute path on the command line is saved as its last part."""
    words = ["/home/me/emotify", "train", "--data", "/home/me/a.csv", "--start-from=/home/me/b", "--out=c/d", "--lr=1"]
    words += ["--start-from", "runs/e,/home/me/f,/home/me/g", "--distill", "/home/me,you/h,i"]
    with new_run(CONFIG, dataset, out=tmp_path, argv=words) as training:
        pass
    told = ["emotify", "train", "--data", "a.csv", "--start-from=b", "--out=c/d", "--lr=1"]
    told += ["--start-from", "runs/e,f,g", "--distill", "h,i"]
    assert read_run(training.folder).record["argv"] == told


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no list of open files here")
def test_a_resumed_training_leaves_its_state_file_closed(dataset, tmp_path):
    """On Windows an open file cannot be replaced, so the next state could not be written."""
    folder = train(CONFIG, dataset, tmp_path, stop_at=2)
    with resumed_run(folder, dataset):
        assert str(folder / "state.safetensors") not in Path("/proc/self/maps").read_text()


def test_a_run_without_a_state_begins_again(dataset, whole, tmp_path):
    """A run that was killed before its first state trains from the first step, to the same weights."""
    with new_run(CONFIG, dataset, out=tmp_path) as training:
        next(iter(training.run()))
    with pytest.raises(ModelError, match="began on other data; resume it with the original --data"):
        resume(training.folder, Dataset("other", {**dataset.splits, Split.TRAIN: dataset.splits[Split.VALID]}))
    resume(training.folder, dataset)
    assert same(weights(training.folder), weights(whole))


def test_resuming_removes_temporary_files_of_a_killed_training(dataset, tmp_path):
    """Other files stay."""
    folder = train(CONFIG, dataset, tmp_path, stop_at=2)
    left, mine = folder / ".emotify.0123abcd.tmp", folder / ".emotify.notes.tmp"
    for path in (left, mine):
        path.touch()
    with resumed_run(folder, dataset):
        assert not left.exists()
    assert mine.exists()


def test_other_data_is_refused(dataset, tmp_path):
    """A run resumes only on the data that it began with."""
    folder = train(CONFIG, dataset, tmp_path, stop_at=2)
    valid = dataset.splits[Split.VALID]
    other = Dataset("other", {**dataset.splits, Split.TRAIN: valid})
    with pytest.raises(ModelError, match="other data"):
        resume(folder, other)
    resume(folder, dataset)


def test_a_finished_run_is_not_resumed(dataset, whole):
    with pytest.raises(UsageError, match="finished"):
        resume(whole, dataset)


def test_two_processes_cannot_train_one_run(dataset, tmp_path):
    """The error names the process that trains the run."""
    with new_run(CONFIG, dataset, out=tmp_path) as training:
        pass
    with resumed_run(training.folder, dataset), pytest.raises(WriteError, match="in use"):
        resume(training.folder, dataset)


def test_a_nan_loss_stops_the_run(dataset, tmp_path):
    """It is exit 7 without a checkpoint, and the status in run.json is failed."""
    config = dataclasses.replace(CONFIG, learning_rate=1e30, augment=False)
    with pytest.raises(GateError, match="--learning-rate"):
        train(config, dataset, tmp_path)
    (folder,) = tmp_path.iterdir()
    assert json.loads((folder / "run.json").read_text())["status"] == "failed"
    assert not (folder / "checkpoint.safetensors").exists()


def test_weights_that_explode_in_the_last_step_stop_the_run_too(dataset, tmp_path):
    """The loss of the last step is finite, but the loss on valid is not."""
    config = dataclasses.replace(CONFIG, learning_rate=1e30, augment=False, epochs=1, batch_size=280)
    with pytest.raises(GateError, match="the loss is nan"):
        train(config, dataset, tmp_path)


def test_a_checkpoint_in_place_of_the_state_is_an_error(dataset, whole, tmp_path):
    folder = train(CONFIG, dataset, tmp_path, stop_at=2)
    (folder / "state.safetensors").write_bytes((whole / "checkpoint.safetensors").read_bytes())
    with pytest.raises(ModelError, match="not the state of a training"):
        resume(folder, dataset)


def test_training_learns(dataset, tmp_path):
    """Within a few epochs the accuracy is twice that of chance, and the NLL is lower."""
    config = dataclasses.replace(CONFIG, augment=False, epochs=10, batch_size=32)
    with new_run(config, dataset, out=tmp_path) as training:
        epochs = [event for event in training.run() if isinstance(event, Epoch)]
    assert [epoch.epoch for epoch in epochs] == list(range(1, 11))
    assert epochs[-1].valid_accuracy > 2 / 7
    assert epochs[-1].valid_loss < math.log(7)


def test_the_learning_rate_rises_and_falls_to_zero(dataset, tmp_path):
    config = dataclasses.replace(CONFIG, epochs=10, warmup=0.25)
    with new_run(config, dataset, out=tmp_path) as training:
        rates = [training._learning_rate(step) for step in range(training.total_steps)]
    peak = rates.index(max(rates))
    assert peak == pytest.approx(training.total_steps / 4, abs=1)
    assert max(rates) == pytest.approx(config.learning_rate)
    assert rates == sorted(rates[:peak]) + sorted(rates[peak:], reverse=True)
    assert rates[-1] < 0.01 * config.learning_rate


def test_image_sizes_grow_during_training(dataset, tmp_path):
    """`cnn` is trained at 32, then 38, then 44 pixels."""
    config = dataclasses.replace(CONFIG, model="cnn", epochs=20)
    with new_run(config, dataset, out=tmp_path) as training:
        sizes = [training._size(epoch) for epoch in range(20)]
    assert sizes == [32] * 7 + [38] * 6 + [44] * 7
    for epochs in (1, 2, 3):
        with new_run(dataclasses.replace(config, epochs=epochs), dataset, out=tmp_path) as training:
            assert training._size(epochs - 1) == 44


@pytest.mark.parametrize("cut", [0, 1, 100, 0.5, -1])
def test_a_truncated_checkpoint_is_an_error(cut, whole, tmp_path):
    """It is exit 5, never a traceback or other weights."""
    content = (whole / "checkpoint.safetensors").read_bytes()
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(content[: int(cut * len(content)) if isinstance(cut, float) else cut])
    with pytest.raises(ModelError, match=r"checkpoint\.safetensors"):
        load_checkpoint(path)


def test_flipped_bits_in_a_checkpoint_are_an_error(whole, tmp_path):
    """Any changed byte of the weights breaks the digest."""
    content = bytearray((whole / "checkpoint.safetensors").read_bytes())
    path = tmp_path / "checkpoint.safetensors"
    header = 8 + int.from_bytes(content[:8], "little")
    for place in range(header, len(content), len(content) // 20):
        content[place] ^= 4
        path.write_bytes(content)
        with pytest.raises(ModelError):
            load_tensors(path)
        content[place] ^= 4


@pytest.mark.parametrize(
    "said", [{"model": ["fnn"]}, {"model": None}, {"classes": 5}, {"classes": {}}, {"schema": 2}], ids=str
)
def test_a_checkpoint_with_impossible_content_is_an_error(said, whole, tmp_path):
    """This holds even if the digest is right. A later format is not guessed."""
    tensors, document = load_tensors(whole / "checkpoint.safetensors")
    path = tmp_path / "checkpoint.safetensors"
    save_tensors(path, tensors, {**document, **said})
    with pytest.raises(ModelError, match=r"checkpoint\.safetensors"):
        load_checkpoint(path)


def test_a_pickle_is_refused_and_not_run(tmp_path):
    """No code in a file is executed."""
    import pickle

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "boom"), "w"))

    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelError):
        load_checkpoint(path)
    assert not (tmp_path / "boom").exists()


def test_a_number_in_the_header_of_a_checkpoint_is_compared_as_text(tmp_path):
    """Two texts can give the same float."""
    path = tmp_path / "some.safetensors"
    save_tensors(path, {"a": torch.zeros(3)}, {"loss": 0.1 + 0.2})
    load_tensors(path)
    assert float("0.30000000000000004") == float("0.30000000000000006")
    path.write_bytes(path.read_bytes().replace(b"0.30000000000000004", b"0.30000000000000006"))
    with pytest.raises(ModelError, match="does not match its digest"):
        load_tensors(path)


def test_a_changed_number_in_the_header_of_a_checkpoint_is_an_error(tmp_path):
    """The digest covers the numbers that the header holds, not only the tensors."""
    path = tmp_path / "some.safetensors"
    save_tensors(path, {"a": torch.zeros(3)}, {"step": 1234})
    path.write_bytes(path.read_bytes().replace(b"1234", b"1235"))
    with pytest.raises(ModelError, match="does not match its digest"):
        load_tensors(path)


def test_a_missing_checkpoint_is_an_error(tmp_path):
    """The error says what to give."""
    with pytest.raises(ModelError, match=r"no checkpoint at .*checkpoint\.safetensors; give the folder of a run"):
        load_checkpoint(tmp_path / "checkpoint.safetensors")


@pytest.mark.parametrize("changes", [(b'"first"', b'"other"'), (b"[2,3]", b"[3,2]"), (b'"F32"', b'"I32"')])
def test_a_changed_name_shape_or_type_of_a_tensor_is_an_error(changes, tmp_path):
    """The bytes of the tensor are the same. The digest covers its name, shape and type, too."""
    path = tmp_path / "some.safetensors"
    save_tensors(path, {"first": torch.zeros(2, 3)}, {})
    content = path.read_bytes()
    assert content.count(changes[0]) == 1
    path.write_bytes(content.replace(*changes))
    with pytest.raises(ModelError, match="does not match its digest"):
        load_tensors(path)
