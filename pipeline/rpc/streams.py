"""A stream of numbered batches, each answered in turn, with a bound on what is read ahead.

A task of its own reads, so that answers never wait for the next batch to come: a client that waits
for each answer goes on, and one that waits for none is held back by the queue.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from pipeline.rpc.admission import Refused

READ_AHEAD: Final = 8
"""Batches of one stream that are read before the first of them is answered."""


class Numbered(Protocol):
    """A message of such a stream."""

    @property
    def batch_number(self) -> int:
        """Counts up by 1, from 1."""


T = TypeVar("T")
M = TypeVar("M", bound=Numbered)


class Stopping(Exception):  # noqa: N818 - reads as the outcome it is
    """The service stops: all that was read is answered, and no more is read."""


@dataclass(frozen=True)
class _Begun(Generic[T]):
    number: int
    result: asyncio.Task[T]


async def answered(
    requests: AsyncIterator[M],
    begin: Callable[[M], Awaitable[asyncio.Task[T]]],
    *,
    idle_seconds: float,
    closing: asyncio.Event | None = None,
) -> AsyncGenerator[tuple[int, T], None]:
    """Number and result of each batch, in the order they came.

    Args:
        requests: as they come.
        begin: awaited before the next batch is read, so it may wait for room; the task that it
            gives then runs beside others.
        idle_seconds: how long a stream may bring no batch, or leave answers unread.
        closing: once set, no more is read.

    Raises:
        Refused: a number that does not count up, or an idle stream; after the answers before.
        Stopping: `closing` is set; likewise.
        Exception: what `begin` and the work raise; likewise.
    """
    begun: asyncio.Queue[_Begun[T] | Exception | None] = asyncio.Queue(READ_AHEAD)
    tasks: set[asyncio.Task[T]] = set()
    coming = requests if closing is None else _until(closing, requests)

    async def read() -> None:
        end: Exception | None = None
        try:
            async with contextlib.aclosing(_counting_up(coming)) as batches:
                async for request in batches:
                    task = await begin(request)
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                    task.add_done_callback(_seen)
                    one = _Begun(request.batch_number, task)
                    await asyncio.wait_for(begun.put(one), idle_seconds)
        except TimeoutError:  # nobody reads the answers: they are not kept for ever
            while not begun.empty():
                begun.get_nowait()
            end = Refused(f"answers were not taken for {idle_seconds:.0f} seconds")
        except Exception as error:  # noqa: BLE001 - raised again, after the answers before it
            end = error
        await begun.put(end)

    reading = asyncio.create_task(read())
    try:
        while (one := await _next(begun, idle_seconds)) is not None:
            if isinstance(one, Exception):
                raise one
            yield one.number, await one.result
    finally:
        reading.cancel()
        for task in list(tasks):
            task.cancel()


def _seen(task: asyncio.Task[T]) -> None:
    """Behind the first failure nobody asks for others: that is no news for asyncio's log."""
    if not task.cancelled():
        task.exception()


async def _counting_up(requests: AsyncIterator[M]) -> AsyncGenerator[M, None]:
    last = 0
    async for request in requests:
        if request.batch_number != last + 1:
            raise Refused(f"batch {request.batch_number} after {last}: count up by 1, from 1")
        last += 1
        yield request


async def _next(queue: asyncio.Queue[T], idle_seconds: float) -> T:
    try:
        return await asyncio.wait_for(queue.get(), idle_seconds)
    except TimeoutError:
        raise Refused(f"no batch came for {idle_seconds:.0f} seconds: begin a new stream") from None


async def _until(closing: asyncio.Event, requests: AsyncIterator[M]) -> AsyncIterator[M]:
    """The requests, until the service stops.

    Raises:
        Stopping: it does.
    """
    stopping = asyncio.ensure_future(closing.wait())
    coming: asyncio.Future[M] | None = None
    try:
        while True:
            coming = asyncio.ensure_future(anext(requests))
            await asyncio.wait({coming, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                raise Stopping
            try:
                request = coming.result()
            except StopAsyncIteration:
                return
            yield request
    finally:
        stopping.cancel()
        if coming is not None:
            coming.cancel()
