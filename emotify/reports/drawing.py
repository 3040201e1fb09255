"""What emotify takes from Matplotlib: the one place that imports it, so that it leaves nothing and prints nothing.

Matplotlib keeps a list of the system's fonts below HOME, and says so while it makes it. The fonts that it brings are
all that the figures need: Matplotlib 3.11 and later look for no others.
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
    """Let what is imported in the block keep its lists in a folder that is gone after it, and look for no fonts."""
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
    from matplotlib import font_manager, rc_context  # noqa: F401 - the list of fonts is made as it is imported
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

__all__ = ["Figure", "LinearSegmentedColormap", "MaxNLocator", "PercentFormatter", "rc_context"]
