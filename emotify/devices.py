"""What --device can be."""

from __future__ import annotations

import re

from emotify.errors import UsageError


def check_device_name(device: str) -> None:
    """Raise UsageError for a device that is none anywhere, whatever there is here."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        msg = f"--device {device!r:.80}: there are auto, cpu, cuda, cuda:1"
        raise UsageError(msg)
