"""Keep lines off stderr that libraries cannot be told not to write."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from emotify.stopping import noting_errors


@contextlib.contextmanager
def without_lines(marker: bytes) -> Iterator[None]:
    """Hold back stderr while the block runs, then write what is there but for the lines that hold `marker`."""
    try:
        kept = os.memfd_create("stderr")
        stderr = os.dup(2)
    except (AttributeError, OSError):  # not Linux, or stderr is closed
        yield
        return
    os.dup2(kept, 2)
    try:
        with noting_errors(stderr):
            yield
    finally:
        os.dup2(stderr, 2)
        os.lseek(kept, 0, os.SEEK_SET)
        with open(kept, "rb") as lines, open(stderr, "wb", buffering=0) as shown:  # noqa: PTH123 - descriptors
            for line in lines:
                if marker not in line:
                    shown.write(line)


def drop_leak_reports() -> None:
    """Close stderr to what is written after Python's own end, if Triton is loaded; to be called by `atexit`.

    PyTorch for CUDA loads Triton, whose bindings (nanobind) then list all that they hold as leaked.
    """
    if "triton" not in sys.modules:
        return
    with contextlib.suppress(OSError, ValueError):  # stderr may be closed
        sys.stderr.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
