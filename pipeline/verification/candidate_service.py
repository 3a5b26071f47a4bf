"""Takes sealed candidates from the scan: well-formed ones are kept, each gets its answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import grpc

from pipeline.rpc import candidates
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

MOST_CANDIDATES: Final = 1_000
_BATCHES_AHEAD: Final = 8
"""Batches of one stream that are read before the first of them is answered."""

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


T = TypeVar("T")

_Results = list[candidate_service_pb2.CandidateResult]


@dataclass(frozen=True)
class _Batch:
    """A batch of a stream that is being kept."""

    number: int
    results: asyncio.Task[_Results]


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
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _too_many(request.candidates))
        results = await self._keep(request.candidates)
        return candidate_service_pb2.SubmitCandidatesResponse(results=results)

    async def StreamCandidates(  # noqa: N802
        self,
        requests: AsyncIterator[candidate_service_pb2.StreamCandidatesRequest],
        context: Any,
    ) -> AsyncIterator[candidate_service_pb2.StreamCandidatesResponse]:
        """Keep batch after batch; answer each in turn.

        A task of its own reads, so that answers never wait for the next batch to come: a client
        that waits for each answer goes on, and one that waits for none is held back by the queue.
        """
        batches: asyncio.Queue[_Batch | str | None] = asyncio.Queue(_BATCHES_AHEAD)
        tasks: set[asyncio.Task[Any]] = set()

        def start(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
            task = asyncio.create_task(work)
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            return task

        async def read() -> None:
            """A fault of the stream comes after the answers to what was right."""
            try:
                last = 0
                async for request in requests:
                    fault = _fault(request, last)
                    if fault is not None:
                        await batches.put(fault)
                        return
                    last += 1
                    await batches.put(_Batch(last, start(self._keep(request.candidates))))
                await batches.put(None)
            except Exception:  # noqa: BLE001 - whatever ends the requests ends the answers
                await batches.put("the stream broke off")

        start(read())
        try:
            while (batch := await batches.get()) is not None:
                if isinstance(batch, str):
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, batch)
                else:
                    yield _answer(batch.number, await batch.results)
        finally:
            for task in list(tasks):
                task.cancel()

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


def _too_many(batch: Sequence[candidate_pb2.Candidate]) -> str:
    return f"{len(batch)} candidates: send at most {MOST_CANDIDATES} in a batch"


def _fault(request: candidate_service_pb2.StreamCandidatesRequest, last: int) -> str | None:
    if len(request.candidates) > MOST_CANDIDATES:
        return _too_many(request.candidates)
    if request.batch_number != last + 1:
        return f"batch {request.batch_number} after {last}: count up by 1, from 1"
    return None


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
    if outcome in _TAKEN:
        return candidate_service_pb2.CandidateResult(
            candidate_id=candidate_id, outcome=_TAKEN[outcome]
        )
    return candidate_service_pb2.CandidateResult(
        candidate_id=candidate_id,
        outcome=candidate_service_pb2.SUBMIT_OUTCOME_REJECTED,
        reject_reason=_REASONS[outcome],
    )
