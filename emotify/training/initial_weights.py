"""The weights before the first step: initialised from the seed, or taken from an earlier training."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from emotify.data.types import LabelledImages
from emotify.errors import UsageError
from emotify.files import printable
from emotify.networks import Network, build_network
from emotify.networks.pretrained import PUBLISHED, PretrainedNetwork
from emotify.opening import Kind, resolve
from emotify.runs import CHECKPOINT
from emotify.training.checkpoint import load_checkpoint
from emotify.training.config import TrainConfig
from emotify.training.random_draws import derive_seed

if TYPE_CHECKING:
    from emotify.exporting.read_back import FoldedNetwork


@dataclass(frozen=True)
class Source:
    """An opened run, file or built-in model whose weights a training starts with."""

    given: str  # what the user named
    opened: Network | FoldedNetwork

    @property
    def network(self) -> Network:
        """The network. From a file, its batch norm has no statistics yet; `on` computes them from train images."""
        return self.opened if isinstance(self.opened, Network) else self.opened.network

    def on(self, train: LabelledImages) -> Network:
        """Return the network with batch norm such that its logits for `train` equal those of the opened model."""
        return self.opened if isinstance(self.opened, Network) else self.opened.unfold(train.images)


def open_sources(given: str) -> tuple[Source, ...]:
    """Open the models of --start-from, separated by commas. Raises ModelError if one is neither a run nor a file."""
    whole = Path(given).exists()  # the name of a folder may contain commas
    return tuple(Source(name, _open(name)) for name in ([given] if whole else given.split(",")))


def check_fit(sources: Sequence[Source], config: TrainConfig) -> None:
    """Raise UsageError if the weights of a source do not fit the network of the configuration."""
    for source in sources:
        _take(source.network, source.given, config)


def initial_network(
    config: TrainConfig, train: LabelledImages, *, sources: Sequence[Source] = (), published: bytes | None = None
) -> Network:
    """Return the network before the first step: initialised from the seed, or with earlier weights.

    sources: the models of --start-from. The weights of several models are averaged. For trainings that continued each
    other or started from the same weights, the average mostly scores better than each of them (Izmailov et al. 2018,
    arXiv:1803.05407). For unrelated trainings it is useless. published: the content of a file of published weights,
    which replace all but the last layer. Raises UsageError if weights do not fit this model, ModelError if a published
    file does not.
    """
    torch.manual_seed(derive_seed(config.seed, "weights", 0))
    if not sources:
        network = build_network(config.model, crowd=config.crowd_weight > 0)
        if published is not None:
            assert isinstance(network, PretrainedNetwork)
            network.take_published(published, name=PUBLISHED[config.model].file)
        network.learn_statistics(torch.from_numpy(train.images))
        return network
    networks = [_take(source.on(train), source.given, config) for source in sources]
    weights = [network.state_dict() for network in networks]
    mean = {name: torch.stack([each[name].double() for each in weights]).mean(0) for name in weights[0]}
    networks[0].load_state_dict(mean)
    return networks[0]


def _open(source: str) -> Network | FoldedNetwork:
    model = resolve(source, takes=(Kind.RUN, Kind.FILE))
    if model.kind is Kind.FILE:
        from emotify.exporting.read_back import read_network  # imports onnx, which nothing else here needs

        return read_network(model.path)
    return load_checkpoint(model.path / CHECKPOINT)[0]


def _take(started: Network, given: str, config: TrainConfig) -> Network:
    """Return the configuration's network with the weights of `started`. A missing crowd head is initialised anew."""
    network = build_network(config.model, crowd=config.crowd_weight > 0)
    started = copy.deepcopy(started)
    started.set_crowd(crowd=network.crowd)
    try:
        network.take_weights(started)
    except RuntimeError as error:
        held = started.name
        msg = f"--start-from {printable(given)}: the weights of {held} do not fit {config.model}; take --model {held}"
        raise UsageError(msg) from error
    return network
