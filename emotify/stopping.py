"""What Ctrl-C and SIGTERM do to a command, from its first moment to its last, and inside native code.

A signal ends the command at once, unless something half done has to be taken away first (`unwinding`). Then it raises
Interrupted. A second one ends the process whatever it does: Python runs its handlers between two of its own
instructions alone, so the system is told to end the process by itself.
"""

import os
import signal
import sys

# What threading is made of: a signal may come while that is loaded.
from _thread import allocate_lock, interrupt_main, start_new_thread
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import sleep
from types import FrameType

from emotify.errors import ExitCode

TYPE_CHECKING = False  # that of typing, which takes a while to load
if TYPE_CHECKING:
    from typing import NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_CODES = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}
_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
# Where in C's `struct sigaction` the flags are, on systems of 64 bits, and the flag that makes a handler run once.
_RUN_ONCE = {"linux": (136, 0x80000000), "darwin": (12, 0x4)}

Handler = Callable[[int, FrameType | None], object]


class Interrupted(KeyboardInterrupt):
    """A signal ended the command, after what could be saved was saved."""

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.INTERRUPTED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class _State:
    lock = allocate_lock()
    unwinding = 0  # blocks, of all threads, that have something to take away
    received: signal.Signals | None = None  # the first
    lost = False  # its exception ended where it could not be passed on
    stderr = 2  # the descriptor to tell it on


def listen() -> None:
    """Take over Ctrl-C and SIGTERM for this process, unless it was started to ignore them."""
    for number in _SIGNALS:
        if signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}:
            set_handler(number, _stop)
    sys.unraisablehook = _pass_on


def leave_to_system() -> None:
    """End at a signal without a word from now on: everything is done, and Python takes itself apart."""
    for number in _SIGNALS:
        if signal.getsignal(number) is _stop:
            signal.signal(number, signal.SIG_DFL)


def set_handler(number: int, handler: Handler, *, second_ends: bool = True) -> object:
    """Let `handler` run at a signal of this number, and return what did until now.

    second_ends: the system ends the process at the second one. It does not on Windows, nor process 1, as the first one
    of a container is: a handler ends these itself when it is called again.
    """
    before = signal.signal(number, handler)
    if second_ends and os.getpid() != 1 and sys.platform in _RUN_ONCE:
        _run_once(number)
    return before


def restore_handler(number: int, handler: object) -> None:
    """Undo `set_handler`, which returned `handler`."""
    if handler is _stop:
        set_handler(number, _stop)
    else:
        signal.signal(number, handler)  # type: ignore[arg-type]


def _run_once(number: int) -> None:
    try:
        import ctypes

        action = (ctypes.c_uint32 * 64)()
        libc = ctypes.CDLL(None)
    except (ImportError, OSError):  # Python without libffi: the second signal waits for native code there
        return
    place, flag = _RUN_ONCE[sys.platform]
    if ctypes.sizeof(ctypes.c_void_p) == 8 and libc.sigaction(number, None, action) == 0:
        action[place // 4] |= flag
        libc.sigaction(number, action, None)


@contextmanager
def unwinding() -> Iterator[None]:
    """Let a signal in this block raise Interrupted, so that what it leaves half done is taken away."""
    with _State.lock:
        _State.unwinding += 1
    try:
        yield
    finally:
        with _State.lock:
            _State.unwinding -= 1


@contextmanager
def noting_errors(descriptor: int) -> Iterator[None]:
    """Tell of a signal on this descriptor, while that of stderr is used for something else."""
    before, _State.stderr = _State.stderr, descriptor
    try:
        yield
    finally:
        _State.stderr = before


def interruption() -> Interrupted | None:
    """Return what the first signal raises, or None before one came.

    After a signal every error may be one that was made of it: some libraries turn what is raised in them into another.
    """
    number = _State.received
    return None if number is None else Interrupted(_WORDS[number], _CODES[number])


def _stop(number: int, _: FrameType | None) -> None:
    again = _State.received is not None and not _State.lost
    _State.received, _State.lost = _State.received or signal.Signals(number), False
    stopped = interruption()
    assert stopped is not None
    if again or not _State.unwinding:
        _end(stopped, tell=not again)
    raise stopped


def _end(stopped: Interrupted, *, tell: bool = True) -> "NoReturn":
    try:
        if tell:  # past Python's buffers, which may be in the middle of something
            os.write(_State.stderr, f"error: {stopped}\n".encode())
    finally:
        os._exit(stopped.exit_code)


def watch_unresponsive_threads() -> Callable[[], None]:
    """Return what is to be called now and then in this thread: it ends a process whose main thread hears no signal.

    A thread that waits for a server that has gone is deaf until the server answers; the system keeps its signals.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        return lambda: None
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # in this thread: it sees what the main one has not taken
    before: set[signal.Signals] = set()

    def look() -> None:
        nonlocal before
        kept = {number for number in signal.sigpending() if number in _CODES}
        for number in kept & before:  # and not one that has just come
            _end(Interrupted(_WORDS[number], _CODES[number]))
        before = kept

    return look


def _pass_on(unraisable: "sys.UnraisableHookArgs") -> None:
    """Raise an interruption once more that was raised where nothing can be, as in a destructor."""
    if isinstance(unraisable.exc_value, Interrupted) and _State.received is not None:
        _State.lost = True
        start_new_thread(_interrupt_again, (_State.received,))  # later: here it would end in the same place
    else:
        sys.__unraisablehook__(unraisable)


def _interrupt_again(number: signal.Signals) -> None:
    sleep(0.01)
    interrupt_main(number)
