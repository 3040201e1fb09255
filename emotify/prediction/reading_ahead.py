"""Process a stream of items in threads, a few items ahead, and yield the answers in order."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Final, Generic, TypeVar

from emotify.errors import InputError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_MOST: Final = 32  # items in one task
# Tasks shorter than _SHORT cost more to hand over than to do. Tasks longer than _LONG delay their answers.
_SHORT, _LONG = 0.005, 0.05  # seconds
_MOST_STUCK: Final = 32  # abandoned threads; each may hold a large picture in memory
_PATIENCE: Final = 0.5  # seconds to wait for running tasks when the generator is closed


@dataclass(eq=False)
class _Task(Generic[Item, Answer]):
    """A few items for one thread."""

    items: list[Item]
    answers: list[Answer] = field(default_factory=list)
    error: BaseException | None = None
    begun: bool = False
    given_up: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    ended: threading.Event = field(default_factory=threading.Event)


class _Workers(Generic[Item, Answer]):
    """Daemon threads that work on tasks. The process can exit while they run, unlike with Python's thread pool."""

    def __init__(self, work: Callable[[Item], Answer], threads: int) -> None:
        self.size = 1  # items per task, adapted to the time that tasks take
        self.answered = 0  # items answered by all threads, approximately
        self._work, self._threads, self._stuck = work, threads, 0
        self._tasks: SimpleQueue[_Task[Item, Answer] | None] = SimpleQueue()
        for _ in range(threads):
            self._start()

    def submit(self, task: _Task[Item, Answer]) -> None:
        self._tasks.put(task)

    def replace_one(self) -> None:
        """Start a thread for one that was abandoned. Raises InputError if too many threads were abandoned."""
        self._stuck += 1
        if self._stuck > _MOST_STUCK:
            msg = f"more than {_MOST_STUCK} pictures could not be read in time; check the disk that they are on"
            raise InputError(msg)
        self._start()

    def close(self) -> None:
        """Tell every thread to end after its current task."""
        for _ in range(self._threads + self._stuck):
            self._tasks.put(None)

    def _start(self) -> None:
        threading.Thread(target=self._run, name="emotify reader", daemon=True).start()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            if not self._finish(task):
                return  # this thread was replaced by another one

    def _finish(self, task: _Task[Item, Answer]) -> bool:
        """Process a task's items. Return False if the task was abandoned."""
        began, task.begun = time.perf_counter(), True
        for item in task.items:
            if task.given_up:
                break
            try:
                answer = self._work(item)
            except BaseException as error:  # noqa: BLE001 - `_take` raises it again
                task.error = error
                break
            with task.lock:
                if not task.given_up:
                    task.answers.append(answer)
                    self.answered += 1
        seconds = time.perf_counter() - began
        if seconds > _LONG:
            self.size = max(len(task.items) // 2, 1)
        elif seconds < _SHORT:
            self.size = min(len(task.items) * 2, _MOST)
        task.ended.set()
        return not task.given_up


def map_in_order(
    work: Callable[[Item], Answer],
    items: Iterable[Item],
    *,
    threads: int,
    ahead: int,
    late: Callable[[Item], Answer] | None = None,
    timeout: float = 0,
    alone: bool = False,
) -> Generator[list[Answer], None, None]:
    """Yield lists of answers in the order of the items: all that are ready, or the next one once it is.

    work: computes the answer to an item, in one of `threads` threads.
    ahead: the most tasks in progress. A task has one item if `alone` is set. Otherwise it has several, so that small
        pictures are not handed over one by one.
    timeout, late: after `timeout` seconds without progress, `late` answers the item. Its thread is abandoned and
        replaced. 0 waits without a limit.

    Items may come slowly: if the oldest task has ended, its answers are yielded before the next item is read.
    Raises any exception of `work`, and InputError if too many threads were abandoned.
    """
    items = iter(items)
    workers = _Workers(work, threads)
    tasks: deque[_Task[Item, Answer]] = deque()
    try:
        while some := _next_few(items, 1 if alone else workers.size):
            tasks.append(_Task(some))
            workers.submit(tasks[-1])
            if len(tasks) >= ahead or tasks[0].ended.is_set():
                yield _take(tasks, workers, late, timeout)
        while tasks:
            yield _take(tasks, workers, late, timeout)
    finally:
        for task in tasks:
            task.given_up = True
        workers.close()
        end = time.monotonic() + _PATIENCE  # lets running tasks finish what they write
        for task in tasks:
            if task.begun:
                task.ended.wait(max(0.0, end - time.monotonic()))


def _next_few(items: Iterator[Item], size: int) -> list[Item]:
    """Return up to `size` items: those that arrive within _SHORT seconds, but at least one unless items end."""
    end = time.perf_counter() + _SHORT
    some = []
    for item in items:
        some.append(item)
        if len(some) >= size or time.perf_counter() > end:
            break
    return some


def _take(
    tasks: deque[_Task[Item, Answer]],
    workers: _Workers[Item, Answer],
    late: Callable[[Item], Answer] | None,
    timeout: float,
) -> list[Answer]:
    """Wait for the first task. Return its answers, and those of the following tasks that have ended."""
    if late is not None and timeout and not _ends(tasks[0], workers, timeout):
        return _give_up(tasks, workers, late)
    tasks[0].ended.wait()
    answers: list[Answer] = []
    while tasks and tasks[0].ended.is_set():
        task = tasks.popleft()
        if task.error is not None:
            raise task.error
        answers += task.answers
    return answers


def _ends(task: _Task[Item, Answer], workers: _Workers[Item, Answer], timeout: float) -> bool:
    """Wait for a task. Return False if neither this task nor any other made progress for `timeout` seconds.

    Other tasks count because an item may wait for the memory that they use. No task is added meanwhile, so they end
    soon. The function adds up its waits rather than reading a clock: time in which the process was stopped must not
    count.
    """
    waited, answered, moment = 0.0, -1, min(timeout, 1.0)
    while not task.ended.wait(moment):
        if task.begun and workers.answered == answered:
            waited += moment
            if waited >= timeout:
                return False
        else:
            waited, answered = 0.0, workers.answered if task.begun else -1
    return True


def _give_up(
    tasks: deque[_Task[Item, Answer]], workers: _Workers[Item, Answer], late: Callable[[Item], Answer]
) -> list[Answer]:
    """Abandon the first task: return its answers and `late`'s for the item that hangs, and resubmit the rest."""
    task = tasks[0]
    with task.lock:
        if task.error is not None or len(task.answers) == len(task.items):  # it ended just now
            return []
        task.given_up = True
        answers = [*task.answers, late(task.items[len(task.answers)])]
    tasks.popleft()
    if rest := task.items[len(answers) :]:
        tasks.appendleft(_Task(rest))
        workers.submit(tasks[0])
    workers.replace_one()
    return answers
