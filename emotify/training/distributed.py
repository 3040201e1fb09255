"""Several processes that train one network together, as torchrun starts them."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from emotify.errors import UnavailableError

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """How many processes there are, and which one this is. Rank 0 alone writes and speaks."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # on this machine: the GPU to take

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def share(self, total: int) -> slice:
        """Return the images of a batch of `total` that this process takes."""
        each = total // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def from_leader(self, value: T | None) -> T:
        """Return the value that rank 0 gave."""
        values = [value]
        if self.size > 1:
            dist.broadcast_object_list(values, src=0)
        assert values[0] is not None
        return values[0]

    def agreed(self, *, stop: bool) -> bool:
        """Return whether rank 0 says stop; every process asks after each step, so that all leave at the same one."""
        if self.size == 1:
            return stop
        flag = torch.tensor(stop)  # on the CPU: nothing waits for a GPU
        dist.broadcast(flag, src=0)
        return bool(flag)

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a tensor over all processes."""
        if self.size > 1:
            dist.all_reduce(value)
            value /= self.size
        return value


ALONE = World()


def torchrun_world() -> World:
    """Return the world as torchrun describes it in the environment; without torchrun, a world of one."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if not all(os.environ.get(name, "").isdigit() for name in names):
        return ALONE
    return World(*(int(os.environ[name]) for name in names))


@contextlib.contextmanager
def joined(world: World, *, device: str) -> Iterator[None]:
    """Let the processes of a world talk to each other within the block: NCCL between GPUs, gloo between CPUs.

    Raises UnavailableError where there are fewer GPUs than processes.
    """
    if world.size == 1:
        yield
        return
    if device.startswith("cuda"):
        if device != "cuda" or world.local_rank >= torch.cuda.device_count():
            msg = f"{world.size} processes take a GPU each: --device cuda on a machine with as many, or --device cpu"
            raise UnavailableError(msg)
        torch.cuda.set_device(on_own_device(device, world))
        dist.init_process_group("cpu:gloo,cuda:nccl")
    else:
        dist.init_process_group("gloo")
    yield
    # Not after an error: NCCL would wait for the others. The process ends then, and the others see it leave.
    with contextlib.suppress(RuntimeError):  # one that left by an error does not come
        dist.barrier()
    gc.collect()  # a group that anything still holds at the end of the process can abort it
    dist.destroy_process_group()


def on_own_device(device: str, world: World) -> str:
    """Return the GPU of this process where all were told to take `cuda`."""
    return f"cuda:{world.local_rank}" if device == "cuda" and world.size > 1 else device


def wrap(network: torch.nn.Module, world: World, device: torch.device) -> torch.nn.Module:
    """Return a network whose gradients are averaged over the world."""
    if world.size == 1:
        return network
    ids = [device] if device.type == "cuda" else None
    return torch.nn.parallel.DistributedDataParallel(network, device_ids=ids)
