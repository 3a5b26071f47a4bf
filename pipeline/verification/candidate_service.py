"""Takes sealed candidates from the scan: well-formed ones are kept, each gets its answer."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import grpc

from pipeline.rpc import candidates
from pipeline.rpc.sluis.verification.v1 import (
    candidate_pb2,
    candidate_service_pb2,
    candidate_service_pb2_grpc,
)
from pipeline.threshold import COORDINATE_BYTES, Record
from pipeline.verification import store as kept
from pipeline.verification.release import ACCEPTED_POLICIES
from pipeline.verification.store import Arrival, Store

MOST_CANDIDATES: Final = 1_000

_REJECTIONS: Final = {
    kept.CONFLICT: candidate_service_pb2.REJECT_REASON_SHARE_CONFLICT,
    kept.ALTERED: candidate_service_pb2.REJECT_REASON_ALTERED,
    kept.EXPIRED: candidate_service_pb2.REJECT_REASON_EXPIRED,
}
_OUTCOMES: Final = {
    kept.ADDED: candidate_service_pb2.SUBMIT_OUTCOME_ACCEPTED,
    kept.REPEATED: candidate_service_pb2.SUBMIT_OUTCOME_DUPLICATE,
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
        read = [self._read(candidate) for candidate in request.candidates]
        arrivals = [one for one in read if isinstance(one, Arrival)]
        # The queue may be full: waiting for a place must not hold up the event loop.
        future = await asyncio.to_thread(self._store.add, arrivals)
        kept_as: list[str] = await asyncio.wrap_future(future)
        outcomes = iter(kept_as)
        return candidate_service_pb2.SubmitCandidatesResponse(
            results=[
                _rejected(candidate.candidate_id, one)
                if not isinstance(one, Arrival)
                else _result(one.candidate_id, next(outcomes))
                for candidate, one in zip(request.candidates, read, strict=True)
            ]
        )

    def _read(
        self, candidate: candidate_pb2.Candidate
    ) -> Arrival | candidate_service_pb2.RejectReason.ValueType:
        """The candidate as the store keeps it, or why it is not taken."""
        candidate.DiscardUnknownFields()  # one size, and nothing hidden in it
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
        return _arrival(candidate, seal)


def _arrival(candidate: candidate_pb2.Candidate, seal: bytes | Record) -> Arrival:
    message, day = candidate.SerializeToString(), candidate.context.hit_day
    if not isinstance(seal, Record):
        return Arrival(candidate.candidate_id, message, day)
    shares = tuple(
        (
            share.stream,
            share.x.to_bytes(COORDINATE_BYTES, "big"),
            share.y.to_bytes(COORDINATE_BYTES, "big"),
        )
        for share in seal.shares
    )
    return Arrival(candidate.candidate_id, message, day, seal.tag, shares)


def _result(candidate_id: bytes, outcome: str) -> candidate_service_pb2.CandidateResult:
    if outcome in _REJECTIONS:
        return _rejected(candidate_id, _REJECTIONS[outcome])
    return candidate_service_pb2.CandidateResult(
        candidate_id=candidate_id, outcome=_OUTCOMES[outcome]
    )


def _rejected(
    candidate_id: bytes, reason: candidate_service_pb2.RejectReason.ValueType
) -> candidate_service_pb2.CandidateResult:
    return candidate_service_pb2.CandidateResult(
        candidate_id=candidate_id,
        outcome=candidate_service_pb2.SUBMIT_OUTCOME_REJECTED,
        reject_reason=reason,
    )
