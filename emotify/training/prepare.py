"""Open the models that a configuration names: the teacher and the first weights."""

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
    """The opened models of a training."""

    teacher: Teacher | None = None  # on the CPU
    sources: tuple[Source, ...] = ()  # models with the first weights; those of several are averaged
    published: bytes | None = None  # the content of a file of published weights


def prepare(config: TrainConfig, *, resuming: bool = False) -> Prepared:
    """Check a configuration and open the models that it names, before any data is read.

    resuming: the run has a state with weights, so the first weights are not opened. Raises UsageError for invalid
    options, ModelError for a missing or damaged model, UnavailableError for a missing device or package.
    """
    check_name(config.model)
    check_device(config)
    if config.optimizer == "muon" and not any(weight.ndim == 4 for weight in build_network(config.model).parameters()):
        msg = f"--optimizer muon needs convolutions, but {config.model} has none; take --optimizer sgd"
        raise UsageError(msg)
    teacher = None
    if config.distill:
        teacher = open_teacher(Path(config.distill), device=torch.device("cpu"), threads=config.threads)
    if resuming:
        return Prepared(teacher)
    if config.pretrained and config.start_from:
        msg = "--pretrained and --start-from both set the first weights; use one of them"
        raise UsageError(msg)
    if config.pretrained:
        return Prepared(teacher, published=read_weights(config.model))
    sources = open_sources(config.start_from) if config.start_from else ()
    check_fit(sources, config)
    return Prepared(teacher, sources)
