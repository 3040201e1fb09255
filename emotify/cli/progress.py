"""Shows a running training: a progress bar on a terminal, else one line per epoch."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

from emotify.cli.console import Messages
from emotify.cli.working import clock
from emotify.errors import ExitCode
from emotify.stopping import restore_handler, set_handler

if TYPE_CHECKING:
    from rich.progress import Progress

    from emotify.training.loop import Epoch, Step, Training

_WIDE = 100  # columns that the full progress bar needs
_REFRESH, _LINE = 0.25, 60.0  # seconds between updates of the bar, and between lines without a bar


class Stop:
    """A signal handler that asks the training to stop; a second signal ends the process at once.

    patient: ignore the second signal. torchrun repeats a Ctrl-C that every process has received already.
    """

    def __init__(self, messages: Messages, *, patient: bool = False) -> None:
        self.signal: int | None = None
        self._messages, self._patient = messages, patient

    def __call__(self, number: int, _: FrameType | None) -> None:
        if self.signal is not None and self._patient:
            return
        if self.signal is not None:  # on systems that do not end the process by themselves
            os._exit(self.exit_code)
        self.signal = number
        if not self._messages.quiet:
            # Not print(): the signal may have interrupted one, and a buffer cannot be entered twice.
            with contextlib.suppress(OSError):
                os.write(2, b"stopping after this step and saving the state; press Ctrl-C again to end at once\n")

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.TERMINATED if self.signal == signal.SIGTERM else ExitCode.INTERRUPTED


@contextlib.contextmanager
def catching_signals(messages: Messages, *, patient: bool = False) -> Iterator[Stop]:
    """Yield a Stop that handles Ctrl-C and SIGTERM until the block ends."""
    stop = Stop(messages, patient=patient)
    before = {number: set_handler(number, stop, second_ends=not patient) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            restore_handler(number, handler)


@contextlib.contextmanager
def training_display(training: Training, messages: Messages) -> Iterator[Display]:
    """Yield the display of a training's steps and epochs."""
    if messages.quiet or not sys.stderr.isatty():
        yield Display(training, messages, None)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    wide = messages.err.width >= _WIDE
    speed = TextColumn("[cyan]{task.fields[speed]:,.0f}[/] images/s")
    columns = (
        TextColumn("epoch {task.fields[epoch]}"),
        BarColumn(bar_width=None),
        TextColumn("{task.completed}/{task.total} steps"),
        *([speed] if wide else []),
        TextColumn("loss [yellow]{task.fields[loss]}[/]"),
        TextColumn("valid [green]{task.fields[accuracy]}[/]"),
        *([TimeElapsedColumn()] if wide else []),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=messages.err, refresh_per_second=4, expand=True) as bar:
        yield Display(training, messages, bar)


class Display:
    """Shows the steps and epochs of one training."""

    def __init__(self, training: Training, messages: Messages, bar: Progress | None) -> None:
        self._training, self._messages, self._bar = training, messages, bar
        self._shown = self._epoch_begun = self._begun = time.monotonic()
        self._first = training.step
        self._images = 0
        if bar is not None:
            self._task = bar.add_task(
                "train",
                total=training.total_steps,
                completed=training.step,
                epoch=self._epoch_of(len(training.history) + 1),
                speed=0.0,
                loss="-",
                accuracy=f"{training.history[-1].valid_accuracy:.1%}" if training.history else "-",
            )

    def step(self, step: Step) -> None:
        """Show a step, but only a few times a second: reading the loss makes a GPU wait."""
        self._images += step.images
        now = time.monotonic()
        speed = self._images / max(now - self._epoch_begun, 1e-3)
        if self._bar is not None and now - self._shown > _REFRESH:
            self._shown = now
            self._bar.update(self._task, completed=step.number, speed=speed, loss=f"{float(step.loss):.3f}")
        elif self._bar is None and now - self._shown > _LINE:
            self._shown = now
            left = (self._training.total_steps - step.number) * (now - self._begun) / (step.number - self._first)
            self._messages.notice(
                f"step {step.number:,} of {self._training.total_steps:,}: loss {float(step.loss):.3f}, "
                f"{speed:.0f} images/s, about {clock(left)} left"
            )

    def epoch(self, epoch: Epoch) -> None:
        """Show a finished epoch."""
        now = time.monotonic()
        speed = self._images / (now - self._epoch_begun)
        self._images, self._epoch_begun = 0, now
        if self._bar is not None:
            shown = self._epoch_of(epoch.epoch + 1)
            self._bar.update(self._task, completed=epoch.step, epoch=shown, accuracy=f"{epoch.valid_accuracy:.1%}")
        self._shown = now
        crowd = "" if epoch.valid_crowd_accuracy is None else f"of the crowd {epoch.valid_crowd_accuracy:.2%}, "
        self._messages.notice(
            f"epoch {self._epoch_of(epoch.epoch)}: loss {epoch.train_loss:.3f}, "
            f"valid loss {epoch.valid_loss:.3f}, valid accuracy {epoch.valid_accuracy:.2%}, {crowd}"
            f"{speed:,.0f} images/s"
        )

    def _epoch_of(self, number: int) -> str:
        last = self._training.config.epochs
        return f"{min(number, last)}/{last}"
