"""Import onnxruntime without telemetry, files or output. No other module imports it.

Since 1.29, the import of onnxruntime writes a device id in the home folder and looks up a host for telemetry.
`emotify/__init__.py` sets `ORT_DISABLE_TELEMETRY`, which the library reads once, when it is loaded.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from emotify.stderr import without_lines

_FATAL: Final = 4  # onnxruntime's highest severity, which logs nothing
_ITS_LINES: Final = b":onnxruntime:"  # part of each line that onnxruntime logs


def import_onnxruntime() -> Any:  # noqa: ANN401 - onnxruntime has no types
    """Import onnxruntime with telemetry disabled and return the module."""
    if "onnxruntime" not in sys.modules:  # otherwise the program that uses emotify configures the logging
        # While loading, onnxruntime logs warnings about the machine's GPUs, before its logging can be configured.
        with without_lines(_ITS_LINES):
            import onnxruntime
        onnxruntime.set_default_logger_severity(_FATAL)
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # needed on Windows, where the variable is not read
    return onnxruntime
