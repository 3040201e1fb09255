"""Checkpoints: safetensors files whose header has a JSON document and a digest of the content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from emotify.emotions import EMOTIONS
from emotify.errors import ModelError
from emotify.files import parse_json, printable, write_bytes, write_json
from emotify.networks import NETWORKS, Network, build_network

_SCHEMA: Final = 1  # of the document of a checkpoint


class DamagedError(ModelError):
    """A damaged file of tensors, or a file of another kind."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> None:
    """Write tensors and their JSON document to `path`, and a copy of the document to a .json file beside it.

    Tensors and document share one file, so a crash leaves the old or the new pair. The .json file is for people.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = {name: value for name, value in document.items() if name != "sha256"}
    document = {**content, "sha256": _digest(tensors, content)}
    write_bytes(path, save(tensors, metadata={"emotify": json.dumps(document)}))
    write_json(path.with_suffix(".json"), document)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of `save_tensors`. Raises ModelError if it is missing, DamagedError if it is damaged or foreign."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        document = parse_json(metadata["emotify"])
        content = {name: value for name, value in document.items() if name != "sha256"}
        # The digests of older runs cover the tensors only. A damaged file matches neither digest.
        intact = document["sha256"] in (_digest(tensors, content), _digest(tensors))
        # The text is compared too: a changed last digit can still give the same number.
        intact = intact and json.dumps(document) == metadata["emotify"]
    except FileNotFoundError:
        msg = f"no checkpoint at {printable(path)}; give the folder of a run of emotify train"
        raise ModelError(msg) from None
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{printable(path)} is damaged or not a checkpoint of emotify"
        raise DamagedError(msg) from error
    if not intact:
        msg = f"{printable(path)} is damaged: its content does not match its digest"
        raise DamagedError(msg)
    return tensors, document


def save_checkpoint(path: Path, network: Network, name: str, details: Mapping[str, Any]) -> None:
    """Write a network's weights, its name in `NETWORKS`, its classes in order, and `details`."""
    heads = ["labels", "crowd"] if network.crowd else ["labels"]
    document = {"schema": _SCHEMA, "model": name, "classes": EMOTIONS, "heads": heads, **details}
    if network.crowd_prior is not None:
        document["crowd_prior"] = network.crowd_prior
    save_tensors(path, network.state_dict(), document)


def load_checkpoint(path: Path) -> tuple[Network, dict[str, Any]]:
    """Return the network of a checkpoint, in evaluation mode, and the document. Raises ModelError."""
    tensors, document = load_tensors(path)
    if document.get("schema") != _SCHEMA:
        msg = f"{printable(path)} has an unknown format; use the version of emotify that wrote it"
        raise ModelError(msg)
    name = document.get("model")
    if not isinstance(name, str) or name not in NETWORKS:
        msg = f"{printable(path)} has the unknown model {name!r}; known models: {', '.join(NETWORKS)}"
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
