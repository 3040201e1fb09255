"""How many CPUs there are to use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def available_cpus() -> int:
    """Return how many CPUs this process may use: fewer than there are under taskset, or in a container with a quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min([count, *_quotas(Path("/proc/self/cgroup"), _CGROUPS)])))


def _quotas(membership: Path, cgroups: Path) -> Iterator[float]:
    """Yield the CPUs that Linux lets each control group of this process have, where it limits them (cgroups(7))."""
    try:
        groups = [line.split(":", 2) for line in membership.read_text().splitlines()]
    except OSError:
        return
    for _, controllers, place in groups:
        folder = cgroups if not controllers else cgroups / controllers
        if controllers and "cpu" not in controllers.split(","):
            continue
        below = folder / place.lstrip("/")  # not there in a container that sees its own group as the root
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
        return  # no such limit, or not in a form that is known
