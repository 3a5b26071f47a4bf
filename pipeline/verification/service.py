"""The verification service: the store behind gRPC, over mutual TLS, with who may call what."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

import grpc

from pipeline import keys
from pipeline.order import Order
from pipeline.rpc.server import HEALTH_CHECK, run
from pipeline.rpc.sluis.verification.v1 import (
    audit_service_pb2_grpc,
    candidate_service_pb2_grpc,
    review_service_pb2_grpc,
    verdict_service_pb2_grpc,
)
from pipeline.rpc.upkeep import Upkeep
from pipeline.verification import candidate_service
from pipeline.verification.audit_service import AuditService
from pipeline.verification.database import StoreFault
from pipeline.verification.decisions import Decisions
from pipeline.verification.expiry import sweep
from pipeline.verification.orders import served
from pipeline.verification.review_service import ReviewService
from pipeline.verification.store import MOST_RETENTION_DAYS, Store, open_store
from pipeline.verification.verdict_service import VerdictService
from pipeline.verification.writes import Writes

_MESSAGE_BYTES: Final = 4 * 1024 * 1024  # 1,000 candidates have 2.9 MB
_SWEEP_SECONDS: Final = 6 * 3600
_MOST_BACKFILLS: Final = 4  # streams of one party at a time
PATIENCE_SECONDS: Final = 30.0
"""How long the store may take for nothing at all before the service says it is not serving."""

_CANDIDATE: Final = "/sluis.verification.v1.CandidateService/"
_AUDIT: Final = "/sluis.verification.v1.AuditService/"
_REVIEW: Final = "/sluis.verification.v1.ReviewService/"
_VERDICT: Final = "/sluis.verification.v1.VerdictService/"
ALLOWED: Final = {
    _CANDIDATE + "SubmitCandidates": frozenset({"emitter"}),
    _CANDIDATE + "StreamCandidates": frozenset({"emitter"}),
    _AUDIT + "GetCheckpoint": frozenset({"emitter", "report_desk"}),
    _REVIEW + "ListCandidates": frozenset({"reviewer"}),
    _REVIEW + "GetCandidate": frozenset({"reviewer"}),
    _REVIEW + "RecordDecision": frozenset({"reviewer"}),
    _REVIEW + "ExplainCandidate": frozenset({"reviewer"}),
    _VERDICT + "ListVerdicts": frozenset({"report_desk"}),
    _VERDICT + "WatchVerdicts": frozenset({"report_desk"}),
    _VERDICT + "RecordProgress": frozenset({"report_desk"}),
    HEALTH_CHECK: frozenset({"emitter", "reviewer", "report_desk"}),
}
"""Who may call what; everything else is denied."""

LIMITS: Final = {
    _CANDIDATE + "SubmitCandidates": candidate_service.check_submitted,
    _CANDIDATE + "StreamCandidates": candidate_service.check_streamed,
}
"""What a request is held to before it is parsed."""


class FaultInterceptor(grpc.aio.ServerInterceptor):
    """A store that does not answer is UNAVAILABLE to the caller: nothing was kept, try again."""

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Wrap the method's handler."""
        handler = await continuation(details)
        if handler is None:
            return None
        serializers = (handler.request_deserializer, handler.response_serializer)

        async def answer(request: Any, context: Any) -> Any:
            try:
                return await handler.unary_unary(request, context)
            except StoreFault:
                await context.abort(*_NO_ANSWER)

        async def stream(request: Any, context: Any) -> Any:
            try:
                async for message in (handler.unary_stream or handler.stream_stream)(
                    request, context
                ):
                    yield message
            except StoreFault:
                await context.abort(*_NO_ANSWER)

        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(answer, *serializers)
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(stream, *serializers)
        return grpc.stream_stream_rpc_method_handler(stream, *serializers)


_NO_ANSWER: Final = (grpc.StatusCode.UNAVAILABLE, "the store does not answer; send again")


async def serve(
    *,
    address: str,
    key_folder: Path,
    store_path: Path | str,
    orders: Sequence[Order],
    ready: Callable[[int], None],
    stop: Callable[[], Coroutine[Any, Any, None]],
    clock: Callable[[], float] = time.time,
    retention_days: int = MOST_RETENTION_DAYS,
) -> None:
    """Serve until `stop` returns, then finish the calls under way.

    Args:
        address: host:port to listen on; port 0 takes a free one.
        key_folder: this service's keys.
        store_path: the SQLite file, or the URL of a PostgreSQL database.
        orders: whose candidates are taken.
        ready: called with the port once it serves.
        stop: awaited.
        clock: seconds since 1970.
        retention_days: see `open_store`.

    Raises:
        KeysRefused, OrderRefused, StoreRefused: as their loaders say.
        CannotListen: the address is taken.
    """
    credentials = keys.identity(key_folder).server_credentials()
    verifier = keys.key_id(keys.verifier_public_key(key_folder))
    known = served(orders)
    verdict_key = keys.signing_key(key_folder / "verdict.key")
    audit_key = keys.signing_key(key_folder / "audit.key")
    reviewers = keys.reviewer_keys(key_folder)
    closing = asyncio.Event()

    async def stop_and_close() -> None:
        await stop()
        closing.set()

    store = open_store(store_path, clock=clock, retention_days=retention_days)
    writes = Writes()
    sweeps = Upkeep("the sweep", lambda: sweep(store), _SWEEP_SECONDS)
    sweeping = asyncio.create_task(sweeps.run())
    try:
        decisions = Decisions(store, verdict_key)

        def add(server: grpc.aio.Server) -> None:
            candidate_service_pb2_grpc.add_CandidateServiceServicer_to_server(
                candidate_service.CandidateService(store, writes, known, frozenset({verifier})),
                server,
            )
            review_service_pb2_grpc.add_ReviewServiceServicer_to_server(
                ReviewService(decisions, writes, reviewers), server
            )
            audit_service_pb2_grpc.add_AuditServiceServicer_to_server(
                AuditService(store, audit_key), server
            )
            verdict_service_pb2_grpc.add_VerdictServiceServicer_to_server(
                VerdictService(decisions, writes, closing), server
            )

        async def is_healthy() -> bool:
            return sweeps.is_well and await _is_writing(store, writes)

        await run(
            add,
            address=address,
            credentials=credentials,
            allowed=ALLOWED,
            most_message_bytes=_MESSAGE_BYTES,
            ready=ready,
            stop=stop_and_close,
            interceptors=[FaultInterceptor()],
            limits=LIMITS,
            most_streams={_CANDIDATE + "StreamCandidates": _MOST_BACKFILLS},
            is_healthy=is_healthy,
        )
    finally:
        sweeping.cancel()
        writes.close()
        store.close()


async def _is_writing(store: Store, writes: Writes) -> bool:
    """Whether a job, if only an empty one, goes through the writer and the database."""
    try:
        await asyncio.wait_for(writes(store.submit, lambda _transaction: None), PATIENCE_SECONDS)
    except (StoreFault, TimeoutError):
        return False
    return True
