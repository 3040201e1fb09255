"""Keep lines of libraries off stderr that cannot be told to be quiet."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from emotify.stopping import telling_on


@contextmanager
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
        with telling_on(stderr):
            yield
    finally:
        os.dup2(stderr, 2)
        os.lseek(kept, 0, os.SEEK_SET)
        with open(kept, "rb") as lines, open(stderr, "wb", buffering=0) as shown:  # noqa: PTH123 - descriptors
            for line in lines:
                if marker not in line:
                    shown.write(line)
