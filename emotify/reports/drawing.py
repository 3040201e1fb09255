"""Import Matplotlib without leaving files or printing messages. No other module imports it.

Matplotlib saves a list of the system's fonts below HOME, and prints a message while it makes the list. The figures need
only the fonts inside Matplotlib. Matplotlib 3.11 and later then search no others.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from emotify.files import check_temporary_folder


@contextmanager
def _leaving_nothing() -> Iterator[None]:
    """Give Matplotlib a temporary configuration folder during the block, and let it ignore the system's fonts."""
    logging.getLogger("matplotlib").setLevel(logging.CRITICAL)
    check_temporary_folder()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        settings = {"MPLCONFIGDIR": folder, "MPL_IGNORE_SYSTEM_FONTS": "1"}
        before = {name: os.environ.get(name) for name in settings}
        os.environ.update(settings)
        try:
            yield
        finally:
            for name, value in before.items():
                del os.environ[name]
                os.environ.update({name: value} if value is not None else {})


with _leaving_nothing():
    from matplotlib import font_manager, rc_context  # noqa: F401 - the import makes the list of fonts
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

__all__ = ["Figure", "LinearSegmentedColormap", "MaxNLocator", "PercentFormatter", "rc_context"]
