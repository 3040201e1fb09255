"""Remove lines from stderr that libraries always write."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from emotify.stopping import reporting_signals_on


@contextlib.contextmanager
def without_lines(marker: bytes) -> Iterator[None]:
    """Buffer stderr during the block, then write its lines, except those that contain `marker`."""
    try:
        kept = os.memfd_create("stderr")
        stderr = os.dup(2)
    except (AttributeError, OSError):  # not Linux, or stderr is closed
        yield
        return
    os.dup2(kept, 2)
    try:
        with reporting_signals_on(stderr):
            yield
    finally:
        os.dup2(stderr, 2)
        os.lseek(kept, 0, os.SEEK_SET)
        with open(kept, "rb") as lines, open(stderr, "wb", buffering=0) as shown:  # noqa: PTH123 - descriptors
            for line in lines:
                if marker not in line:
                    shown.write(line)


def drop_leak_reports() -> None:
    """Discard all that is written to stderr after Python has ended, if Triton is loaded. Register it with `atexit`.

    PyTorch for CUDA loads Triton. At exit, Triton's bindings (nanobind) list all of their objects as leaked.
    """
    if "triton" not in sys.modules:
        return
    with contextlib.suppress(OSError, ValueError):  # stderr may be closed
        sys.stderr.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
