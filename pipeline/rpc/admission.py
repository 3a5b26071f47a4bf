"""What a server lets in: by role, by number, by size; asked before anything of a call is parsed.

Every method is served as a stream, also those that take one message: gRPC reads a stream's messages
only when they are asked for, and by then the caller's role is known.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from pipeline.rpc.tls import peer_name, peer_role

MOST_CALLS: Final = 32
"""Calls that one party may have under way, streams included."""


_log = logging.getLogger(__name__)


class Refused(Exception):  # noqa: N818 - reads as the outcome it is
    """A request that is refused before it is parsed; says why."""


class Admission(grpc.aio.ServerInterceptor):
    """Lets a call through only if its caller may make it, and has few enough under way."""

    def __init__(
        self,
        allowed: Mapping[str, frozenset[str]],
        limits: Mapping[str, Callable[[bytes], None]],
        most_streams: Mapping[str, int],
    ) -> None:
        """Map full method names (/package.Service/Method).

        Args:
            allowed: to the roles that may call them; all else is denied.
            limits: to a check of the serialized request, which raises `Refused`.
            most_streams: to how many calls of that method one party may have under way.
        """
        self._allowed = allowed
        self._limits = limits
        self._most = most_streams
        self._under_way: Counter[tuple[str, str]] = Counter()

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Wrap the method's handler with the checks."""
        handler = await continuation(details)
        if handler is None:
            return None
        method = _Method(
            handler, self._limits.get(details.method), partial(self._admitted, details.method)
        )
        serializer = handler.response_serializer
        if handler.unary_unary is not None:
            return grpc.stream_unary_rpc_method_handler(method.answer, None, serializer)
        if handler.unary_stream is not None or handler.stream_stream is not None:
            return grpc.stream_stream_rpc_method_handler(method.stream, None, serializer)
        return None  # no other kind of method is served

    @asynccontextmanager
    async def _admitted(self, method: str, context: Any) -> AsyncIterator[None]:
        caller = peer_name(context)
        if peer_role(context) not in self._allowed.get(method, frozenset()):
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED,
                f"this certificate's role may not call {method}",
            )
        for what, most in ((method, self._most.get(method, MOST_CALLS)), ("", MOST_CALLS)):
            if self._under_way[caller, what] >= most:
                await context.abort(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"{most} calls of this party are under way already: wait for them",
                )
        for what in (method, ""):
            self._under_way[caller, what] += 1
        context.add_done_callback(lambda _context: self._ended(caller, method))
        try:
            yield
        except Refused as refused:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(refused))
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 - gRPC would send its text to the caller
            _log.error("a fault (%s) in %s", type(error).__name__, method)
            await context.abort(
                grpc.StatusCode.INTERNAL, "a fault of the service: its operator's log names it"
            )

    def _ended(self, caller: str, method: str) -> None:
        """A call is over on the wire too: until then its answers take memory."""
        for what in (method, ""):
            self._under_way[caller, what] -= 1
            if not self._under_way[caller, what]:
                del self._under_way[caller, what]


@dataclass(frozen=True)
class _Method:
    """A method's handler behind the checks; requests come serialized."""

    handler: Any
    check: Callable[[bytes], None] | None
    admitted: Callable[[Any], AbstractAsyncContextManager[None]]

    async def answer(self, requests: AsyncIterator[bytes], context: Any) -> Any:
        """One request, one answer."""
        async with self.admitted(context):
            return await self.handler.unary_unary(await self._first(requests), context)

    async def stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        """One request or many, many answers."""
        async with self.admitted(context):
            if self.handler.unary_stream is not None:
                replies = self.handler.unary_stream(await self._first(requests), context)
            else:
                replies = self.handler.stream_stream(self._messages(requests), context)
            async for message in replies:
                yield message

    async def _messages(self, requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for data in requests:
            yield self._parsed(data)

    async def _first(self, requests: AsyncIterator[bytes]) -> Any:
        async for data in requests:
            return self._parsed(data)
        raise Refused("the request is missing")

    def _parsed(self, data: bytes) -> Any:
        if self.check is not None:
            self.check(data)
        try:
            return self.handler.request_deserializer(data)
        except DecodeError:
            raise Refused("the request is no message of this method") from None
