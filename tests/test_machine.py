"""The number of usable CPUs, and the model of the CPU."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from emotify.machine import _quotas, available_cpus, describe_cpu


def test_a_process_bound_to_one_cpu_uses_one():
    """Only the CPUs that `taskset` allows count."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system cannot bind a process to CPUs")
    cpu = min(os.sched_getaffinity(0))
    program = f"import os; os.sched_setaffinity(0, [{cpu}]); from emotify.machine import *; print(available_cpus())"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout == "1\n"
    assert available_cpus() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("membership", "files", "quotas"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, [1.5]),
        ("0::/a/b\n", {"a/cpu.max": "max 100000\n", "a/b/cpu.max": "50000 100000\n"}, [0.5]),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000\n", "a/b/cpu.max": "max 100000\n"}, [2.0]),
        ("0::/elsewhere\n", {"cpu.max": "300000 100000\n"}, [3.0]),
        ("4:cpu,cpuacct:/c\n1:memory:/m\n",
         {"cpu,cpuacct/c/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/c/cpu.cfs_period_us": "100000\n"}, [2.5]),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, []),
        ("0::/\n", {"cpu.max": "nonsense\n"}, []),
        ("0::/\n", {}, []),
    ],
)  # fmt: skip
def test_quotas_of_control_groups_are_found(membership, files, quotas, tmp_path):
    """Quotas of both cgroup versions are found at any level, inside and outside of a container."""
    for name, content in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / "membership").write_text(membership)
    assert list(_quotas(tmp_path / "membership", tmp_path / "cgroup")) == quotas


def test_systems_without_control_groups_have_no_quotas(tmp_path):
    assert list(_quotas(tmp_path / "none", tmp_path)) == []


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("model name\t: Fast 7\nflags\t\t: fpu avx512_vnni\n", "Fast 7 with VNNI"),
        ("model name\t: Fast 7\nflags\t\t: fpu avx2\n", "Fast 7 without VNNI"),
        ("processor\t: 0\nFeatures\t: fp asimd\n", "aarch64"),
        (None, "aarch64"),
    ],
)
def test_the_cpu_has_a_name_on_any_system(content: str | None, shown: str, monkeypatch):
    """Arm has no model name in /proc/cpuinfo, and macOS has no such file."""

    def read_text(path: Path) -> str:
        assert path == Path("/proc/cpuinfo")
        if content is None:
            raise FileNotFoundError
        return content

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert describe_cpu() == shown
