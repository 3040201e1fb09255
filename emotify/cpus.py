"""How many CPUs there are to use."""

from __future__ import annotations

import os


def available_cpus() -> int:
    """Return how many CPUs this process may use, which is fewer than there are in a container or under taskset."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
