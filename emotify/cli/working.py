"""Progress of slow work: a bar on a terminal, else a line on stderr from time to time."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

from emotify.cli.console import Messages
from emotify.words import amount

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn

    from emotify.arrays import UInt8Array
    from emotify.evaluation.classifier import Answers, Classifier

_PATIENCE: Final = 1.0  # seconds before a bar appears
_REFRESH: Final = 0.25  # seconds
_FIRST_LINE, _MOST_BETWEEN = 5.0, 60.0  # seconds; the time between lines doubles up to the second
_CHUNK: Final = 256  # images; a multiple of every batch size, so results do not change


@dataclass
class Work:
    """Progress of one piece of work."""

    what: str
    total: int | None = None  # None if unknown
    noun: str = "image"
    done: int = 0
    _begun: float = field(default_factory=time.monotonic)

    def advance(self, count: int = 1) -> None:
        """Count finished items."""
        self.done += count

    @property
    def seconds(self) -> float:
        """The time since the begin of the work."""
        return time.monotonic() - self._begun

    def line(self) -> str:
        """Return the progress as text, with the time left if the total is known."""
        seconds = self.seconds
        parts = [clock(seconds)]
        if self.total is not None:
            parts.insert(0, f"{self.done:,} of {amount(self.total, self.noun)}")
            if 0 < self.done < self.total:
                parts.append(f"about {clock(seconds / self.done * (self.total - self.done))} left")
        elif self.done:
            parts.insert(0, amount(self.done, self.noun))
        return f"{self.what}: {', '.join(parts)}"


@contextlib.contextmanager
def working(messages: Messages, what: str, *, total: int | None = None, noun: str = "image") -> Iterator[Work]:
    """Show the progress of the block if it takes more than a second; with --quiet show nothing.

    what: the work, such as `reading fer2013.csv`. total: the number of items, if known. noun: the name of an item.
    """
    work = Work(what, total, noun)
    if messages.quiet:
        yield work
        return
    ended = Event()
    show = _show_bar if sys.stderr.isatty() else _print_lines
    thread = Thread(target=show, args=(work, messages, ended), daemon=True)
    thread.start()
    try:
        yield work
    finally:
        ended.set()
        thread.join()


def _print_lines(work: Work, messages: Messages, ended: Event) -> None:
    wait = _FIRST_LINE
    while not ended.wait(wait):
        messages.notice(work.line())
        wait = min(2 * wait, _MOST_BETWEEN)


def _show_bar(work: Work, messages: Messages, ended: Event) -> None:
    if ended.wait(_PATIENCE):
        return
    with progress_bar(work, messages.err) as progress:
        while not ended.wait(_REFRESH):
            update_bar(progress, work)


def progress_bar(work: Work, console: Console) -> Progress:
    """Return a progress bar with the time left, or with count and elapsed time while the total is unknown."""
    from rich.progress import Progress

    # Rich would take over sys.stdout, and show what libraries print while it is switched off.
    progress = Progress(*_columns(work), console=console, transient=True, redirect_stdout=False)
    progress.add_task(work.what, total=work.total, completed=work.done)
    return progress


def update_bar(progress: Progress, work: Work) -> None:
    """Show the work's present state, also when its total has become known."""
    (task,) = progress.tasks
    if task.total != work.total:
        progress.columns = _columns(work)
    progress.update(task.id, completed=work.done, total=work.total)


def _columns(work: Work) -> tuple[ProgressColumn, ...]:
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    what = TextColumn("{task.description}", markup=False)
    if work.total is None:
        count = TextColumn("{task.completed:,}" if work.noun == "picture" else "")
        return SpinnerColumn(), what, count, TimeElapsedColumn()
    bar, count = BarColumn(bar_width=24), TextColumn("{task.completed:,}/{task.total:,}")
    return SpinnerColumn(), what, bar, count, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()


def clock(seconds: float) -> str:
    """Return a duration as `12 s`, `3 min` or `1 h 20 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


class CountingClassifier:
    """A classifier that reports its progress every few hundred images."""

    def __init__(self, classifier: Classifier, advance: Callable[[int], None]) -> None:
        self._classifier, self._advance, self.name = classifier, advance, classifier.name

    def answers(self, images: UInt8Array) -> Answers:
        """Return the probabilities of each head for uint8 images (N, 1, 48, 48)."""
        import numpy as np

        from emotify.evaluation.classifier import Answers

        answers = []
        for start in range(0, max(len(images), 1), _CHUNK):
            some = images[start : start + _CHUNK]
            answers.append(self._classifier.answers(some))
            self._advance(len(some))
        crowds = [each.crowd for each in answers if each.crowd is not None]
        return Answers(np.concatenate([each.labels for each in answers]), np.concatenate(crowds) if crowds else None)
