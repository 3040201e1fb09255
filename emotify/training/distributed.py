"""Distributed training: several processes, started by torchrun, train one network."""

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
    """The number of processes and the rank of this one. Only the main process (rank 0) writes files and messages."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # rank on this computer, and the index of its GPU

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def share(self, total: int) -> slice:
        """Return the slice of a batch of `total` images that this process computes."""
        each = total // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def from_leader(self, value: T | None) -> T:
        """Return the value that the main process passes; the others pass None."""
        values = [value]
        if self.size > 1:
            dist.broadcast_object_list(values, src=0)
        assert values[0] is not None
        return values[0]

    def agreed(self, *, stop: bool) -> bool:
        """Return the main process's `stop`. Every process calls this after each step, so all stop at the same step."""
        if self.size == 1:
            return stop
        flag = torch.tensor(stop)  # on the CPU, so that nothing waits for a GPU
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
    """Return the world from torchrun's environment variables; without torchrun, a world of one process."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if not all(os.environ.get(name, "").isdigit() for name in names):
        return ALONE
    return World(*(int(os.environ[name]) for name in names))


@contextlib.contextmanager
def process_group(world: World, *, device: str) -> Iterator[None]:
    """Open the process group of a world for the block: NCCL between GPUs, gloo between CPUs.

    Raises UnavailableError if there are fewer GPUs than processes.
    """
    if world.size == 1:
        yield
        return
    if device.startswith("cuda"):
        if device != "cuda" or world.local_rank >= torch.cuda.device_count():
            msg = f"{world.size} processes need a GPU each and --device cuda; start fewer, or take --device cpu"
            raise UnavailableError(msg)
        torch.cuda.set_device(device_of_process(device, world))
        dist.init_process_group("cpu:gloo,cuda:nccl")
    else:
        dist.init_process_group("gloo")
    yield
    # Not after an error, as NCCL would wait for the others. The process then ends, and the others notice that.
    with contextlib.suppress(RuntimeError):  # a process that failed does not reach the barrier
        dist.barrier()
    gc.collect()  # a group that is still referenced when the process ends can abort the process
    dist.destroy_process_group()


def device_of_process(device: str, world: World) -> str:
    """Return the GPU of this process if `device` is `cuda` and there are several processes; else `device`."""
    return f"cuda:{world.local_rank}" if device == "cuda" and world.size > 1 else device


def wrap(network: torch.nn.Module, world: World, device: torch.device) -> torch.nn.Module:
    """Return the network wrapped so that its gradients are averaged over all processes."""
    if world.size == 1:
        return network
    ids = [device] if device.type == "cuda" else None
    return torch.nn.parallel.DistributedDataParallel(network, device_ids=ids)
