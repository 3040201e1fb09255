"""The networks, one file each, and the table of their names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from emotify.errors import UsageError
from emotify.models.cnn import Cnn
from emotify.models.fnn import FeedForward
from emotify.models.network import Network, count_macs, count_parameters

NETWORKS: dict[str, Callable[[], Network]] = {
    "fnn": FeedForward,
    "cnn": Cnn,
}


def check_name(name: str) -> None:
    """Raise UsageError for a name that is not in the table."""
    if name not in NETWORKS:
        msg = f"no model named {name!r}; there are: {', '.join(NETWORKS)}"
        raise UsageError(msg)


def build_network(name: str) -> Network:
    """Return a freshly initialised network. Raises UsageError for a name that is not in the table."""
    check_name(name)
    return NETWORKS[name]()


@dataclass(frozen=True)
class NetworkSize:
    """A line of the table of models."""

    name: str
    parameters: int
    macs: int  # multiply-accumulates of one 48x48 image
    description: str


def describe_networks() -> list[NetworkSize]:
    """Return name, size and description of every network."""
    networks = {name: build_network(name) for name in NETWORKS}
    return [
        NetworkSize(name, count_parameters(network), count_macs(network), (network.__doc__ or "").partition("\n")[0])
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
