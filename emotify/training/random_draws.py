"""Randomness by counter: every draw depends on seed, purpose and step alone, so a resumed run repeats it."""

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

    Several processes that share a batch each draw for all of it and keep what is theirs, images `own` of `total`, so
    that an image meets the same chance however many there are.
    """

    def __init__(self, generator: torch.Generator, total: int, own: slice = slice(None)) -> None:
        self._generator, self._total, self._own = generator, total, own

    def uniform(self, low: float, high: float, *, each: int = 0) -> Tensor:
        """Return numbers in low..high: one an image, (N,), or `each` of them, (N, each)."""
        shape = (self._total, each) if each else (self._total,)
        numbers = torch.rand(shape, generator=self._generator, device=self._generator.device)
        return numbers[self._own] * (high - low) + low

    def normal(self, each: int) -> Tensor:
        """Return normal numbers of mean 0 and deviation 1, (N, each)."""
        shape = (self._total, each)
        return torch.randn(shape, generator=self._generator, device=self._generator.device)[self._own]
