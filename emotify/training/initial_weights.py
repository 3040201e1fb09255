"""The network that the first step finds: fresh from the seed, or with the weights of what was trained before."""

from __future__ import annotations

from pathlib import Path

import torch

from emotify.data.types import LabelledImages
from emotify.errors import UsageError
from emotify.files import printable
from emotify.networks import Network, build_network
from emotify.networks.pretrained import PUBLISHED, PretrainedNetwork, read_weights
from emotify.onnx_runtime.classifier import names_file
from emotify.runs import CHECKPOINT
from emotify.training.checkpoint import load_checkpoint
from emotify.training.config import TrainConfig
from emotify.training.random_draws import derive_seed


def first_weights(config: TrainConfig, train: LabelledImages | None = None) -> Network:
    """Return the network that the first step finds: fresh from the seed, or with the weights of a run or a file.

    Published weights are the third possibility; all but the last layer are theirs.
    Of several, with commas between them, it is the mean: of trainings that went on from each other or from one
    beginning it mostly is better than each (Izmailov et al. 2018, arXiv:1803.05407), of others it is of no use.
    Raises ModelError when there is no such run or file, UsageError when its weights do not fit this model,
    UnavailableError when the package of published weights is not installed.
    """
    torch.manual_seed(derive_seed(config.seed, "weights", 0))
    if not config.start_from:
        network = build_network(config.model, crowd=config.crowd_weight > 0)
        if config.pretrained:
            assert isinstance(network, PretrainedNetwork)
            network.take_published(read_weights(config.model), name=PUBLISHED[config.model].file)
        if train is not None:
            network.learn_statistics(torch.from_numpy(train.images))
        return network
    whole = Path(config.start_from).exists()  # a folder's name may have commas
    sources = [config.start_from] if whole else config.start_from.split(",")
    networks = [_begin_with(source, config, train) for source in sources]
    weights = [network.state_dict() for network in networks]
    mean = {name: torch.stack([each[name].double() for each in weights]).mean(0) for name in weights[0]}
    networks[0].load_state_dict(mean)
    return networks[0]


def _begin_with(source: str, config: TrainConfig, train: LabelledImages | None) -> Network:
    """Return a network with the weights of one run, file or model inside; a head that these lack is fresh."""
    network = build_network(config.model, crowd=config.crowd_weight > 0)
    if names_file(source):
        from emotify.exporting.read_back import read_network  # onnx, which nothing else here needs

        started = read_network(Path(source), None if train is None else train.images)
    else:
        started, _ = load_checkpoint(Path(source) / CHECKPOINT)
    started.set_crowd(crowd=network.crowd)
    try:
        network.take_weights(started)
    except RuntimeError as error:
        given, held = printable(source), started.name
        msg = f"--start-from {given}: the weights of {held} do not fit {config.model}; take --model {held}"
        raise UsageError(msg) from error
    return network
