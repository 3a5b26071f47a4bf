"""Jobs for the store's one writer, handed over from threads of their own.

Handing over waits while the writer's queue is full. Reads and health must not wait behind that:
it does not happen in the pool that they share.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

_THREADS: Final = 4  # they only wait

P = ParamSpec("P")
T = TypeVar("T")


class Writes:
    """The way from the event loop to the writer."""

    def __init__(self) -> None:
        """Threads start when they are first needed."""
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="store-writes")

    async def __call__(
        self, submit: Callable[P, Future[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What the submitted job gives, once it is durable; or what it raised.

        Raises:
            StoreFault: the store is closed.
        """
        future = await asyncio.wrap_future(self._pool.submit(submit, *args, **kwargs))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Forget what waits to be handed over; its callers have gone."""
        self._pool.shutdown(wait=False, cancel_futures=True)
