"""Find the fastest precision and memory layout of a CPU by timing them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from emotify.choices import Layout, Precision
from emotify.networks import build_network
from emotify.networks.inference import autocast, memory_format, set_memory_layout
from emotify.training.config import TrainConfig

WORTH_STEPS = 1000  # shorter trainings would lose more time on the trials than they gain
MARGIN = 0.85  # another choice must take less than this share of the first choice's time
_ROUNDS = 4


def fastest(config: TrainConfig, *, precisions: Sequence[Precision]) -> TrainConfig:
    """Return `config` with the precision and layout of the fastest step; only values of `auto` are chosen.

    bf16 uses slow reference kernels for some shapes and processors, and either layout can be faster. The steps are
    timed in turns, so that a busy machine slows all of them alike. The first choice wins unless another is clearly
    faster, so that the same machine mostly makes the same choice. This takes about two seconds.
    """
    layouts: list[Layout] = ["channels_last", "contiguous"]
    choices = [
        dataclasses.replace(config, precision=precision, layout=layout)
        for precision in (precisions if config.precision == "auto" else [config.precision])
        for layout in (layouts if config.layout == "auto" else [config.layout])
    ]
    if len(choices) == 1:
        return choices[0]
    steps = [_trial(choice) for choice in choices]
    times = [min(times) for times in zip(*([_seconds(step) for step in steps] for _ in range(_ROUNDS)), strict=True)]
    return choices[clearly_fastest(times)]


def clearly_fastest(seconds: Sequence[float]) -> int:
    """Return the index of the smallest of `seconds`, or 0 if it is not clearly smaller than the first."""
    best = min(range(len(seconds)), key=seconds.__getitem__)
    return best if seconds[best] < MARGIN * seconds[0] else 0


def _trial(config: TrainConfig) -> Callable[[], None]:
    """Return a function that makes one training step on a few random images, after one step to warm up."""
    network = set_memory_layout(build_network(config.model), config.layout).train()
    count = min(config.batch_size, 64)
    pixels = torch.rand(count, 1, network.input_size, network.input_size) * 255
    pixels = pixels.contiguous(memory_format=memory_format(config.layout))
    labels = torch.zeros(count, dtype=torch.long)

    def step() -> None:
        with autocast(torch.device("cpu"), config.precision):
            logits = network(pixels)
        F.cross_entropy(logits.float(), labels).backward()

    step()
    return step


def _seconds(step: Callable[[], None]) -> float:
    begun = time.perf_counter()
    step()
    return time.perf_counter() - begun
