"""Takes sealed candidates from the scan: well-formed ones are kept, each gets its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import grpc

from pipeline.rpc import candidates
from pipeline.rpc.sluis.verification.v1 import (
    candidate_pb2,
    candidate_service_pb2,
    candidate_service_pb2_grpc,
)
from pipeline.threshold import COORDINATE_BYTES, Record
from pipeline.verification.orders import ServedOrder
from pipeline.verification.store import (
    ADDED,
    ALTERED,
    CLOSED,
    CONFLICT,
    EXPIRED,
    REPEATED,
    Arrival,
    Store,
)

MOST_CANDIDATES: Final = 1_000

_REASONS: Final = {
    "malformed": candidate_service_pb2.REJECT_REASON_MALFORMED,
    "order_unknown": candidate_service_pb2.REJECT_REASON_ORDER_UNKNOWN,
    "policy_mismatch": candidate_service_pb2.REJECT_REASON_POLICY_MISMATCH,
    "key_unknown": candidate_service_pb2.REJECT_REASON_KEY_UNKNOWN,
    "epoch_unknown": candidate_service_pb2.REJECT_REASON_EPOCH_UNKNOWN,
    CLOSED: candidate_service_pb2.REJECT_REASON_EPOCH_CLOSED,
    EXPIRED: candidate_service_pb2.REJECT_REASON_EXPIRED,
    CONFLICT: candidate_service_pb2.REJECT_REASON_SHARE_CONFLICT,
    ALTERED: candidate_service_pb2.REJECT_REASON_ALTERED,
}
_TAKEN: Final = {
    ADDED: candidate_service_pb2.SUBMIT_OUTCOME_ACCEPTED,
    REPEATED: candidate_service_pb2.SUBMIT_OUTCOME_DUPLICATE,
}


class CandidateService(candidate_service_pb2_grpc.CandidateServiceServicer):
    """Takes candidates from the scan."""

    def __init__(
        self,
        store: Store,
        orders: Mapping[bytes, ServedOrder],
        verifier_key_ids: frozenset[str],
    ) -> None:
        """Accept seals made under these orders and for these verifier keys."""
        self._store = store
        self._orders = orders
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
        return candidate_service_pb2.SubmitCandidatesResponse(
            results=await self._keep(request.candidates)
        )

    async def _keep(
        self, batch: Sequence[candidate_pb2.Candidate]
    ) -> list[candidate_service_pb2.CandidateResult]:
        """Keep what is new and well formed; a result for each, once it is durable.

        A repeat is known by its id and its kind of seal alone: the first one stands, whatever the
        later one holds.
        """
        # Threads: neither a read nor a full queue may hold up the event loop.
        ids = [candidate.candidate_id for candidate in batch]
        known = await asyncio.to_thread(self._store.known, ids)
        read = [
            REPEATED
            if candidate.HasField("threshold") in known.get(candidate_id, ())
            else self._read(candidate)
            for candidate_id, candidate in zip(ids, batch, strict=True)
        ]
        arrivals = [one for one in read if isinstance(one, Arrival)]
        outcomes: Iterator[str] = iter(())
        if arrivals:
            future = await asyncio.to_thread(self._store.add, arrivals)
            kept_as: list[str] = await asyncio.wrap_future(future)
            outcomes = iter(kept_as)
        return [
            _result(candidate_id, next(outcomes) if isinstance(one, Arrival) else one)
            for candidate_id, one in zip(ids, read, strict=True)
        ]

    def _read(self, candidate: candidate_pb2.Candidate) -> Arrival | str:
        """The candidate as the store keeps it, or why it is not taken."""
        candidate.DiscardUnknownFields()  # one size, and nothing hidden in it
        try:
            context = candidates.context_of(candidate)
            seal = candidates.seal_of(candidate)
        except candidates.Malformed:
            return "malformed"
        order = self._orders.get(context.order_id)
        if order is None:
            return "order_unknown"
        if context.policy_id != order.policy_id or (
            isinstance(seal, Record) and {s.stream for s in seal.shares} != order.streams
        ):
            return "policy_mismatch"
        if candidate.verifier_key_id not in self._verifier_key_ids:
            return "key_unknown"
        if order.epochs.epoch(candidate.context.hit_day) != context.epoch:
            return "epoch_unknown"
        return _arrival(candidate, seal)


def _arrival(candidate: candidate_pb2.Candidate, seal: bytes | Record) -> Arrival:
    context = candidate.context
    known = (
        candidate.candidate_id, candidate.SerializeToString(), context.order_id, context.epoch,
        context.hit_day,
    )  # fmt: skip
    if not isinstance(seal, Record):
        return Arrival(*known)
    shares = tuple(
        (
            share.stream,
            share.x.to_bytes(COORDINATE_BYTES, "big"),
            share.y.to_bytes(COORDINATE_BYTES, "big"),
        )
        for share in seal.shares
    )
    return Arrival(*known, seal.tag, shares)


def _result(candidate_id: bytes, outcome: str) -> candidate_service_pb2.CandidateResult:
    if outcome in _TAKEN:
        return candidate_service_pb2.CandidateResult(
            candidate_id=candidate_id, outcome=_TAKEN[outcome]
        )
    return candidate_service_pb2.CandidateResult(
        candidate_id=candidate_id,
        outcome=candidate_service_pb2.SUBMIT_OUTCOME_REJECTED,
        reject_reason=_REASONS[outcome],
    )
