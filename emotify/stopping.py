"""Handlers of Ctrl-C and SIGTERM, from the start of a command to its end, also in native code.

A signal ends the command at once. Inside `raising_interrupts`, it raises Interrupted instead, so that unfinished files
are removed first. A second signal always ends the process. Python runs its handlers only between its own instructions,
so the operating system's default action ends the process then.
"""

import os
import signal
import sys

# Not from `threading`, because a signal may arrive while that module loads.
from _thread import allocate_lock, interrupt_main, start_new_thread
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import sleep
from types import FrameType

from emotify.errors import ExitCode

TYPE_CHECKING = False  # not imported from typing, which is slow to load
if TYPE_CHECKING:
    from typing import NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_CODES = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}
_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
# On 64-bit systems: the offset of the flags in C's `struct sigaction`, and the flag that makes a handler run once.
_RUN_ONCE = {"linux": (136, 0x80000000), "darwin": (12, 0x4)}

Handler = Callable[[int, FrameType | None], object]


class Interrupted(KeyboardInterrupt):
    """A signal interrupted the command. The command saves what it can before it ends."""

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.INTERRUPTED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class _State:
    lock = allocate_lock()
    raising_interrupts = 0  # number of `raising_interrupts` blocks that run now, in all threads
    received: signal.Signals | None = None  # the first signal
    lost = False  # the exception was raised where Python discards exceptions
    stderr = 2  # the descriptor to which `_end` writes


def handle_signals() -> None:
    """Handle Ctrl-C and SIGTERM in this process, unless it was started to ignore them."""
    for number in _SIGNALS:
        if signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}:
            set_handler(number, _stop)
    sys.unraisablehook = _raise_lost_interruption


def leave_to_system() -> None:
    """Restore the system's default action, which ends the process silently. Call this when all work is done."""
    for number in _SIGNALS:
        if signal.getsignal(number) is _stop:
            signal.signal(number, signal.SIG_DFL)


def set_handler(number: int, handler: Handler, *, second_ends: bool = True) -> object:
    """Install `handler` for a signal, and return the previous handler.

    second_ends: let the system end the process at the second signal. This does not work on Windows, nor for process 1,
    the first process of a container. There, a handler must end the process itself when it is called again.
    """
    before = signal.signal(number, handler)
    if second_ends and os.getpid() != 1 and sys.platform in _RUN_ONCE:
        _run_once(number)
    return before


def restore_handler(number: int, handler: object) -> None:
    """Undo `set_handler`. `handler` is the previous handler, which `set_handler` returned."""
    if handler is _stop:
        set_handler(number, _stop)
    else:
        signal.signal(number, handler)  # type: ignore[arg-type]


def _run_once(number: int) -> None:
    try:
        import ctypes

        action = (ctypes.c_uint32 * 64)()
        libc = ctypes.CDLL(None)
    except (ImportError, OSError):  # Python without libffi; then the second signal waits for native code to return
        return
    place, flag = _RUN_ONCE[sys.platform]
    if ctypes.sizeof(ctypes.c_void_p) == 8 and libc.sigaction(number, None, action) == 0:
        action[place // 4] |= flag
        libc.sigaction(number, action, None)


@contextmanager
def raising_interrupts() -> Iterator[None]:
    """Let a signal in this block raise Interrupted, so that the block can remove unfinished files."""
    with _State.lock:
        _State.raising_interrupts += 1
    try:
        yield
    finally:
        with _State.lock:
            _State.raising_interrupts -= 1


@contextmanager
def reporting_signals_on(descriptor: int) -> Iterator[None]:
    """Report a signal on this descriptor during the block, because stderr's own descriptor is redirected."""
    before, _State.stderr = _State.stderr, descriptor
    try:
        yield
    finally:
        _State.stderr = before


def interruption() -> Interrupted | None:
    """Return the Interrupted exception of the first signal, or None before any signal.

    After a signal, any error may be caused by it: some libraries turn an exception raised inside them into another one.
    """
    number = _State.received
    return None if number is None else Interrupted(_WORDS[number], _CODES[number])


def _stop(number: int, _: FrameType | None) -> None:
    again = _State.received is not None and not _State.lost
    _State.received, _State.lost = _State.received or signal.Signals(number), False
    stopped = interruption()
    assert stopped is not None
    if again or not _State.raising_interrupts:
        _end(stopped, report=not again)
    raise stopped


def _end(stopped: Interrupted, *, report: bool = True) -> "NoReturn":
    try:
        if report:  # bypass Python's buffers, which may be half written
            os.write(_State.stderr, f"error: {stopped}\n".encode())
    finally:
        os._exit(stopped.exit_code)


def watch_unresponsive_threads() -> Callable[[], None]:
    """Return a function that ends the process when its main thread does not react to a signal.

    Call the function regularly, in this thread. A main thread that waits for an unreachable file server does not
    handle signals until the server answers, and the system keeps the signals pending.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        return lambda: None
    # Blocked in this thread only, to see the signals that the main thread has not handled.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    before: set[signal.Signals] = set()

    def look() -> None:
        nonlocal before
        kept = {number for number in signal.sigpending() if number in _CODES}
        for number in kept & before:  # also pending at the last call, so not new
            _end(Interrupted(_WORDS[number], _CODES[number]))
        before = kept

    return look


def _raise_lost_interruption(unraisable: "sys.UnraisableHookArgs") -> None:
    """Raise an interruption again when Python discarded it, for example in a destructor."""
    if isinstance(unraisable.exc_value, Interrupted) and _State.received is not None:
        _State.lost = True
        # Later and from another thread, because Python discards an exception raised here, too.
        start_new_thread(_interrupt_again, (_State.received,))
    else:
        sys.__unraisablehook__(unraisable)


def _interrupt_again(number: signal.Signals) -> None:
    sleep(0.01)
    interrupt_main(number)
