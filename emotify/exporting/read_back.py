"""Read the networks of an exported file, and restore their batch norm for further training."""

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
from emotify.networks.normalisation import batch_norm_images
from emotify.onnx_runtime.classifier import open_session
from emotify.opening import Kind, resolve


@dataclass(frozen=True)
class FoldedNetwork:
    """A network of a file, in which each batch normalisation is folded into the layer before it."""

    network: Network  # the same architecture, with the batch norm of a fresh network
    folded: Network  # gives the logits of the file

    def unfold(self, train: UInt8Array) -> Network:
        """Return the network with its batch norm restored from the statistics of `train`, uint8 (N, 1, 48, 48).

        Its logits for these images are those of the file.
        """
        network = copy.deepcopy(self.network)
        _unfold(network, self.folded, torch.from_numpy(batch_norm_images(train)))
        return network


def read_network(path: Path) -> FoldedNetwork:
    """Return the network with the largest weight in an exported file or a built-in model.

    Raises ModelError if the file is damaged or foreign, or if its network cannot be restored.
    """
    path = resolve(path, takes=(Kind.FILE,)).path
    metadata = open_session(path, threads=1).metadata
    names, weights = _networks(path, metadata)
    place = max(range(len(weights)), key=weights.__getitem__)
    name = names[place]
    folded, tensors = _folded(path, name, place)
    network = build_network(name, crowd=folded.crowd)
    known = network.state_dict()
    network.load_state_dict({**known, **{name: tensor for name, tensor in tensors.items() if name in known}})
    return FoldedNetwork(network, folded)


@dataclass(frozen=True)
class FileMembers:
    """The members of an exported file and their pooling."""

    members: list[tuple[str, Network]]  # in float32, with folded batch normalisation
    pooling: Pooling
    crowd: CrowdPooling | None  # None without a crowd head
    views: str


def read_members(path: Path) -> FileMembers:
    """Read all networks of an exported file and their pooling. Raises ModelError as `read_network` does."""
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
        crowd = _crowd_pooling(metadata, pooling) if "crowd" in str(metadata.get("emotify.heads")) else None
        labels = [str(member) for _, member in zip(names, members, strict=True)]
    except (KeyError, ValueError, TypeError) as error:
        msg = f"{printable(path)} has no valid metadata about its pooling; export the run or ensemble again"
        raise ModelError(msg) from error
    networks = [_folded(path, name, place)[0] for place, name in enumerate(names)]
    for network in networks:
        network.crowd_prior = crowd.prior if crowd is not None and network.crowd else None
    return FileMembers(list(zip(labels, networks, strict=True)), pooling, crowd, views)


def _crowd_pooling(metadata: Mapping[str, str], pooling: Pooling) -> CrowdPooling:
    """Return the pooling of a file's crowd heads. In older files both heads have the same weights.

    Raises KeyError, TypeError or ValueError for invalid metadata.
    """
    prior = tuple(map(float, parse_json(metadata["emotify.crowd_prior"])))
    if len(prior) != len(EMOTIONS) or min(prior) <= 0:
        raise ValueError
    given = metadata.get("emotify.crowd_weights")
    weights = pooling.weights if given is None else tuple(map(float, parse_json(given)))
    if len(weights) != len(pooling.weights):
        raise ValueError
    temperature = float(metadata["emotify.crowd_temperature"])
    fitted = dataclasses.replace(pooling, weights=weights, temperature=temperature)
    return CrowdPooling(fitted, prior, float(metadata["emotify.prior_power"]))


def _networks(path: Path, metadata: Mapping[str, str]) -> tuple[list[str], list[float]]:
    """Return the names and weights of the networks in the metadata of a file. Raises ModelError if they are invalid."""
    try:
        names, weights = parse_json(metadata["emotify.models"]), parse_json(metadata["emotify.weights"])
        known = len(names) == len(weights) > 0 and all(name in NETWORKS for name in names) and max(weights) > 0
    except (KeyError, ValueError, TypeError):
        known = False
    if not known:
        msg = f"{printable(path)} does not name its networks, or this version of emotify lacks one; start from a run"
        raise ModelError(msg)
    return names, weights


def _folded(path: Path, name: str, place: int) -> tuple[Network, dict[str, Tensor]]:
    """Return the network with index `place` in the file, with folded normalisation, and its tensors."""
    network = fused(build_network(name))
    tensors = _tensors(path.read_bytes(), f"members.{place}.")
    last = next(key for key, tensor in network.named_parameters() if tensor is network.last_layer.bias)
    network.set_crowd(crowd=len(tensors.get(last, ())) > len(EMOTIONS))
    _open_folded_gates(network, tensors)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        msg = f"the weights of {printable(path)} do not fit {name} of this version of emotify; start from a run"
        raise ModelError(msg) from error
    return network, tensors


def _tensors(content: bytes, prefix: str) -> dict[str, Tensor]:
    """Return the weights whose names begin with `prefix` as float32, named without the prefix."""
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
    """Add the gates that an int8 file has folded: constant factors of 0.5, near those of a fresh gate."""
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
    """Move the folded batch norm from the layers of `folded` to the batch norm of `network`.

    The statistics are those of the layers' outputs for the images. The weights are scaled to the norm of a fresh
    network's, because the norm decides how much a step changes their direction.
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
    """Yield name, layer and normalisation of each pair that `fused` folds."""
    for name, module in network.named_modules():
        if not isinstance(module, nn.Sequential):
            continue
        for place, (layer, after) in enumerate(zip(module, list(module)[1:], strict=False)):
            if isinstance(layer, nn.Conv2d | nn.Linear) and isinstance(after, nn.BatchNorm2d | nn.BatchNorm1d):
                yield f"{name}.{place}", layer, after


def _moments(answer: Tensor) -> Tensor:
    """Return mean and mean square (2, C) of each channel of outputs (N, C) or (N, C, H, W)."""
    flat = answer.transpose(0, 1).flatten(1)
    return torch.stack([flat.mean(1), flat.square().mean(1)])
