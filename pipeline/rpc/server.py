"""A gRPC server as every party runs it: mutual TLS, roles, health, an orderly end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from pipeline.errors import SluisError
from pipeline.rpc.admission import Admission

HEALTH_CHECK: Final = "/grpc.health.v1.Health/Check"

_MOST_CALLS: Final = 512
"""Calls under way, of all parties: far beyond what honest ones make."""
_MOST_STREAMS: Final = 64  # of one connection

HANDSHAKE_SECONDS: Final = 5.0
"""How long a connection may take to show who it is; until then it only holds an open file."""

WATCH_SECONDS: Final = 2.0
"""Between two looks at a service's own health."""


class CannotListen(SluisError):  # noqa: N818 - reads as the outcome it is
    """The address cannot be listened on."""


async def run(
    add: Callable[[grpc.aio.Server], None],
    *,
    address: str,
    credentials: grpc.ServerCredentials,
    allowed: Mapping[str, frozenset[str]],
    most_message_bytes: int,
    ready: Callable[[int], None],
    stop: Callable[[], Coroutine[Any, Any, None]],
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    limits: Mapping[str, Callable[[bytes], None]] | None = None,
    most_streams: Mapping[str, int] | None = None,
    is_healthy: Callable[[], Coroutine[Any, Any, bool]] | None = None,
) -> None:
    """Serve until `stop` returns, then finish the calls under way.

    Args:
        add: adds the services.
        address: host:port to listen on; port 0 takes a free one.
        credentials: of the server; callers need certificates of the same authority.
        allowed: roles that may call each method; everything else is denied.
        most_message_bytes: longest message taken.
        ready: called with the port once it serves.
        stop: awaited.
        interceptors: further ones, behind the check of roles.
        limits: see `Admission`.
        most_streams: see `Admission`.
        is_healthy: asked every few seconds; while it says no, so does the health service.

    Raises:
        CannotListen: the address is taken, or not this machine's.
    """
    server = grpc.aio.server(
        interceptors=[Admission(allowed, limits or {}, most_streams or {}), *interceptors],
        maximum_concurrent_rpcs=_MOST_CALLS,
        options=[
            ("grpc.max_concurrent_streams", _MOST_STREAMS),
            ("grpc.server_handshake_timeout_ms", int(HANDSHAKE_SECONDS * 1000)),
            ("grpc.max_receive_message_length", most_message_bytes),
            ("grpc.so_reuseport", 0),  # a second service on the port is a mistake: fail
        ],
    )
    add(server)
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    try:
        port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise CannotListen(f"cannot listen on {address}: is the port taken?") from error
    await server.start()
    await healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    watching = asyncio.create_task(_watch(healthy, is_healthy)) if is_healthy else None
    ready(port)
    await stop()
    if watching is not None:
        watching.cancel()
    await healthy.enter_graceful_shutdown()
    await server.stop(grace=10)


async def _watch(healthy: Any, is_healthy: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    """Keep the health service true."""
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        serving = await is_healthy()
        await healthy.set(
            "",
            health_pb2.HealthCheckResponse.SERVING
            if serving
            else health_pb2.HealthCheckResponse.NOT_SERVING,
        )
