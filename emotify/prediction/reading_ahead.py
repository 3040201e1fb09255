"""Work on an endless stream of items in threads, a few ahead, and give the answers in order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_MOST: Final = 32  # items in one task
# A task shorter than the first is mostly the cost of handing it over; one longer than the second keeps answers back.
_SHORT, _LONG = 0.005, 0.05  # seconds


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[Item], Answer], items: Iterable[Item], *, ahead: int, alone: bool = False
) -> Iterator[list[Answer]]:
    """Yield the answers to all items, in order: each time those that are there, or the next when none is.

    At most `ahead` tasks are under way, each of one item or, unless each is to be `alone`, of a few, so that small
    pictures are not handed over one by one. Items may be slow to come: answers that are there go out before the next
    item is asked for.
    """
    items = iter(items)
    futures: deque[Future[list[Answer]]] = deque()
    size, most = 1, 1 if alone else _MOST

    def task(some: list[Item]) -> list[Answer]:
        nonlocal size
        begun = time.perf_counter()
        answers = [work(item) for item in some]
        seconds = time.perf_counter() - begun
        if seconds > _LONG:
            size = max(len(some) // 2, 1)
        elif seconds < _SHORT:
            size = min(len(some) * 2, most)
        return answers

    try:
        while some := _next_few(items, size):
            futures.append(pool.submit(task, some))
            if len(futures) >= ahead or futures[0].done():
                yield _take(futures)
        while futures:
            yield _take(futures)
    finally:
        for future in futures:
            future.cancel()


def _next_few(items: Iterator[Item], size: int) -> list[Item]:
    """Return the next `size` items, or those that come within a moment, but one unless there is none."""
    end = time.perf_counter() + _SHORT
    some = []
    for item in items:
        some.append(item)
        if len(some) >= size or time.perf_counter() > end:
            break
    return some


def _take(futures: deque[Future[list[Answer]]]) -> list[Answer]:
    answers = futures.popleft().result()
    while futures and futures[0].done():
        answers += futures.popleft().result()
    return answers
