"""Capture libtiff's error messages, which it would otherwise write to stderr."""

from __future__ import annotations

import functools
import threading
from typing import Any, Final

_LONGEST: Final = 200  # bytes of a line

_messages = threading.local()
_lock = threading.Lock()


def pop_message() -> str:
    """Return libtiff's first message in this thread since the last call, or an empty string."""
    lines = vars(_messages).pop("lines", [])
    return lines[0] if lines else ""


def capture_messages() -> None:
    """Capture libtiff's errors in this module and drop its warnings, if Pillow's copy of libtiff is accessible."""
    with _lock:  # two threads would each install a handler, and the one in use might be freed
        _install()


@functools.cache
def _install() -> object:
    """Install an error handler in libtiff and return it. The cache keeps it alive, which libtiff needs."""
    try:
        import ctypes

        from PIL import _imaging

        library, libc = ctypes.CDLL(_imaging.__file__), ctypes.CDLL(None)  # finds symbols of linked libraries too
        set_errors, set_warnings = library.TIFFSetErrorHandler, library.TIFFSetWarningHandler
    except (ImportError, OSError, AttributeError, TypeError):  # Windows, or a Pillow with libtiff linked statically
        return None

    def store(_: bytes | None, form: int, values: int) -> None:
        line = ctypes.create_string_buffer(_LONGEST)
        libc.vsnprintf(line, ctypes.c_size_t(_LONGEST), ctypes.c_void_p(form), ctypes.c_void_p(values))
        vars(_messages).setdefault("lines", []).append(line.value.decode(errors="replace"))

    handler: Any = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p)(store)
    for function in (set_errors, set_warnings):
        function.restype, function.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    set_errors(ctypes.cast(handler, ctypes.c_void_p))
    set_warnings(None)
    return handler
