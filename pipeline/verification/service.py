"""The verification service: the store behind gRPC, over mutual TLS, with who may call what."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from pipeline import keys
from pipeline.rpc.sluis.verification.v1 import (
    candidate_service_pb2_grpc,
    review_service_pb2_grpc,
)
from pipeline.rpc.tls import RoleInterceptor
from pipeline.verification.candidate_service import CandidateService
from pipeline.verification.database import StoreFault
from pipeline.verification.review_service import ReviewService
from pipeline.verification.store import open_store

_MESSAGE_BYTES: Final = 8 * 1024 * 1024

_SUBMIT: Final = "/sluis.verification.v1.CandidateService/SubmitCandidates"
_REVIEW: Final = "/sluis.verification.v1.ReviewService/"
ALLOWED: Final = {
    _SUBMIT: frozenset({"emitter"}),
    _REVIEW + "ListCandidates": frozenset({"reviewer"}),
    _REVIEW + "GetCandidate": frozenset({"reviewer"}),
    _REVIEW + "RecordVerdict": frozenset({"reviewer"}),
    "/grpc.health.v1.Health/Check": frozenset({"emitter", "reviewer", "verification"}),
}
"""Who may call what; everything else is denied."""


class FaultInterceptor(grpc.aio.ServerInterceptor):
    """A store that does not answer is UNAVAILABLE to the caller: nothing was kept, try again."""

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Wrap a unary method's handler."""
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler

        async def guarded(request: Any, context: Any) -> Any:
            try:
                return await handler.unary_unary(request, context)
            except StoreFault:
                await context.abort(
                    grpc.StatusCode.UNAVAILABLE, "the store does not answer; send again"
                )

        return grpc.unary_unary_rpc_method_handler(
            guarded, handler.request_deserializer, handler.response_serializer
        )


async def serve(
    *,
    address: str,
    key_folder: Path,
    store_path: Path | str,
    ready: Callable[[int], None],
    stop: Callable[[], Coroutine[Any, Any, None]],
    clock: Callable[[], float] = time.time,
) -> None:
    """Serve until `stop` returns, then finish the calls under way.

    Args:
        address: host:port to listen on; port 0 takes a free one.
        key_folder: this service's keys.
        store_path: the SQLite file, or the URL of a PostgreSQL database.
        ready: called with the port once it serves.
        stop: awaited.
        clock: seconds since 1970.

    Raises:
        KeysRefused, StoreRefused: as their loaders say.
        RuntimeError: the address is taken.
    """
    credentials = keys.identity(key_folder).server_credentials()
    verifier = keys.key_id(keys.verifier_public_key(key_folder))
    store = open_store(store_path, clock=clock)
    try:
        server = grpc.aio.server(
            interceptors=[RoleInterceptor(ALLOWED), FaultInterceptor()],
            options=[
                ("grpc.max_receive_message_length", _MESSAGE_BYTES),
                ("grpc.so_reuseport", 0),  # a second service on the port is a mistake: fail
            ],
        )
        candidate_service_pb2_grpc.add_CandidateServiceServicer_to_server(
            CandidateService(store, frozenset({verifier})), server
        )
        review_service_pb2_grpc.add_ReviewServiceServicer_to_server(ReviewService(store), server)
        healthy = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
        port = server.add_secure_port(address, credentials)
        await server.start()
        await healthy.set("", health_pb2.HealthCheckResponse.SERVING)
        ready(port)
        await stop()
        await healthy.enter_graceful_shutdown()
        await server.stop(grace=10)
    finally:
        store.close()
