"""What libtiff says of damaged files: it writes to stderr unless it is told whom to tell instead."""

from __future__ import annotations

import functools
import threading
from typing import Any, Final

_LONGEST: Final = 200  # bytes of a line

_said = threading.local()
_lock = threading.Lock()


def said() -> str:
    """Return the first line that libtiff said in this thread since it was last asked, or nothing."""
    lines = vars(_said).pop("lines", [])
    return lines[0] if lines else ""


def listen() -> None:
    """Let libtiff tell this module its errors, and nobody its warnings, where Pillow's copy of it can be reached."""
    with _lock:  # two threads would each make a function, and the one that libtiff calls might not be the one kept
        _install()


@functools.cache
def _install() -> object:
    """Return the function that libtiff calls from now on: it must be kept."""
    try:
        import ctypes

        from PIL import _imaging

        library, libc = ctypes.CDLL(_imaging.__file__), ctypes.CDLL(None)  # with what it was linked to
        set_errors, set_warnings = library.TIFFSetErrorHandler, library.TIFFSetWarningHandler
    except (ImportError, OSError, AttributeError, TypeError):  # Windows, or a Pillow that has libtiff inside itself
        return None

    def hear(_: bytes | None, form: int, values: int) -> None:
        line = ctypes.create_string_buffer(_LONGEST)
        libc.vsnprintf(line, ctypes.c_size_t(_LONGEST), ctypes.c_void_p(form), ctypes.c_void_p(values))
        vars(_said).setdefault("lines", []).append(line.value.decode(errors="replace"))

    handler: Any = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p)(hear)
    for function in (set_errors, set_warnings):
        function.restype, function.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    set_errors(ctypes.cast(handler, ctypes.c_void_p))
    set_warnings(None)
    return handler
