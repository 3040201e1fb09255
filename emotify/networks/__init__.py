"""The networks, one file each, and the table of their names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from emotify.errors import UsageError
from emotify.networks.cnn import Cnn
from emotify.networks.deep import Deep
from emotify.networks.efficientnet_lite import EfficientNetLite
from emotify.networks.face_resnet import FaceResNet
from emotify.networks.fnn import FeedForward
from emotify.networks.network import Network, count_macs, count_parameters
from emotify.networks.resnet18 import ResNet18
from emotify.networks.small import Small
from emotify.networks.vgg import Vgg
from emotify.networks.whitened import Whitened

NETWORKS: dict[str, Callable[[], Network]] = {
    "fnn": FeedForward,
    "small": Small,
    "cnn": Cnn,
    "deep": Deep,
    "whitened": Whitened,
    "vgg": Vgg,
    "resnet18": ResNet18,
    "face-resnet": FaceResNet,
    "efficientnet-lite0": EfficientNetLite,
    # Variants for other pixels: with histogram equalisation, or only the middle 44x44.
    "small-eq": partial(Small, equalise=True),
    "cnn-eq": partial(Cnn, equalise=True),
    "vgg-eq": partial(Vgg, equalise=True),
    "resnet18-eq": partial(ResNet18, equalise=True),
    "whitened-44": partial(Whitened, input_size=44),
    "resnet18-44": partial(ResNet18, input_size=44),
}


def check_name(name: str) -> None:
    """Raise UsageError if the name is not in `NETWORKS`."""
    if name not in NETWORKS:
        msg = f"no model named {name!r}; choose one of: {', '.join(NETWORKS)}"
        raise UsageError(msg)


def build_network(name: str, *, crowd: bool = False) -> Network:
    """Return a newly initialised network. Raises UsageError if the name is not in `NETWORKS`.

    crowd: add a second head for the votes of FER+ (`emotify.networks.heads`).
    """
    check_name(name)
    network = NETWORKS[name]()
    network.name = name
    network.set_crowd(crowd=crowd)
    return network


@dataclass(frozen=True)
class NetworkSize:
    """One row of the table that --list-models prints."""

    name: str
    parameters: int
    macs: int  # multiply-accumulates for one 48x48 image
    input_size: int  # side of the input in pixels, cropped from the middle of the image
    equalise: bool
    description: str


def describe_networks() -> list[NetworkSize]:
    """Return name, size, pixels and description of every network."""
    networks = {name: build_network(name) for name in NETWORKS}
    return [
        NetworkSize(
            name,
            count_parameters(network),
            count_macs(network),
            network.input_size,
            network.equalise,
            (network.__doc__ or "").partition("\n")[0],
        )
        for name, network in networks.items()
    ]


__all__ = [
    "NETWORKS",
    "Network",
    "NetworkSize",
    "build_network",
    "check_name",
    "count_macs",
    "count_parameters",
    "describe_networks",
]
