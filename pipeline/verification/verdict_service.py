"""Verdicts out to the provider's report desk, in sequence, and what became of them back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc

from pipeline.rpc.pages import PAGE_BYTES, within
from pipeline.rpc.sluis.verification.v1 import (
    verdict_service_pb2,
    verdict_service_pb2_grpc,
)
from pipeline.rpc.tls import peer_name
from pipeline.text import has_control
from pipeline.verification.decisions import CLOSED, REPORTED, AlreadyRecorded, Decisions, OutOfTurn
from pipeline.verification.store import NotFound
from pipeline.verification.writes import Writes

MOST_NOTE_CHARACTERS: Final = 500
POLL_SECONDS: Final = 0.5
"""How soon a watcher hears of a verdict, also of one that another process has made."""
HEARTBEAT_SECONDS: Final = 15.0

_PAGE: Final = 100
_STATES: Final = {
    verdict_service_pb2.PROGRESS_REPORTED: REPORTED,
    verdict_service_pb2.PROGRESS_CLOSED: CLOSED,
}


class VerdictService(verdict_service_pb2_grpc.VerdictServiceServicer):
    """Serves verdicts to the report desk."""

    def __init__(self, decisions: Decisions, writes: Writes, closing: asyncio.Event) -> None:
        """Serve over `decisions`; streams end when `closing` is set."""
        self._decisions = decisions
        self._writes = writes
        self._closing = closing

    async def ListVerdicts(  # noqa: N802 - gRPC's name
        self, request: verdict_service_pb2.ListVerdictsRequest, context: Any
    ) -> verdict_service_pb2.ListVerdictsResponse:
        """A page in sequence."""
        size = request.page_size or _PAGE
        await _check_cursor(request.order_id, request.after_sequence, context)
        if size > 1000:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "page_size is 1 to 1000")
        verdicts, head = await asyncio.to_thread(
            self._decisions.verdicts, request.order_id, request.after_sequence, size
        )
        return verdict_service_pb2.ListVerdictsResponse(
            verdicts=within(PAGE_BYTES, verdicts), head_sequence=head
        )

    async def WatchVerdicts(  # noqa: N802
        self, request: verdict_service_pb2.WatchVerdictsRequest, context: Any
    ) -> AsyncIterator[verdict_service_pb2.WatchVerdictsResponse]:
        """Every verdict after a sequence, as it is made; heartbeats in between."""
        await _check_cursor(request.order_id, request.after_sequence, context)
        after, silent = request.after_sequence, HEARTBEAT_SECONDS  # the first answer comes at once
        while not self._closing.is_set():
            verdicts, head = await asyncio.to_thread(
                self._decisions.verdicts, request.order_id, after, _PAGE
            )
            for verdict in verdicts:
                yield verdict_service_pb2.WatchVerdictsResponse(verdict=verdict, head_sequence=head)
                after, silent = verdict.sequence, 0.0
            if verdicts:
                continue
            if silent >= HEARTBEAT_SECONDS:
                yield verdict_service_pb2.WatchVerdictsResponse(head_sequence=head)
                silent = 0.0
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), POLL_SECONDS)
            silent += POLL_SECONDS

    async def RecordProgress(  # noqa: N802
        self, request: verdict_service_pb2.RecordProgressRequest, context: Any
    ) -> verdict_service_pb2.RecordProgressResponse:
        """Record that a report was sent, or a case closed."""
        state = _STATES.get(request.progress)
        note = request.note.strip()
        if state is None or not note or has_control(note) or len(note) > MOST_NOTE_CHARACTERS:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                "progress is REPORTED or CLOSED, with a note (under which number, or why) of one "
                f"line and at most {MOST_NOTE_CHARACTERS} characters",
            )
        try:
            recorded_at = await self._writes(
                self._decisions.record, request.candidate_id, str(state), note, peer_name(context)
            )
        except NotFound as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except AlreadyRecorded as error:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, str(error))
        except OutOfTurn as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        answer = verdict_service_pb2.RecordProgressResponse(progress=request.progress)
        answer.record_time.FromSeconds(recorded_at)
        return answer


async def _check_cursor(order_id: bytes, after: int, context: Any) -> None:
    if len(order_id) != 16 or after >= 2**63:
        await context.abort(
            grpc.StatusCode.INVALID_ARGUMENT, "order_id has 16 bytes, after_sequence < 2**63"
        )
