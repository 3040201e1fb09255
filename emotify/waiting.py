"""Record what each thread waits for, so that a command can report a slow file."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

from emotify.stopping import watch_unresponsive_threads

Task: TypeAlias = tuple[str, "str | os.PathLike[str]"]

PATIENCE: Final = 10  # seconds until the first report; the next ones come after 4, 16, ... times as long
_current: dict[int, Task] = {}  # by thread


@contextmanager
def waiting_for(doing: str, what: str | os.PathLike[str]) -> Iterator[None]:
    """Record what this thread does in the block, for example "reading" and a path. The block may never end."""
    thread = threading.get_ident()
    outer = _current.get(thread)
    _current[thread] = (doing, what)
    try:
        yield
    finally:
        if outer is None:
            del _current[thread]
        else:
            _current[thread] = outer


def is_anything_waited_for() -> bool:
    """Return whether any thread is in a `waiting_for` block."""
    return bool(_current)


@contextmanager
def reporting_waits(tell: Callable[[str, str | os.PathLike[str], int], object]) -> Iterator[None]:
    """Call `tell(doing, what, seconds)` for each slow `waiting_for` block, from a background thread.

    The thread counts seconds and does not read a clock, because a process that was paused did not wait for its disk.
    """
    ended = threading.Event()

    def watch() -> None:
        seen: dict[int, tuple[Task, int]] = {}
        look = watch_unresponsive_threads()
        while not ended.wait(1):
            look()
            now = dict(_current)
            seen = {
                thread: (task, seen[thread][1] + 1 if thread in seen and seen[thread][0] is task else 1)
                for thread, task in now.items()
            }
            for (doing, what), seconds in seen.values():
                if seconds in {PATIENCE * 4**times for times in range(8)}:
                    tell(doing, what, seconds)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        ended.set()
