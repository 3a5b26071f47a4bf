"""The gRPC face of the store: candidates in from the scan, released ones out to reviewers.

Holds no private key of the verifier: a seal is opened on the reviewer's side only.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from pipeline import keys
from pipeline.rpc import candidates
from pipeline.rpc.sluis.verification.v1 import (
    candidate_pb2,
    candidate_service_pb2,
    candidate_service_pb2_grpc,
    review_service_pb2,
    review_service_pb2_grpc,
)
from pipeline.rpc.tls import RoleInterceptor, peer_name
from pipeline.threshold import COORDINATE_BYTES, Record
from pipeline.verification.release import ACCEPTED_POLICIES
from pipeline.verification.store import (
    ADDED,
    CONFLICT,
    REPEATED,
    AlreadyDecided,
    NotFound,
    Store,
    Stored,
    Waiting,
)

MOST_CANDIDATES: Final = 1_000
MOST_REASON_CHARACTERS: Final = 2_000
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

_OUTCOMES: Final = {
    ADDED: (
        candidate_service_pb2.SUBMIT_OUTCOME_ACCEPTED,
        candidate_service_pb2.REJECT_REASON_UNSPECIFIED,
    ),
    REPEATED: (
        candidate_service_pb2.SUBMIT_OUTCOME_DUPLICATE,
        candidate_service_pb2.REJECT_REASON_UNSPECIFIED,
    ),
    CONFLICT: (
        candidate_service_pb2.SUBMIT_OUTCOME_REJECTED,
        candidate_service_pb2.REJECT_REASON_SHARE_CONFLICT,
    ),
}
_STATES: Final = {
    "released": review_service_pb2.CANDIDATE_STATE_RELEASED,
    "confirmed": review_service_pb2.CANDIDATE_STATE_CONFIRMED,
    "rejected": review_service_pb2.CANDIDATE_STATE_REJECTED,
}
_VERDICTS: Final = {
    "confirmed": review_service_pb2.VERDICT_VALUE_CONFIRMED,
    "rejected": review_service_pb2.VERDICT_VALUE_REJECTED,
}


class CandidateService(candidate_service_pb2_grpc.CandidateServiceServicer):
    """Takes candidates from the scan."""

    def __init__(self, store: Store, verifier_key_ids: frozenset[str]) -> None:
        """Accept seals made for these verifier keys."""
        self._store = store
        self._verifier_key_ids = verifier_key_ids

    async def SubmitCandidates(  # noqa: N802 - gRPC's name
        self, request: candidate_service_pb2.SubmitCandidatesRequest, context: Any
    ) -> candidate_service_pb2.SubmitCandidatesResponse:
        """Keep what is well formed; say of each what became of it."""
        if len(request.candidates) > MOST_CANDIDATES:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"{len(request.candidates)} candidates: send at most {MOST_CANDIDATES} in a call",
            )
        for candidate in request.candidates:
            candidate.DiscardUnknownFields()  # one size, and nothing hidden in it
        seals = [self._read(candidate) for candidate in request.candidates]
        pairs = list(zip(request.candidates, seals, strict=True))
        at_once = [
            (candidate.candidate_id, candidate.SerializeToString())
            for candidate, seal in pairs
            if isinstance(seal, bytes)
        ]
        waiting = [
            _waiting(candidate, seal) for candidate, seal in pairs if isinstance(seal, Record)
        ]
        # The queue may be full: waiting for a place must not hold up the event loop.
        released = await asyncio.to_thread(self._store.add, at_once)
        held = await asyncio.to_thread(self._store.add_waiting, waiting)
        try:
            is_new: list[bool] = await asyncio.wrap_future(released)
            kept: list[str] = await asyncio.wrap_future(held)
        except sqlite3.Error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the store is busy; send again")
        outcomes_at_once = iter([ADDED if new else REPEATED for new in is_new])
        outcomes_waiting = iter(kept)
        results = []
        for candidate, seal in pairs:
            result = candidate_service_pb2.CandidateResult(candidate_id=candidate.candidate_id)
            if isinstance(seal, bytes | Record):
                kind = next(outcomes_at_once if isinstance(seal, bytes) else outcomes_waiting)
                result.outcome, result.reject_reason = _OUTCOMES[kind]
            else:
                result.outcome = candidate_service_pb2.SUBMIT_OUTCOME_REJECTED
                result.reject_reason = seal
            results.append(result)
        return candidate_service_pb2.SubmitCandidatesResponse(results=results)

    def _read(
        self, candidate: candidate_pb2.Candidate
    ) -> bytes | Record | candidate_service_pb2.RejectReason.ValueType:
        """The candidate's seal, or why it is not taken."""
        try:
            context = candidates.context_of(candidate)
            seal = candidates.seal_of(candidate)
        except candidates.Malformed:
            return candidate_service_pb2.REJECT_REASON_MALFORMED
        policy = ACCEPTED_POLICIES.get(context.policy_id)
        if policy is None:
            return candidate_service_pb2.REJECT_REASON_POLICY_MISMATCH
        if isinstance(seal, Record) and {s.stream for s in seal.shares} != set(policy.streams):
            return candidate_service_pb2.REJECT_REASON_POLICY_MISMATCH
        if candidate.verifier_key_id not in self._verifier_key_ids:
            return candidate_service_pb2.REJECT_REASON_KEY_UNKNOWN
        return seal


class ReviewService(review_service_pb2_grpc.ReviewServiceServicer):
    """Shows released candidates to reviewers and records their verdicts."""

    def __init__(self, store: Store) -> None:
        """Serve from `store`."""
        self._store = store

    async def ListCandidates(  # noqa: N802
        self, request: review_service_pb2.ListCandidatesRequest, context: Any
    ) -> review_service_pb2.ListCandidatesResponse:
        """A page in order of arrival."""
        size = request.page_size or 100
        if size > 1000 or request.after_sequence >= 2**63:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "page_size is 1 to 1000, after_sequence < 2**63"
            )
        state = next((name for name, value in _STATES.items() if value == request.state), None)
        stored, total = await asyncio.to_thread(
            self._store.page, request.after_sequence, size, state
        )
        return review_service_pb2.ListCandidatesResponse(
            items=[_item(one) for one in stored], total_count=total
        )

    async def GetCandidate(  # noqa: N802
        self, request: review_service_pb2.GetCandidateRequest, context: Any
    ) -> review_service_pb2.GetCandidateResponse:
        """One candidate with its seal."""
        try:
            stored = await asyncio.to_thread(self._store.get, request.candidate_id)
        except NotFound as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        return review_service_pb2.GetCandidateResponse(item=_item(stored))

    async def RecordVerdict(  # noqa: N802
        self, request: review_service_pb2.RecordVerdictRequest, context: Any
    ) -> review_service_pb2.RecordVerdictResponse:
        """Record a verdict in the name on the caller's certificate."""
        value = next((name for name, known in _VERDICTS.items() if known == request.value), None)
        reason = request.reason.strip()
        if value is None:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "value is CONFIRMED or REJECTED")
        if value == "rejected" and not reason:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "a rejection needs a reason: it goes back as one"
            )
        if len(reason) > MOST_REASON_CHARACTERS:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"reason has {len(reason)} characters, at most {MOST_REASON_CHARACTERS} are kept",
            )
        try:
            future = await asyncio.to_thread(
                self._store.decide, request.candidate_id, str(value), peer_name(context), reason
            )
            stored = await asyncio.wrap_future(future)
        except NotFound as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except AlreadyDecided as error:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, str(error))
        return review_service_pb2.RecordVerdictResponse(item=_item(stored))


async def serve(
    *,
    address: str,
    key_folder: Path,
    store_path: Path,
    ready: Callable[[int], None],
    stop: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    """Serve until `stop` returns, then finish the calls under way.

    Args:
        address: host:port to listen on; port 0 takes a free one.
        key_folder: this service's keys.
        store_path: the SQLite file.
        ready: called with the port once it serves.
        stop: awaited.

    Raises:
        KeysRefused, StoreRefused: as their loaders say.
        RuntimeError: the address is taken.
    """
    credentials = keys.identity(key_folder).server_credentials()
    verifier = keys.key_id(keys.verifier_public_key(key_folder))
    store = Store(store_path)
    try:
        server = grpc.aio.server(
            interceptors=[RoleInterceptor(ALLOWED)],
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


def _waiting(candidate: candidate_pb2.Candidate, record: Record) -> Waiting:
    shares = tuple(
        (
            share.stream,
            share.x.to_bytes(COORDINATE_BYTES, "big"),
            share.y.to_bytes(COORDINATE_BYTES, "big"),
        )
        for share in record.shares
    )
    return Waiting(candidate.candidate_id, candidate.SerializeToString(), record.tag, shares)


def _item(stored: Stored) -> review_service_pb2.ReviewItem:
    item = review_service_pb2.ReviewItem(
        sequence=stored.sequence,
        candidate=candidate_pb2.Candidate.FromString(stored.message),
        state=_STATES[stored.state],
        group_ref=stored.group_ref,
    )
    item.receive_time.FromSeconds(stored.received_at)
    if stored.verdict is not None:
        item.verdict.value = _VERDICTS[stored.verdict.value]
        item.verdict.reviewer = stored.verdict.reviewer
        item.verdict.reason = stored.verdict.reason
        item.verdict.decide_time.FromSeconds(stored.verdict.decided_at)
    return item
