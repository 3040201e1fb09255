"""The network inside an exported file, such that it can be trained on: its normalisation is put back."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from emotify.arrays import UInt8Array
from emotify.emotions import EMOTIONS
from emotify.ensembling.pooling import CrowdPooling, Pooling
from emotify.errors import ModelError
from emotify.files import parse_json, printable
from emotify.networks import NETWORKS, Network, build_network
from emotify.networks.inference import fused
from emotify.networks.layers import ResidualBlock, SqueezeExcitation
from emotify.networks.normalisation import some_of
from emotify.onnx_runtime.classifier import open_session
from emotify.opening import Kind, resolve


@dataclass(frozen=True)
class FoldedNetwork:
    """A network of a file: there every normalisation is part of the layer before it."""

    network: Network  # of the file's form; its normalisation is still that of a fresh network
    folded: Network  # answers as the file does

    def unfold(self, train: UInt8Array) -> Network:
        """Return the network with its normalisation taken out of the layers, by the statistics of uint8 (N, 1, 48, 48).

        On these images it answers as in the file.
        """
        network = copy.deepcopy(self.network)
        _unfold(network, self.folded, torch.from_numpy(some_of(train)))
        return network


def read_network(path: Path) -> FoldedNetwork:
    """Return the network that counts most in an exported file, or in the model inside the package of that name.

    Raises ModelError for a file that is damaged, foreign, or of a network that cannot be had back.
    """
    path = resolve(path, takes=(Kind.FILE,)).path
    metadata = open_session(path, threads=1).metadata
    names, weights = _networks(path, metadata)
    place = max(range(len(weights)), key=weights.__getitem__)
    name = names[place]
    folded, tensors = _folded(path, name, place, crowd=_has_crowd(metadata))
    network = build_network(name, crowd=folded.crowd)
    known = network.state_dict()
    network.load_state_dict({**known, **{name: tensor for name, tensor in tensors.items() if name in known}})
    return FoldedNetwork(network, folded)


@dataclass(frozen=True)
class FileMembers:
    """What a file was made of."""

    members: list[tuple[str, Network]]  # in float32, each normalisation part of the layer before it
    pooling: Pooling
    crowd: CrowdPooling | None  # of a file with a crowd head
    views: str


def read_members(path: Path) -> FileMembers:
    """Read all networks of an exported file, and how they answer together. Raises ModelError as `read_network` does."""
    path = resolve(path, takes=(Kind.FILE,)).path
    metadata = open_session(path, threads=1).metadata
    names, weights = _networks(path, metadata)
    try:
        members, views = parse_json(metadata["emotify.members"]), metadata["emotify.views"]
        pooling = Pooling(
            tuple(map(float, weights)),
            float(metadata["emotify.temperature"]),
            linear=metadata["emotify.pooling"] == "probabilities",
        )
        crowd = _crowd_pooling(metadata, pooling) if _has_crowd(metadata) else None
        labels = [str(member) for _, member in zip(names, members, strict=True)]
    except (KeyError, ValueError, TypeError) as error:
        msg = f"{printable(path)} does not say how its networks are combined; export the run or ensemble again"
        raise ModelError(msg) from error
    networks = [_folded(path, name, place, crowd=crowd is not None)[0] for place, name in enumerate(names)]
    for network in networks:
        network.crowd_prior = None if crowd is None else crowd.prior
    return FileMembers(list(zip(labels, networks, strict=True)), pooling, crowd, views)


def _has_crowd(metadata: Mapping[str, str]) -> bool:
    return "crowd" in str(metadata.get("emotify.heads"))


def _crowd_pooling(metadata: Mapping[str, str], pooling: Pooling) -> CrowdPooling:
    """Return how a file's crowd heads answer. Raises KeyError, TypeError or ValueError where it does not say."""
    prior = tuple(map(float, parse_json(metadata["emotify.crowd_prior"])))
    if len(prior) != len(EMOTIONS) or min(prior) <= 0:
        raise ValueError
    fitted = dataclasses.replace(pooling, temperature=float(metadata["emotify.crowd_temperature"]))
    return CrowdPooling(fitted, prior, float(metadata["emotify.prior_power"]))


def _networks(path: Path, metadata: Mapping[str, str]) -> tuple[list[str], list[float]]:
    """Return the names and weights of the networks that the metadata of a file speak of."""
    try:
        names, weights = parse_json(metadata["emotify.models"]), parse_json(metadata["emotify.weights"])
        known = len(names) == len(weights) > 0 and all(name in NETWORKS for name in names) and max(weights) > 0
    except (KeyError, ValueError, TypeError):
        known = False
    if not known:
        msg = f"{printable(path)} does not say which of this version's networks it holds; start from a run"
        raise ModelError(msg)
    return names, weights


def _folded(path: Path, name: str, place: int, *, crowd: bool) -> tuple[Network, dict[str, Tensor]]:
    """Return the network at that place of the file, its normalisation folded as it is there, and its tensors."""
    network = fused(build_network(name, crowd=crowd))
    tensors = _tensors(path.read_bytes(), f"members.{place}.")
    _open_folded_gates(network, tensors)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        msg = f"{printable(path)} does not hold this version's {name} as it can be trained; start from a run"
        raise ModelError(msg) from error
    return network, tensors


def _tensors(content: bytes, prefix: str) -> dict[str, Tensor]:
    """Return the weights whose names begin with `prefix`, by the rest of their names, as float32."""
    graph = onnx.load_model_from_string(content).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in arrays:
            levels, scale, zero = (arrays.pop(name).astype(np.float32) for name in node.input)
            across = (-1, *(1,) * (levels.ndim - 1))  # output channels first
            arrays[node.input[0].removesuffix("_quantized")] = (levels - zero.reshape(across)) * scale.reshape(across)
    return {
        name.removeprefix(prefix).removesuffix(".half"): torch.from_numpy(array.astype(np.float32))
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _open_folded_gates(folded: Network, tensors: dict[str, Tensor]) -> None:
    """Add to `tensors` the gates that an int8 file has no more: half open for every image, as fresh ones are about."""
    for name, module in folded.named_modules():
        gate = f"{name}.excitation"
        if not isinstance(module, ResidualBlock) or f"{gate}.excite.weight" in tensors:
            continue
        assert isinstance(module.excitation, SqueezeExcitation)
        tensors |= {f"{gate}.{key}": tensor for key, tensor in module.excitation.state_dict().items()}
        for key in ("weight", "bias"):
            tensors[f"{gate}.excite.{key}"] = torch.zeros_like(tensors[f"{gate}.excite.{key}"])
            if (second := f"{name}.second.0.{key}") in tensors:
                tensors[second] = 2 * tensors[second]


@torch.no_grad()
def _unfold(network: Network, folded: Network, images: Tensor) -> None:
    """Give the network's normalisation what the layers before it have in `folded`, by their answers to the images.

    Their weights get the length that a fresh network's have: it decides how far a step turns them.
    """
    layers = dict(folded.named_modules())
    pairs = list(_normalised(network))
    seen: dict[str, list[Tensor]] = {name: [] for name, _, _ in pairs}
    hooks = [
        layers[name].register_forward_hook(lambda _, __, answer, kept=kept: kept.append(_moments(answer) * len(answer)))
        for name, kept in seen.items()
    ]
    for batch in images.split(256):
        folded(batch)
    for hook in hooks:
        hook.remove()
    fresh = build_network(network.name).state_dict()
    for name, layer, normalisation in pairs:
        mean, square = torch.stack(seen[name]).sum(0) / len(images)
        before = layers[name]
        assert isinstance(before.bias, Tensor)
        assert isinstance(before.weight, Tensor)
        length = before.weight.flatten(1).norm(dim=1).clamp_min(1e-12)
        scale = fresh[f"{name}.weight"].flatten(1).norm(dim=1).mean() / length
        layer.weight.copy_(before.weight * scale.view(-1, *(1,) * (before.weight.ndim - 1)))
        assert normalisation.running_mean is not None
        assert normalisation.running_var is not None
        normalisation.running_mean.copy_((mean - before.bias) * scale)
        normalisation.running_var.copy_((square - mean**2).clamp_min(0) * scale**2)
        normalisation.weight.copy_((normalisation.running_var + normalisation.eps).sqrt() / scale)
        normalisation.bias.copy_(mean)


def _normalised(network: Network) -> Iterator[tuple[str, nn.Conv2d | nn.Linear, nn.BatchNorm2d | nn.BatchNorm1d]]:
    """Yield the name of each layer that `fused` folds a normalisation into, the layer and the normalisation."""
    for name, module in network.named_modules():
        if not isinstance(module, nn.Sequential):
            continue
        for place, (layer, after) in enumerate(zip(module, list(module)[1:], strict=False)):
            if isinstance(layer, nn.Conv2d | nn.Linear) and isinstance(after, nn.BatchNorm2d | nn.BatchNorm1d):
                yield f"{name}.{place}", layer, after


def _moments(answer: Tensor) -> Tensor:
    """Return mean and mean square (2, C) of each channel of answers (N, C) or (N, C, H, W)."""
    flat = answer.transpose(0, 1).flatten(1)
    return torch.stack([flat.mean(1), flat.square().mean(1)])
