"""Tensors on disk: safetensors whose header carries what they mean and a digest of what they hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from emotify.emotions import EMOTIONS
from emotify.errors import ModelError
from emotify.files import parse_json, printable, write_bytes, write_json
from emotify.networks import NETWORKS, Network, build_network


class DamagedError(ModelError):
    """A file of tensors that is not what was written."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> None:
    """Write tensors and the JSON document that belongs to them to `path`, and the document again to `path`.json.

    The two are one file, so a crash leaves either the old pair or the new one; the .json is for people.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    told = {name: value for name, value in document.items() if name != "sha256"}
    document = {**told, "sha256": _digest(tensors, told)}
    write_bytes(path, save(tensors, metadata={"emotify": json.dumps(document)}))
    write_json(path.with_suffix(".json"), document)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote. Raises ModelError when it is missing, DamagedError when it is something else."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        document = parse_json(metadata["emotify"])
        told = {name: value for name, value in document.items() if name != "sha256"}
        # Older runs digested their tensors alone; a file of today, damaged, has neither digest.
        intact = document["sha256"] in (_digest(tensors, told), _digest(tensors))
        # A number with another last digit can be the same number: the text is compared, too.
        intact = intact and json.dumps(document) == metadata["emotify"]
    except FileNotFoundError:
        msg = f"no checkpoint at {printable(path)}; expected the folder of a run, as emotify train makes it"
        raise ModelError(msg) from None
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{printable(path)} is damaged or not a checkpoint of emotify"
        raise DamagedError(msg) from error
    if not intact:
        msg = f"{printable(path)} is damaged: what it holds does not match its digest"
        raise DamagedError(msg)
    return tensors, document


def save_checkpoint(path: Path, network: Network, name: str, details: Mapping[str, Any]) -> None:
    """Write a network's weights with its name in the table of models and the order of its classes."""
    heads = ["labels", "crowd"] if network.crowd else ["labels"]
    document = {"schema": 1, "model": name, "classes": EMOTIONS, "heads": heads, **details}
    if network.crowd_prior is not None:
        document["crowd_prior"] = network.crowd_prior
    save_tensors(path, network.state_dict(), document)


def load_checkpoint(path: Path) -> tuple[Network, dict[str, Any]]:
    """Return the network that `save_checkpoint` wrote, ready to predict, and its document. Raises ModelError."""
    tensors, document = load_tensors(path)
    name = document.get("model")
    if not isinstance(name, str) or name not in NETWORKS:
        msg = f"{printable(path)} holds a model named {name!r}; known are {', '.join(NETWORKS)}"
        raise ModelError(msg)
    if document.get("classes") != list(EMOTIONS):
        msg = f"{printable(path)} has other classes: {document.get('classes')!r}; expected {', '.join(EMOTIONS)}"
        raise ModelError(msg)
    try:
        network = build_network(name, crowd="crowd" in document.get("heads", ()))
        network.load_state_dict(tensors)
        prior = document.get("crowd_prior")
        network.crowd_prior = None if prior is None else tuple(map(float, prior))
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        msg = f"{printable(path)} does not fit this version's {name}; train it again"
        raise ModelError(msg) from error
    return network.eval(), document


def _digest(tensors: Mapping[str, Tensor], document: Mapping[str, Any] | None = None) -> str:
    digest = hashlib.sha256()
    if document is not None:
        digest.update(json.dumps(document, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
