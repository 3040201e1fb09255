"""Randomness by counter: every draw depends on seed, purpose and step alone, so a resumed run repeats it."""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, purpose: str, step: int) -> int:
    """Return a seed (0..2**63 - 1) that is a function of its three arguments."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def make_generator(seed: int, purpose: str, step: int, *, device: torch.device) -> torch.Generator:
    """Return a generator on `device` for one purpose at one step."""
    return torch.Generator(device).manual_seed(derive_seed(seed, purpose, step))
