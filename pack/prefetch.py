"""Work that threads do in advance, in its order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


def ahead(items: Iterator) -> Iterator:
    """The same items, of which the next is computed by a thread while the caller uses the last."""
    end = object()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(bool).result()  # a signal while the thread starts would leave it running: it has no work yet
        following = thread.submit(next, items, end)
        while (item := following.result()) is not end:
            following = thread.submit(next, items, end)
            yield item


def in_order(work: Callable, items: Iterable, threads: int, waiting: int) -> Iterator[Any]:
    """The results of `work` in the order of `items`, computed by threads; so many, and one more, at most wait.

    What has not begun is dropped when work fails or the caller leaves.
    """
    queue: deque[Future] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            queue.append(pool.submit(work, item))
            if len(queue) > waiting:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
