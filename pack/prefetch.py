"""Iterators whose items threads compute in advance, in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(items: Iterator[Item]) -> Iterator[Item]:
    """The same items; a thread computes the next one while the caller uses the current one."""
    end = object()
    with ThreadPoolExecutor(1) as thread:
        # Starts the thread before it has work: a signal that arrived in between would leave it running
        thread.submit(bool).result()
        following = thread.submit(next, items, end)
        while (item := following.result()) is not end:
            following = thread.submit(next, items, end)
            yield item


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int, waiting: int
) -> Iterator[Result]:
    """function(item) of each item, computed by threads and returned in the order of the items.

    At most `waiting` + 1 results exist at a time. When the function raises or the caller stops early, calls that have
    not started are cancelled.
    """
    queue: deque[Future] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            queue.append(pool.submit(function, item))
            if len(queue) > waiting:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
