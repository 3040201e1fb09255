"""Work on an endless stream of items in threads, a few ahead, and give the answers in order."""

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
# A task shorter than the first is mostly the cost of handing it over; one longer than the second keeps answers back.
_SHORT, _LONG = 0.005, 0.05  # seconds
_MOST_STUCK: Final = 32  # threads that are given up: each may hold a large picture
_PATIENCE: Final = 0.5  # seconds, for tasks under way when the answers are no longer wanted


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
    """Threads that work on tasks. They do not keep the process from ending, as those of a pool of Python's would."""

    def __init__(self, work: Callable[[Item], Answer], threads: int) -> None:
        self.size = 1  # items that make a task of a good length
        self.answered = 0  # about how many items, by all threads
        self._work, self._threads, self._stuck = work, threads, 0
        self._tasks: SimpleQueue[_Task[Item, Answer] | None] = SimpleQueue()
        for _ in range(threads):
            self._start()

    def submit(self, task: _Task[Item, Answer]) -> None:
        self._tasks.put(task)

    def replace_one(self) -> None:
        """Start a thread in the place of one that is given up. Raises InputError when there are too many of these."""
        self._stuck += 1
        if self._stuck > _MOST_STUCK:
            msg = f"more than {_MOST_STUCK} pictures did not end in time; look at the disk that they lie on"
            raise InputError(msg)
        self._start()

    def close(self) -> None:
        """Let every thread end after its task."""
        for _ in range(self._threads + self._stuck):
            self._tasks.put(None)

    def _start(self) -> None:
        threading.Thread(target=self._run, name="emotify reader", daemon=True).start()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            if not self._finish(task):
                return  # another thread has taken this one's place

    def _finish(self, task: _Task[Item, Answer]) -> bool:
        """Work on a task's items; return False once it is given up."""
        began, task.begun = time.perf_counter(), True
        for item in task.items:
            if task.given_up:
                break
            try:
                answer = self._work(item)
            except BaseException as error:  # noqa: BLE001 - it is raised where the answer is waited for
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


def in_order(
    work: Callable[[Item], Answer],
    items: Iterable[Item],
    *,
    threads: int,
    ahead: int,
    late: Callable[[Item], Answer] | None = None,
    timeout: float = 0,
    alone: bool = False,
) -> Generator[list[Answer], None, None]:
    """Yield the answers to all items, in order: each time those that are there, or the next when none is.

    At most `ahead` tasks are under way, each of one item or, unless each is to be `alone`, of a few, so that small
    pictures are not handed over one by one. Items may be slow to come: answers that are there go out before the next
    item is asked for. An item that was waited for as long as `timeout` seconds, if that is not 0, is answered by
    `late`; its thread is given up, and another one takes its place. Raises what `work` does, and InputError when very
    many threads were given up.
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
        end = time.monotonic() + _PATIENCE  # what is being written is better finished
        for task in tasks:
            if task.begun:
                task.ended.wait(max(0.0, end - time.monotonic()))


def _next_few(items: Iterator[Item], size: int) -> list[Item]:
    """Return the next `size` items, or those that come within a moment, but one unless there is none."""
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
    """Return the answers of the first task, waiting for it, and of those after it that have ended too."""
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
    """Wait for a task; return False when for `timeout` seconds neither it nor any other came on.

    Others are looked at since an item may wait until they leave enough memory; without new ones they end soon. Seconds
    are counted, not read from a clock: a process that was stopped for an hour has not waited for its disk.
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
    """Return the answers that the first task has, and that to the item it hangs at; what follows is begun again."""
    task = tasks[0]
    with task.lock:
        if task.error is not None or len(task.answers) == len(task.items):  # it came in the last moment
            return []
        task.given_up = True
        answers = [*task.answers, late(task.items[len(task.answers)])]
    tasks.popleft()
    if rest := task.items[len(answers) :]:
        tasks.appendleft(_Task(rest))
        workers.submit(tasks[0])
    workers.replace_one()
    return answers
