"""The front door: takes uploads over mutual TLS, and answers once they are in the upload log."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import grpc

from pipeline import keys
from pipeline.errors import SluisError
from pipeline.ingest import metrics
from pipeline.ingest.gatekeeper import LOOK_SECONDS, Gatekeeper, GateShut
from pipeline.ingest.intake import Intake
from pipeline.ingest.room import NoRoom, Room
from pipeline.ingest.upload_log import LogClosed, LogFault, LogFull, UploadLog
from pipeline.ingest.upload_log.folder import bytes_on_disk
from pipeline.rpc import raw, retry, streams
from pipeline.rpc.admission import Refused
from pipeline.rpc.server import HEALTH_CHECK, run
from pipeline.rpc.sluis.ingest.v1 import ingest_service_pb2 as messages
from pipeline.rpc.sluis.ingest.v1 import ingest_service_pb2_grpc
from pipeline.rpc.tls import peer_name
from pipeline.rpc.upkeep import Upkeep
from pipeline.rpc.uploads import MOST_CONTENT_BYTES

MOST_UPLOADS: Final = 256
"""In a batch."""
MOST_MESSAGE_BYTES: Final = MOST_CONTENT_BYTES + 2 * 1024 * 1024
"""The longest content, and what else its batch says."""
MOST_STREAMS: Final = 8  # of one party
_MOST_CALLS: Final = 16  # of one party, likewise
_MOST_FIELDS: Final = 16  # an upload has 10
IDLE_SECONDS: Final = 300.0

_BUSY_SECONDS, _FULL_SECONDS, _SHUT_SECONDS = 1.0, 5.0, 2.0
"""When to come again: a moment for the queue, longer for the scan to make room."""
_SAY_SECONDS: Final = 60.0
"""Between two lines of the log on the same trouble."""

_SERVICE: Final = "/sluis.ingest.v1.IngestService/"
SUBMIT, STREAM = _SERVICE + "SubmitUploads", _SERVICE + "StreamUploads"
ALLOWED: Final = {
    SUBMIT: frozenset({"uploader"}),
    STREAM: frozenset({"uploader"}),
    HEALTH_CHECK: frozenset({"uploader", "emitter"}),
}
"""Who may call what; everything else is denied."""

_log = logging.getLogger(__name__)


class IngestService(ingest_service_pb2_grpc.IngestServiceServicer):
    """Takes uploads."""

    def __init__(
        self, intake: Intake, room: Room, door_metrics: metrics.DoorMetrics, closing: asyncio.Event
    ) -> None:
        """Serve until `closing` is set; then answer what was read, and read no more."""
        self._intake = intake
        self._room = room
        self._metrics = door_metrics
        self._closing = closing
        self._said: dict[str, float] = {}

    async def SubmitUploads(  # noqa: N802 - gRPC's name
        self, request: messages.SubmitUploadsRequest, context: Any
    ) -> messages.SubmitUploadsResponse:
        """Keep a batch."""
        try:
            keeping = await self._begin(peer_name(context), request.uploads)
            return messages.SubmitUploadsResponse(results=await keeping)
        except SluisError as error:
            await self._send_away(context, error)

    async def StreamUploads(  # noqa: N802
        self, requests: AsyncIterator[messages.StreamUploadsRequest], context: Any
    ) -> AsyncIterator[messages.StreamUploadsResponse]:
        """Keep batch after batch; answer each in turn."""
        party = peer_name(context)
        answers = streams.answered(
            requests,
            lambda request: self._begin(party, request.uploads),
            closing=self._closing,
            idle_seconds=IDLE_SECONDS,
        )
        try:
            async with contextlib.aclosing(answers):
                async for number, results in answers:
                    yield messages.StreamUploadsResponse(batch_number=number, results=results)
        except (SluisError, streams.Stopping) as error:
            await self._send_away(context, error)

    async def _begin(
        self, party: str, batch: Sequence[messages.Upload]
    ) -> asyncio.Task[list[messages.UploadResult]]:
        """Wait for room; then begin to keep the batch.

        Raises:
            NoRoom: too much is under way.
        """
        arrived = time.monotonic()
        content_bytes = sum(len(upload.content) for upload in batch)
        size = await self._room.take(party, len(batch), content_bytes)

        async def keep() -> list[messages.UploadResult]:
            results = await self._intake.keep(batch)
            self._metrics.acknowledged_seconds.observe(time.monotonic() - arrived)
            return results

        task = asyncio.create_task(keep())
        task.add_done_callback(lambda _task: self._room.give(party, size))
        return task

    async def _send_away(self, context: Any, error: Exception) -> NoReturn:
        """Say when to come again: the client has everything still, nothing is dropped."""
        if isinstance(error, NoRoom):
            cause, code, seconds = "busy", grpc.StatusCode.RESOURCE_EXHAUSTED, _BUSY_SECONDS
            text = "the front door is busy: send again, a little slower"
        elif isinstance(error, LogFull):
            cause, code, seconds = "log_full", grpc.StatusCode.RESOURCE_EXHAUSTED, _FULL_SECONDS
            text = "the upload log is full until the scan makes room: send again later"
        elif isinstance(error, GateShut | LogFault | LogClosed | streams.Stopping):
            cause, code, seconds = "closed", grpc.StatusCode.UNAVAILABLE, _SHUT_SECONDS
            text = "the front door takes nothing now: send again later"
        else:
            raise error
        self._metrics.sent_away.labels(cause).inc()
        if isinstance(error, SluisError) and self._is_news(cause):
            _log.warning("uploads are sent away (%s): %s", cause, error)
        await retry.later(context, code, text, seconds)

    def _is_news(self, cause: str) -> bool:
        now = time.monotonic()
        if now - self._said.get(cause, -_SAY_SECONDS) < _SAY_SECONDS:
            return False
        self._said[cause] = now
        return True


def check_submitted(data: bytes) -> None:
    """Look over a serialized SubmitUploadsRequest; see `_check`."""
    _check(data, messages.SubmitUploadsRequest.UPLOADS_FIELD_NUMBER)


def check_streamed(data: bytes) -> None:
    """Look over a serialized StreamUploadsRequest; see `_check`."""
    _check(data, messages.StreamUploadsRequest.UPLOADS_FIELD_NUMBER)


def _check(data: bytes, uploads_field: int) -> None:
    """Refuse a batch of too many uploads, or of those that would be many more objects.

    Raises:
        Refused: it is one, or no message at all.
    """
    count = 0
    try:
        for number, start, end in raw.fields(data):
            if number == uploads_field:
                count += 1
                if count > MOST_UPLOADS:
                    raise Refused(f"too many uploads: send at most {MOST_UPLOADS} in a batch")
                if sum(1 for _ in raw.fields(data, start, end)) > _MOST_FIELDS:
                    raise Refused(f"an upload of more than {_MOST_FIELDS} fields")
    except raw.NoMessage:
        raise Refused("the request is no message of this method") from None


async def serve(
    *,
    address: str,
    key_folder: Path,
    log_folder: Path,
    order_file: Path,
    sets: Sequence[Path],
    quota_bytes: int,
    segment_bytes: int,
    metrics_address: str | None,
    ready: Callable[[int], None],
    stop: Callable[[], Coroutine[Any, Any, None]],
    clock: Callable[[], dt.datetime],
) -> None:
    """Serve until `stop` returns; then answer what was read, and close the log.

    Args:
        address: host:port to listen on; port 0 takes a free one.
        key_folder: the front door's keys.
        log_folder: of the upload log.
        order_file: the detection order; read again when it changes.
        sets: indicator sets, of which only the manifests are read, likewise.
        quota_bytes: of the upload log.
        segment_bytes: of one of its segments.
        metrics_address: host:port for Prometheus; None: no metrics are served.
        ready: called with the port once it serves.
        stop: awaited.
        clock: tells the time.

    Raises:
        KeysRefused, OrderRefused, IndicatorSetError, LogRefused, LogFull: as their loaders say.
        CannotListen: an address is taken.
    """
    credentials = keys.identity(key_folder).server_credentials()
    gatekeeper = Gatekeeper(order_file, sets, key_folder, clock)
    door_metrics = metrics.DoorMetrics()
    room = Room()
    closing = asyncio.Event()
    looking = Upkeep("looking for a changed order", gatekeeper.look, LOOK_SECONDS)
    with contextlib.ExitStack() as at_end:
        log = UploadLog(
            log_folder, segment_bytes=segment_bytes, quota_bytes=quota_bytes, clock=clock
        )
        at_end.callback(log.close)
        intake = Intake(log, gatekeeper, door_metrics)
        at_end.callback(intake.close)
        _watch(door_metrics, room, log)
        if metrics_address is not None:
            at_end.callback(metrics.serve(door_metrics.registry, metrics_address))
        looks = asyncio.create_task(looking.run())
        at_end.callback(looks.cancel)

        async def stop_and_close() -> None:
            await stop()
            closing.set()

        async def is_healthy() -> bool:
            return log.is_well and gatekeeper.is_open and looking.is_well

        await run(
            lambda server: ingest_service_pb2_grpc.add_IngestServiceServicer_to_server(
                IngestService(intake, room, door_metrics, closing), server
            ),
            address=address,
            credentials=credentials,
            allowed=ALLOWED,
            most_message_bytes=MOST_MESSAGE_BYTES,
            ready=ready,
            stop=stop_and_close,
            limits={SUBMIT: check_submitted, STREAM: check_streamed},
            most_streams={STREAM: MOST_STREAMS, SUBMIT: _MOST_CALLS},
            is_healthy=is_healthy,
        )


def _watch(door_metrics: metrics.DoorMetrics, room: Room, log: UploadLog) -> None:
    door_metrics.watch(
        "sluis_ingest_in_flight_bytes", "Read, and not yet on disk.", lambda: room.held_bytes
    )
    door_metrics.watch(
        "sluis_ingest_waiting_bytes", "In the log's queue.", lambda: log.waiting_bytes
    )
    door_metrics.watch(
        "sluis_upload_log_bytes", "Of the upload log on disk.", lambda: bytes_on_disk(log.folder)
    )
