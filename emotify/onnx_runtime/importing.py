"""The one place that imports onnxruntime, so that it sends nothing, leaves nothing and prints nothing.

From 1.29 on, onnxruntime writes a device id below HOME when it is imported, and looks for a host to send events to.
`ORT_DISABLE_TELEMETRY`, which `emotify/__init__.py` sets, is read once, as the library is loaded.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from emotify.stderr import without_lines

_FATAL: Final = 4  # onnxruntime's severity above all that it logs
_ITS_LINES: Final = b":onnxruntime:"  # in each line that it logs


def import_onnxruntime() -> Any:  # noqa: ANN401 - onnxruntime has no types
    """Import onnxruntime with its telemetry off and return it."""
    if "onnxruntime" not in sys.modules:  # else the program around emotify decides what it logs
        # It logs what it finds odd about the machine's GPUs as it is loaded, before it can be told not to.
        with without_lines(_ITS_LINES):
            import onnxruntime
        onnxruntime.set_default_logger_severity(_FATAL)
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # on Windows the variable is not read
    return onnxruntime
