"""Time emotify's training against an ordinary PyTorch script and the device's own speed, in turns.

    python tests/benchmarks/train.py [--data fer2013.csv] [--device cuda --batch-size 512]

`plain_training.py` is the ordinary script: same network, same augmentation, DataLoader, fp32, no average of the
weights. The best number of workers counts. emotify trains as `emotify train --augment --no-grow` does. A bf16 matmul
measures the speed of the device: training needs 6 FLOP for each multiply-accumulate of the network.

Each timing runs in a new process. On a busy CPU, use `--threads 1` and the ratio of CPU seconds.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from emotify.data import Split, read_dataset
from emotify.data.types import Dataset, LabelledImages
from emotify.machine import available_cpus
from emotify.networks import build_network, count_macs, count_parameters
from emotify.training.config import TrainConfig
from emotify.training.device import describe, pick_device
from emotify.training.loop import Step
from emotify.training.run_folder import new_run

PLAIN = Path(__file__).with_name("plain_training.py")
MATMUL_SIZES = {"cpu": (1024, 2048, 4096), "cuda": (2048, 4096, 8192, 16384)}
CHOICES = {"precision", "layout", "compile"}


def measure(options: argparse.Namespace, arrays: Path) -> None:
    """Train with emotify on `arrays`, and print speed and chosen options as JSON."""
    given = {name: getattr(options, name) for name in {"model", "device", "threads", "batch_size"} | CHOICES}
    config = TrainConfig(augment=True, grow=False, **given)
    data = np.load(arrays)
    images = LabelledImages(data["images"], data["labels"])
    dataset = Dataset("benchmark", {Split.TRAIN: images, Split.VALID: images.take(np.arange(256))})
    with new_run(config, dataset, out=arrays.parent) as training:
        losses = (event.loss for event in training.run() if isinstance(event, Step))
        for _ in range(options.untimed):
            loss = next(losses)
        loss.item()  # which waits for a GPU
        begun, cpu_begun = time.perf_counter(), time.process_time()
        for _ in range(options.steps):
            loss = next(losses)
        loss.item()
        seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - cpu_begun
        count = options.steps * training.config.batch_size
        facts = {"precision": training.config.precision, "layout": layout(training.network)}
    print(json.dumps({"speeds": [count / seconds, count / cpu_seconds], **facts}))


def layout(network: nn.Module) -> str:
    """Return the memory layout of the weights of the largest convolution."""
    weights = [weight for weight in network.parameters() if weight.ndim == 4]
    if not weights:
        return "no convolutions"
    largest = max(weights, key=torch.numel)
    return "channels-last" if largest.is_contiguous(memory_format=torch.channels_last) else "channels-first"


def time_emotify(arrays: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, *sys.argv[1:], "--measure", str(arrays)]
    result: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return result


def time_plain(options: argparse.Namespace, arrays: Path, workers: int) -> dict[str, Any]:
    command = [sys.executable, str(PLAIN), f"--data={arrays}", f"--workers={workers}", f"--device={options.device}"]
    command += [f"--batch-size={options.batch_size}", f"--threads={options.threads}"]
    command += [f"--untimed={options.untimed}", f"--steps={options.steps}"]
    line = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {"speeds": [float(number) for number in re.findall(r"[\d.]+(?= images/s| a CPU second)", line)]}


def time_matmul(device: torch.device) -> list[float]:
    """Return FLOP per second and per CPU second of bf16 products of square matrices, for the best of several sizes."""
    return [
        max(rates) for rates in zip(*(_matmul_rates(size, device) for size in MATMUL_SIZES[device.type]), strict=True)
    ]


def _matmul_rates(size: int, device: torch.device, least_seconds: float = 0.5) -> tuple[float, float]:
    matrix = torch.randn(size, size, device=device).bfloat16()
    product = torch.empty_like(matrix)

    def run(times: int) -> None:
        for _ in range(times):
            torch.matmul(matrix, matrix, out=product)
        product[0, 0].item()  # which waits for a GPU

    run(3)
    count, seconds = 1, 0.0
    while seconds < least_seconds:
        begun, cpu_begun = time.perf_counter(), time.process_time()
        run(count)
        seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - cpu_begun
        flops, count = 2 * size**3 * count, 2 * count
    return flops / seconds, flops / cpu_seconds


def check_same_network() -> None:
    """Raise AssertionError unless the plain script trains emotify's `cnn`, with as many parameters and as many FLOP."""
    plain, ours = runpy.run_path(str(PLAIN))["make_network"](), build_network("cnn")
    pixels = torch.zeros(1, 1, ours.input_size, ours.input_size)
    assert count_parameters(plain) == count_parameters(ours)
    assert _count_flops(plain, pixels) == _count_flops(ours, pixels) == 2 * count_macs(ours)


def _count_flops(network: nn.Module, pixels: Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(pixels)
    return int(counter.get_total_flops())


def save_arrays(source: str, count: int, path: Path) -> None:
    """Write images and labels of `train` for both scripts, repeated to at least `count`: no epoch ends too early."""
    train = read_dataset(source, look_for_duplicates=False).splits[Split.TRAIN]
    images = train.take(np.arange(max(count, len(train))) % len(train))
    np.savez(path, images=images.images, labels=images.labels)


def run_turns(options: argparse.Namespace, arrays: Path) -> dict[str, list[list[float]]]:
    """Time all scripts in turns and print each time. Return their speeds (wall, CPU) by name."""
    device = torch.device(options.device)
    runners: dict[str, Callable[[], dict[str, Any]]] = {"emotify": functools.partial(time_emotify, arrays)}
    if options.model == "cnn":
        check_same_network()
        for workers in options.workers:
            runners[f"plain, {workers} workers"] = functools.partial(time_plain, options, arrays, workers)
    speeds: dict[str, list[list[float]]] = {name: [] for name in [*runners, "matmul"]}
    for turn in range(options.turns):
        for name, runner in runners.items():
            result = runner()
            wall, cpu = result.pop("speeds")
            speeds[name].append([wall, cpu])
            facts = "".join(f", {fact}" for fact in result.values())
            print(f"turn {turn + 1}  {name:<18} {wall:9,.1f} images/s {cpu:9,.1f} a CPU second{facts}", flush=True)
        speeds["matmul"].append(time_matmul(device))
        wall, cpu = (rate / 1e12 for rate in speeds["matmul"][-1])
        print(f"turn {turn + 1}  {'bf16 matmul':<18} {wall:9.3f} TFLOP/s  {cpu:9.3f} a CPU second", flush=True)
    return speeds


def report(speeds: dict[str, list[list[float]]], flops: int, *, kind: int, unit: str) -> None:
    """Print the ratios of the medians, for wall seconds (kind 0) or CPU seconds (kind 1)."""
    medians = {name: statistics.median(speed[kind] for speed in turns) for name, turns in speeds.items()}
    ours, matmul = medians.pop("emotify"), medians.pop("matmul")
    if medians:
        best = max(medians, key=lambda name: medians[name])
        print(f"by {unit}: emotify trains {ours / medians[best]:.2f} x the images of the best plain script ({best})")
    print(
        f"by {unit}: emotify sustains {ours * flops / matmul:.1%} of the bf16 matmul rate, {matmul / 1e12:.3f} TFLOP/s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="synthetic", help="as emotify train takes it")
    parser.add_argument("--model", default="cnn", help="another than cnn is not compared with the plain script")
    parser.add_argument("--device", type=pick_device, default="auto")
    parser.add_argument("--threads", type=int, default=available_cpus())
    parser.add_argument("--batch-size", type=int, default=TrainConfig().batch_size)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], help="of the plain script's DataLoader")
    parser.add_argument("--untimed", type=int, default=5, help="steps before those that are timed")
    parser.add_argument("--steps", type=int, default=30, help="steps that are timed")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    for name in sorted(CHOICES):
        parser.add_argument(f"--{name}", default="auto", help="of emotify, as emotify train takes it")
    options = parser.parse_args()
    if options.measure:
        measure(options, options.measure)
        return
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "train.npz"
        save_arrays(options.data, (options.untimed + options.steps + 1) * options.batch_size, arrays)
        macs = count_macs(build_network(options.model))
        print(f"{options.model}, {macs / 1e6:.1f} M MAC, batches of {options.batch_size}, {describe(options.device)}")
        speeds = run_turns(options, arrays)
    report(speeds, 6 * macs, kind=0, unit="time")
    if options.device == "cpu":
        report(speeds, 6 * macs, kind=1, unit="CPU seconds")


if __name__ == "__main__":
    main()
