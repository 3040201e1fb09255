"""Training with several processes under torchrun: what each does when another one is gone."""

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
def together(training: Training) -> Iterator[None]:
    """Let the block train with the others. Raises UnavailableError when one of them is gone."""
    try:
        yield
    except RuntimeError as error:
        if training.world.size == 1 or not _tells_of_another(error):
            raise
        msg = (
            f"another process of this training is gone ({printable(str(error).partition(chr(10))[0][:200])}); "
            f"go on under torchrun with: {shlex.join(['train', '--resume', printable(training.folder)])}"
        )
        raise UnavailableError(msg) from error
    training.leave_world()


def follow(opened: AbstractContextManager[Training]) -> None:
    """Train beside rank 0, without a word, until it ends, says stop or is gone.

    Signals are left to rank 0, which finishes its step and keeps the state; a step takes all processes.
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
        if not _tells_of_another(error):
            raise
        msg = "rank 0 of this training is gone"
        raise Interrupted(msg) from error


def _tells_of_another(error: RuntimeError) -> bool:
    """Whether an error may be that of a process that is gone: gloo's are RuntimeErrors, and none of its subclasses.

    What has a class of its own (memory, CUDA, the compiler) happened in this process.
    """
    from torch.distributed import DistError

    return type(error) is RuntimeError or isinstance(error, DistError)
