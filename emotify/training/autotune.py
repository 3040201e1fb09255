"""The fastest of the precisions and memory layouts that a CPU has, found by trying."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from emotify.choices import Layout, Precision
from emotify.networks import build_network
from emotify.networks.inference import autocast, lay_out, memory_format
from emotify.training.config import TrainConfig

WORTH_STEPS = 1000  # a training shorter than this is over before the trials have paid
MARGIN = 0.85  # what is tried must take less than this share of the rule's time, or the rule stands
_ROUNDS = 4


def fastest(config: TrainConfig, *, precisions: Sequence[Precision]) -> TrainConfig:
    """Return `config` with the precision and layout in which a step took least time, of those left to choose.

    bf16 falls to slow reference kernels for some shapes and processors, and either layout can be the faster. The steps
    are timed in turns, so that a busy machine slows all alike, and the first choice stands unless another is clearly
    faster, so that the same machine mostly chooses the same again. Two seconds or so.
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
    """Return the place of the least of `seconds`, or 0 when it is not clearly less than the first."""
    best = min(range(len(seconds)), key=seconds.__getitem__)
    return best if seconds[best] < MARGIN * seconds[0] else 0


def _trial(config: TrainConfig) -> Callable[[], None]:
    """Return a function that makes one step on random pixels at a few images, after making it once."""
    network = lay_out(build_network(config.model), config.layout).train()
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
