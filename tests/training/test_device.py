"""The choice of device, precision, layout and threads, and the warning when they change."""

from __future__ import annotations

import dataclasses
import json
import os

import pytest
import torch

from emotify.errors import UnavailableError, UsageError
from emotify.training import autotune, device
from emotify.training.config import TrainConfig
from emotify.training.device import resolve
from emotify.training.prepare import prepare
from emotify.training.run_folder import changes_since, new_run, resumed_run

CONFIG = TrainConfig(model="fnn", epochs=1, batch_size=16, device="cpu", threads=1)


def test_resolve_replaces_every_auto_option():
    config = resolve(CONFIG)
    assert config.precision in ("fp32", "bf16")
    assert (config.layout, config.compile, config.threads) == ("channels_last", "off", 1)
    assert resolve(config) == config


@pytest.mark.parametrize(("steps", "can", "chosen"), [(4999, True, "off"), (5000, True, "on"), (5000, False, "off")])
def test_only_a_long_training_on_a_gpu_is_compiled(steps, can, chosen, monkeypatch):
    monkeypatch.setattr(device, "pick_device", lambda _: "cuda")
    monkeypatch.setattr(device, "can_compile", lambda _: can)
    monkeypatch.setattr(device, "_has_native_bf16", lambda _: True)
    assert resolve(CONFIG, steps=steps).compile == chosen
    assert resolve(dataclasses.replace(CONFIG, compile="on"), steps=1).compile == "on"


def test_a_gpu_that_torch_has_no_kernels_for_is_not_taken(monkeypatch):
    """With auto the CPU is used; with --device cuda it is exit 8."""

    def no_kernel(*_, **__):
        raise RuntimeError("no kernel image is available for execution on the device")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Old GPU")
    monkeypatch.setattr(torch, "zeros", no_kernel)
    assert device.pick_device("auto") == "cpu"
    with pytest.raises(UnavailableError, match="no kernels for Old GPU; take --device cpu"):
        device.pick_device("cuda:0")


def test_a_gpu_beyond_the_last_one_is_refused(monkeypatch):
    """It is exit 8. The message says how many there are, and that the first one is number 0."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UnavailableError, match="--device cuda:2: this computer has 2 GPUs; count them from cuda:0"):
        device.pick_device("cuda:2")


@pytest.mark.parametrize("name", ["tpu", "cuda:", "cuda:one", "cpu:0", ""])
def test_an_invalid_device_name_is_refused(name):
    with pytest.raises(UsageError, match="choose from auto, cpu, cuda"):
        dataclasses.replace(CONFIG, device=name)
    with pytest.raises(UsageError, match="choose from auto, cpu, cuda"):
        device.pick_device(name)


def test_resolve_keeps_given_options():
    given = dataclasses.replace(CONFIG, precision="fp32", layout="contiguous", compile="on")
    assert resolve(given, steps=10_000) == given


@pytest.mark.parametrize(("seconds", "chosen"), [((1.0, 2.0, 0.5, 2.0), 2), ((1.0, 0.9, 0.95, 1.2), 0)])
def test_the_first_choice_wins_unless_another_is_clearly_faster(seconds, chosen):
    """Small differences in time do not change the choice."""
    assert autotune.clearly_fastest(seconds) == chosen


def test_a_long_training_times_real_steps():
    """Precision and layout are one of the possible choices; all other options stay."""
    config = resolve(CONFIG, steps=autotune.WORTH_STEPS)
    assert dataclasses.replace(config, precision="auto", layout="auto", compile="auto") == CONFIG


def test_changes_since_the_last_training_are_reported(few, tmp_path):
    """Another torch, thread count, device or number of processes is reported, and the run resumes with it."""
    with new_run(CONFIG, few, out=tmp_path) as training:
        next(iter(training.run()))
        training.save_state()
    folder = training.folder
    assert changes_since(folder) == []
    assert changes_since(folder, threads=2) == ["threads 1, now 2"]
    record = json.loads((folder / "run.json").read_text())
    record["versions"]["torch"] = "1.0"
    (folder / "run.json").write_text(json.dumps(record))
    assert changes_since(folder, device="cpu") == [f"torch 1.0, now {torch.__version__}"]
    record["versions"]["torch"] = torch.__version__
    (folder / "run.json").write_text(json.dumps({**record, "processes": 2}))
    assert changes_since(folder) == ["processes 2, now 1"]
    del record["processes"]  # one
    (folder / "run.json").write_text(json.dumps(record))
    assert changes_since(folder) == []
    with resumed_run(folder, few, threads=2) as resumed:
        assert resumed.step == 1
        assert resumed.config.threads == 2


def test_another_onnxruntime_is_reported_if_it_runs_the_teacher(few, tmp_path):
    """A teacher in a file affects the weights, so its runtime counts."""
    with new_run(dataclasses.replace(CONFIG, distill="fast"), few, out=tmp_path) as training:
        pass
    record = json.loads((training.folder / "run.json").read_text())
    now, record["versions"]["onnxruntime"] = record["versions"]["onnxruntime"], "1.0"
    assert changes_since(training.folder) == []
    (training.folder / "run.json").write_text(json.dumps(record))
    assert changes_since(training.folder) == [f"onnxruntime 1.0, now {now}"]


def test_compiling_without_a_compiler_fails_before_any_work(monkeypatch):
    """It is exit 8."""
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UnavailableError, match=r"C\+\+ compiler"):
        prepare(dataclasses.replace(CONFIG, compile="on"))


def test_a_compiled_run_is_not_resumed_without_a_compiler(few, tmp_path, monkeypatch):
    """It is exit 8, for --compile on and for auto: both are saved as on."""
    with new_run(CONFIG, few, out=tmp_path) as training:
        pass
    path = training.folder / "config.json"
    path.write_text(path.read_text().replace('"compile": "off"', '"compile": "on"'))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UnavailableError, match=r"C\+\+ compiler"), resumed_run(training.folder, few):
        pass
    with pytest.raises(UnavailableError, match=r"C\+\+ compiler"):
        changes_since(training.folder)


@pytest.mark.parametrize("given", [None, "0"])
def test_a_cpu_uses_large_pages_unless_the_user_refuses_them(given, monkeypatch):
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
    if given is None:
        monkeypatch.delenv("THP_MEM_ALLOC_ENABLE")
    resolve(TrainConfig(device="cpu"))
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == (given or "1")
