"""Takes sealed candidates from the scan: well-formed ones are kept, each gets its answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Final

from pipeline import vouchers
from pipeline.rpc import candidates, raw, streams
from pipeline.rpc.admission import Refused
from pipeline.rpc.sluis.verification.v1 import (
    candidate_pb2,
    candidate_service_pb2,
    candidate_service_pb2_grpc,
)
from pipeline.threshold import Record
from pipeline.verification.orders import ServedOrder
from pipeline.verification.release import points
from pipeline.verification.store import (
    ADDED,
    ALTERED,
    CLOSED,
    CONFLICT,
    EARLY,
    EXPIRED,
    REPEATED,
    Arrival,
    Store,
)
from pipeline.verification.writes import Writes

MOST_CANDIDATES: Final = 1_000
_MOST_FIELDS: Final = 16  # a candidate has 4, a threshold seal 5
IDLE_SECONDS: Final = 60.0
"""How long a stream may bring no batch, or leave answers unread, before it is ended."""

_REASONS: Final = {
    "malformed": candidate_service_pb2.REJECT_REASON_MALFORMED,
    "order_unknown": candidate_service_pb2.REJECT_REASON_ORDER_UNKNOWN,
    "policy_mismatch": candidate_service_pb2.REJECT_REASON_POLICY_MISMATCH,
    "key_unknown": candidate_service_pb2.REJECT_REASON_KEY_UNKNOWN,
    "epoch_unknown": candidate_service_pb2.REJECT_REASON_EPOCH_UNKNOWN,
    CLOSED: candidate_service_pb2.REJECT_REASON_EPOCH_CLOSED,
    EARLY: candidate_service_pb2.REJECT_REASON_EPOCH_UNKNOWN,
    EXPIRED: candidate_service_pb2.REJECT_REASON_EXPIRED,
    CONFLICT: candidate_service_pb2.REJECT_REASON_SHARE_CONFLICT,
    ALTERED: candidate_service_pb2.REJECT_REASON_ALTERED,
}
_TAKEN: Final = {
    ADDED: candidate_service_pb2.SUBMIT_OUTCOME_ACCEPTED,
    REPEATED: candidate_service_pb2.SUBMIT_OUTCOME_DUPLICATE,
}


_Results = list[candidate_service_pb2.CandidateResult]


class CandidateService(candidate_service_pb2_grpc.CandidateServiceServicer):
    """Takes candidates from the scan."""

    def __init__(
        self,
        store: Store,
        writes: Writes,
        orders: Mapping[bytes, ServedOrder],
        verifier_key_ids: frozenset[str],
    ) -> None:
        """Accept seals made under these orders and for these verifier keys."""
        self._store = store
        self._writes = writes
        self._orders = orders
        self._verifier_key_ids = verifier_key_ids

    async def SubmitCandidates(  # noqa: N802 - gRPC's name
        self, request: candidate_service_pb2.SubmitCandidatesRequest, context: Any
    ) -> candidate_service_pb2.SubmitCandidatesResponse:
        """Keep what is well formed; say of each what became of it."""
        del context
        results = await self._keep(request.candidates)
        return candidate_service_pb2.SubmitCandidatesResponse(results=results)

    async def StreamCandidates(  # noqa: N802
        self,
        requests: AsyncIterator[candidate_service_pb2.StreamCandidatesRequest],
        context: Any,
    ) -> AsyncIterator[candidate_service_pb2.StreamCandidatesResponse]:
        """Keep batch after batch; answer each in turn."""
        del context

        async def begin(
            request: candidate_service_pb2.StreamCandidatesRequest,
        ) -> asyncio.Task[_Results]:
            return asyncio.create_task(self._keep(request.candidates))

        answers = streams.answered(requests, begin, idle_seconds=IDLE_SECONDS)
        async with contextlib.aclosing(answers):
            async for number, results in answers:
                yield _answer(number, results)

    async def _keep(
        self, batch: Sequence[candidate_pb2.Candidate]
    ) -> list[candidate_service_pb2.CandidateResult]:
        """Keep what is new and well formed; a result for each, once it is durable.

        A repeat is known by its id and its kind of seal alone: the first one stands, whatever the
        later one holds. A repeat of one that is put aside is refused as that one was.
        """
        # Threads: neither a read nor a full queue may hold up the event loop.
        ids = [candidate.candidate_id for candidate in batch]
        known = await asyncio.to_thread(self._store.known, ids)
        waiting = [one for one, seals in known.items() if True in seals]
        aside = await asyncio.to_thread(self._store.aside, waiting)
        read = [
            (candidate.HasField("threshold") and aside.get(candidate_id)) or REPEATED
            if candidate.HasField("threshold") in known.get(candidate_id, ())
            else self._read(candidate)
            for candidate_id, candidate in zip(ids, batch, strict=True)
        ]
        arrivals = [one for one in read if isinstance(one, Arrival)]
        outcomes: Iterator[str] = iter(())
        if arrivals:
            kept_as: list[str] = await self._writes(self._store.add, arrivals)
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


def check_submitted(data: bytes) -> None:
    """Look over a serialized SubmitCandidatesRequest; see `_check`."""
    _check(data, candidate_service_pb2.SubmitCandidatesRequest.CANDIDATES_FIELD_NUMBER)


def check_streamed(data: bytes) -> None:
    """Look over a serialized StreamCandidatesRequest; see `_check`."""
    _check(data, candidate_service_pb2.StreamCandidatesRequest.CANDIDATES_FIELD_NUMBER)


def _check(data: bytes, candidates_field: int) -> None:
    """Refuse a batch of too many candidates, or of those that would be many more objects.

    Raises:
        Refused: it is one, or no message at all.
    """
    count = 0
    try:
        for number, start, end in raw.fields(data):
            if number == candidates_field:
                count += 1
                _check_count(count)
                _check_fields(data, start, end)
    except raw.NoMessage:
        raise Refused("the request is no message of this method") from None


def _check_count(count: int) -> None:
    if count > MOST_CANDIDATES:
        raise Refused(f"too many candidates: send at most {MOST_CANDIDATES} in a batch")


def _check_fields(data: bytes, start: int, end: int) -> None:
    count = 0
    for field, first, last in raw.fields(data, start, end):
        count += 1
        if field == candidate_pb2.Candidate.THRESHOLD_FIELD_NUMBER:
            count += sum(1 for _ in raw.fields(data, first, last))
        if count > _MOST_FIELDS:
            raise Refused(f"a candidate of more than {_MOST_FIELDS} fields: no scan makes one")


def _answer(number: int, results: _Results) -> candidate_service_pb2.StreamCandidatesResponse:
    outcomes = Counter(result.outcome for result in results)
    rejected = candidate_service_pb2.SUBMIT_OUTCOME_REJECTED
    return candidate_service_pb2.StreamCandidatesResponse(
        batch_number=number,
        accepted_count=outcomes[candidate_service_pb2.SUBMIT_OUTCOME_ACCEPTED],
        duplicate_count=outcomes[candidate_service_pb2.SUBMIT_OUTCOME_DUPLICATE],
        rejected=[result for result in results if result.outcome == rejected],
    )


def _arrival(candidate: candidate_pb2.Candidate, seal: bytes | Record) -> Arrival:
    context = candidate.context
    known = (
        candidate.candidate_id, candidate.SerializeToString(), context.order_id, context.epoch,
        context.hit_day,
    )  # fmt: skip
    if not isinstance(seal, Record):
        return Arrival(*known)
    return Arrival(*known, seal.tag, points(candidate))


def _result(candidate_id: bytes, outcome: str) -> candidate_service_pb2.CandidateResult:
    if len(candidate_id) > vouchers.CANDIDATE_ID_BYTES:
        candidate_id = b""  # an answer holds no more of a call than ids
    if outcome in _TAKEN:
        return candidate_service_pb2.CandidateResult(
            candidate_id=candidate_id, outcome=_TAKEN[outcome]
        )
    return candidate_service_pb2.CandidateResult(
        candidate_id=candidate_id,
        outcome=candidate_service_pb2.SUBMIT_OUTCOME_REJECTED,
        reject_reason=_REASONS[outcome],
    )
