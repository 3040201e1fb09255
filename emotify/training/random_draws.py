"""Counter-based randomness: a draw depends only on seed, purpose and step, so a resumed run repeats it."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def derive_seed(seed: int, purpose: str, step: int) -> int:
    """Return a seed (0..2**63 - 1) that is a function of its three arguments."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def make_generator(seed: int, purpose: str, step: int, *, device: torch.device) -> torch.Generator:
    """Return a generator on `device` for one purpose at one step."""
    return torch.Generator(device).manual_seed(derive_seed(seed, purpose, step))


class Draws:
    """Random numbers for the images of one batch, on the generator's device.

    Processes that share a batch draw numbers for all `total` images, and keep the slice `own`. So an image gets the
    same numbers for any number of processes.
    """

    def __init__(self, generator: torch.Generator, total: int, own: slice = slice(None)) -> None:
        self._generator, self._total, self._own = generator, total, own

    def uniform(self, low: float, high: float, *, each: int = 0) -> Tensor:
        """Return uniform numbers in low..high: one per image (N,), or `each` per image (N, each)."""
        shape = (self._total, each) if each else (self._total,)
        numbers = torch.rand(shape, generator=self._generator, device=self._generator.device)
        return numbers[self._own] * (high - low) + low

    def normal(self, each: int) -> Tensor:
        """Return standard normal numbers (N, each)."""
        shape = (self._total, each)
        return torch.randn(shape, generator=self._generator, device=self._generator.device)[self._own]
