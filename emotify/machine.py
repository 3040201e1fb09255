"""The computer: its usable CPUs, the model of its CPU, and the valid names of --device."""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path

from emotify.errors import UsageError

_CGROUPS = Path("/sys/fs/cgroup")


def available_cpus() -> int:
    """Return how many CPUs this process may use.

    taskset, the CPU quota of a container and OMP_NUM_THREADS can lower the number.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # nested threads use a list
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [int(wanted)] if wanted.isdecimal() and int(wanted) else []
    return max(1, math.ceil(min([count, *limits, *_quotas(Path("/proc/self/cgroup"), _CGROUPS)])))


def describe_cpu() -> str:
    """Return the model of the CPU. On Linux on x86, also report whether it multiplies 8-bit integers exactly (VNNI)."""
    try:
        lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    except OSError:
        lines = []
    known = {key.strip(): value.strip() for key, _, value in lines}
    name = known.get("model name") or platform.processor() or platform.machine()
    flags = set(known.get("flags", "").split())
    if not flags:
        return name
    return f"{name} {'with' if flags & {'avx512_vnni', 'avx_vnni'} else 'without'} VNNI"


def _quotas(membership: Path, cgroups: Path) -> Iterator[float]:
    """Yield the CPU limit of each Linux control group of this process that has one (cgroups(7))."""
    try:
        groups = [line.split(":", 2) for line in membership.read_text().splitlines()]
    except OSError:
        return
    for _, controllers, place in groups:
        folder = cgroups if not controllers else cgroups / controllers
        if controllers and "cpu" not in controllers.split(","):
            continue
        below = folder / place.lstrip("/")  # missing in a container whose own group is the root
        for group in {folder, below, *(parent for parent in below.parents if folder in parent.parents)}:
            yield from _quota(group)


def _quota(group: Path) -> Iterator[float]:
    try:
        if (limit := group / "cpu.max").exists():
            quota, period = limit.read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        if quota not in {"max", "-1"}:
            yield int(quota) / int(period)
    except (OSError, ValueError):
        return  # no limit, or one in an unknown format


def check_device_name(device: str) -> None:
    """Raise UsageError for a name that no device has. Does not check whether the device exists."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        msg = f"--device {device!r:.80}: choose from auto, cpu, cuda, or a number such as cuda:1"
        raise UsageError(msg)
