"""The one place that imports onnxruntime, so that it sends nothing, leaves nothing and prints nothing.

From 1.29 on, onnxruntime writes a device id below HOME when it is imported, and looks for a host to send events to.
`ORT_DISABLE_TELEMETRY`, which `emotify/__init__.py` sets, is read once, as the library is loaded.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from emotify.stopping import telling_on

_FATAL: Final = 4  # onnxruntime's severity above all that it logs
_ITS_LINES: Final = b":onnxruntime:"  # in each line that it logs


def import_onnxruntime() -> Any:  # noqa: ANN401 - onnxruntime has no types
    """Import onnxruntime with its telemetry off and return it."""
    if "onnxruntime" not in sys.modules:  # else the program around emotify decides what it logs
        with _without_its_lines():
            import onnxruntime
        onnxruntime.set_default_logger_severity(_FATAL)
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # on Windows the variable is not read
    return onnxruntime


@contextmanager
def _without_its_lines() -> Iterator[None]:
    """Hold back stderr while the block runs, then write what is there but for the lines that onnxruntime logs.

    It logs what it finds odd about the machine's GPUs as it is loaded, before it can be told not to.
    """
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
                if _ITS_LINES not in line:
                    shown.write(line)
