"""Training with several processes under torchrun, and what each does when another one has died."""

from __future__ import annotations

import contextlib
import shlex
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from emotify.errors import UnavailableError
from emotify.files import printable
from emotify.stopping import Interrupted

if TYPE_CHECKING:
    from emotify.training.loop import Training


@contextlib.contextmanager
def guarded_against_lost_processes(training: Training) -> Iterator[None]:
    """Let the block train with the other processes. Raises UnavailableError when one of them has died."""
    try:
        yield
    except RuntimeError as error:
        if training.world.size == 1 or not _may_be_of_another(error):
            raise
        msg = (
            f"another process of this training has died ({printable(str(error).partition(chr(10))[0][:200])}); "
            f"resume under torchrun with: {shlex.join(['train', '--resume', printable(training.folder)])}"
        )
        raise UnavailableError(msg) from error
    training.leave_world()


def follow_main_process(opened: AbstractContextManager[Training]) -> None:
    """Train silently beside the main process (rank 0), until it ends, stops or dies.

    This process ignores signals: the main process finishes the current step, which needs all processes, and saves
    the state.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        with opened as training:
            for _ in training.run():
                if training.world.agreed(stop=False):
                    break
            training.leave_world()
    except RuntimeError as error:
        if not _may_be_of_another(error):
            raise
        msg = "the main process (rank 0) of this training has died"
        raise Interrupted(msg) from error


def _may_be_of_another(error: RuntimeError) -> bool:
    """Return whether an error may come from the death of another process.

    gloo then raises RuntimeError itself. Errors of memory, CUDA or the compiler are subclasses: they are of this
    process.
    """
    from torch.distributed import DistError

    return type(error) is RuntimeError or isinstance(error, DistError)
