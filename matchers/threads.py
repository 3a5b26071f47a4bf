"""One pool of threads for each width, kept between calls: making one costs as much as a picture."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(
    function: Callable[[Item], Result], items: Sequence[Item], threads: int | None
) -> list[Result]:
    """Apply `function` to every item, in the order of `items`.

    Args:
        function: what releases the interpreter lock for most of its time.
        items: one call each.
        threads: how many calls run at once; None = one for each core.
    """
    width = threads or os.cpu_count() or 1
    if width == 1 or len(items) < 2:
        return [function(item) for item in items]
    return list(_pool(width).map(function, items))


@functools.cache
def _pool(width: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(width, thread_name_prefix="matchers")


os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked child has none of the threads
