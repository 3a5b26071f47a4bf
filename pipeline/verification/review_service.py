"""Shows released candidates to reviewers and records their verdicts.

Holds no private key of the verifier: a seal is opened on the reviewer's side only.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import grpc

from pipeline.rpc.sluis.verification.v1 import (
    candidate_pb2,
    review_service_pb2,
    review_service_pb2_grpc,
)
from pipeline.rpc.tls import peer_name
from pipeline.verification.store import AlreadyDecided, NotFound, Store, Stored

MOST_REASON_CHARACTERS: Final = 2_000

_STATES: Final = {
    "released": review_service_pb2.CANDIDATE_STATE_RELEASED,
    "confirmed": review_service_pb2.CANDIDATE_STATE_CONFIRMED,
    "rejected": review_service_pb2.CANDIDATE_STATE_REJECTED,
}
_VERDICTS: Final = {
    "confirmed": review_service_pb2.VERDICT_VALUE_CONFIRMED,
    "rejected": review_service_pb2.VERDICT_VALUE_REJECTED,
}


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
        if "\0" in reason:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "reason holds a NUL character")
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
