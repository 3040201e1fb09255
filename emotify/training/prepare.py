"""What a configuration names, opened once: the teacher, and the weights to begin with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from emotify.errors import UsageError
from emotify.networks import build_network, check_name
from emotify.networks.pretrained import read_weights
from emotify.training.config import TrainConfig
from emotify.training.device import check_device
from emotify.training.initial_weights import Source, check_fit, open_sources
from emotify.training.teacher import Teacher, open_teacher


@dataclass(frozen=True)
class Prepared:
    """What a training needs besides its data."""

    teacher: Teacher | None = None  # on the CPU
    sources: tuple[Source, ...] = ()  # of the first weights; of several the mean is taken
    published: bytes | None = None  # a file of weights that others have trained


def prepare(config: TrainConfig, *, resuming: bool = False) -> Prepared:
    """Open what a configuration names, before any data is read.

    resuming: the first weights come from the state of the run, and are not looked for. Raises UsageError for options
    that cannot be trained with, ModelError for a model that is not there or is damaged, UnavailableError for a device
    or a package that is not there.
    """
    check_name(config.model)
    check_device(config)
    if config.optimizer == "muon" and not any(weight.ndim == 4 for weight in build_network(config.model).parameters()):
        msg = f"--optimizer muon is for convolutions, and {config.model} has none; take --optimizer sgd"
        raise UsageError(msg)
    teacher = None
    if config.distill:
        teacher = open_teacher(Path(config.distill), device=torch.device("cpu"), threads=config.threads)
    if resuming:
        return Prepared(teacher)
    if config.pretrained and config.start_from:
        msg = "--pretrained and --start-from both give the first weights; take one of them"
        raise UsageError(msg)
    if config.pretrained:
        return Prepared(teacher, published=read_weights(config.model))
    sources = open_sources(config.start_from) if config.start_from else ()
    check_fit(sources, config)
    return Prepared(teacher, sources)
