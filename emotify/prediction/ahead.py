"""Work done in threads, a bounded way ahead of whoever takes the results, in the order of the items."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    pool: Executor, work: Callable[[Item], Result], items: Iterable[Item], *, window: int
) -> Iterator[Future[Result]]:
    """Yield the futures of `work` on each item, in order, with at most `window` of them under way."""
    futures: deque[Future[Result]] = deque()
    try:
        for item in items:
            futures.append(pool.submit(work, item))
            if len(futures) >= window:
                yield futures.popleft()
        while futures:
            yield futures.popleft()
    finally:
        for future in futures:
            future.cancel()
