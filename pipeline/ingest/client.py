"""Sends a source to the front door: every row until it is answered, through whatever fails between.

A row is answered once the front door has it on disk. What was sent and not answered is sent again;
the front door knows repeats.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import grpc
import pyarrow.parquet as pq

from pipeline import keys, read
from pipeline.errors import ItemError, VerificationRefused, VerificationUnreachable
from pipeline.ingest.journal import Answer, Journal, Sent
from pipeline.rpc import retry, uploads
from pipeline.rpc.sluis.ingest.v1 import ingest_service_pb2 as messages
from pipeline.rpc.sluis.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from pipeline.rpc.status import wrapped

PARTY: Final = "the front door"
BATCH_ROWS: Final = 64
BATCH_BYTES: Final = 2 * 1024 * 1024
"""Of a batch, unless one item has more: answers, and with them the journal, keep coming."""

PATIENCE_SECONDS: Final = 600.0
"""Without a single answer; then the front door is given up for now."""
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 30.0

_TRY_AGAIN: Final = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,  # the front door was stopped while the stream was open
)
_OPTIONS: Final = [
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.max_send_message_length", -1),
]
_OUTCOMES: Final = {
    messages.UPLOAD_OUTCOME_ACCEPTED: "accepted",
    messages.UPLOAD_OUTCOME_REPEATED: "repeated",
    messages.UPLOAD_OUTCOME_SKIPPED: "skipped",
    messages.UPLOAD_OUTCOME_REFUSED: "refused",
}

Listener = Callable[[Sent], None]


def send(
    journal: Journal,
    address: str,
    key_folder: Path,
    *,
    listener: Listener,
    by_reference: bool = False,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Sent:
    """Send what the journal has no answer to yet.

    Args:
        journal: of the source.
        address: host:port of the front door.
        key_folder: the uploader's keys.
        listener: told of every answer.
        by_reference: send where local files are, for a scan that reaches them; not their bytes.
        patience_seconds: how long to go on without an answer.

    Raises:
        VerificationUnreachable: the front door was not to be had for so long; start again later.
        VerificationRefused: it answered, and does not take this caller's uploads.
    """
    channel = keys.identity(key_folder).channel(address, "ingest", _OPTIONS)
    try:
        service = IngestServiceStub(channel)
        pauses = _Pauses(patience_seconds)
        while not journal.is_complete:
            before = journal.sent.rows
            try:
                _stream(service, journal, by_reference, listener)
            except grpc.RpcError as error:
                if error.code() not in _TRY_AGAIN:
                    raise wrapped(error, address, PARTY) from None
                if journal.sent.rows > before:
                    pauses = _Pauses(patience_seconds)
                if not pauses.pause(retry.delay_seconds(error)):
                    raise VerificationUnreachable(
                        f"{PARTY} at {address} has taken nothing for {patience_seconds:.0f} "
                        f"seconds ({error.code().name.lower()}): see that it runs and that this is "
                        "its address; the same command goes on from here"
                    ) from None
        journal.finish()
    finally:
        channel.close()
    return journal.sent


class _Pauses:
    """Ever longer ones with some chance in them, so that clients do not come back all at once."""

    def __init__(self, patience_seconds: float) -> None:
        self._until = time.monotonic() + patience_seconds
        self._next = _FIRST_PAUSE_SECONDS

    def pause(self, asked_seconds: float | None) -> bool:
        """Wait, at least as long as asked; False once patience is over."""
        if time.monotonic() >= self._until:
            return False
        time.sleep(max(asked_seconds or 0.0, self._next * random.uniform(0.5, 1.0)))  # noqa: S311
        self._next = min(2 * self._next, _LONGEST_PAUSE_SECONDS)
        return True


def _stream(service: Any, journal: Journal, by_reference: bool, listener: Listener) -> None:
    """One stream: what is left of the source, until it ends or the stream breaks."""
    under_way: deque[int] = deque()

    def requests() -> Iterator[messages.StreamUploadsRequest]:
        for number, batch in enumerate(_batches(journal, by_reference), 1):
            under_way.append(len(batch))
            yield messages.StreamUploadsRequest(batch_number=number, uploads=batch)

    for answer in service.StreamUploads(requests()):
        if not under_way or len(answer.results) != under_way.popleft():
            raise VerificationRefused(
                f"{PARTY} answered another number of uploads than were sent: it is of another "
                "version"
            )
        journal.record([_answer(result) for result in answer.results])
        listener(journal.sent)


def _batches(journal: Journal, by_reference: bool) -> Iterator[list[messages.Upload]]:
    batch: list[messages.Upload] = []
    size = 0
    for row in _rows(journal):
        upload = uploads.to_message(row, None if by_reference else _content(row))
        length = len(upload.content)
        if batch and (len(batch) == BATCH_ROWS or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(upload)
        size += length
    if batch:
        yield batch


def _rows(journal: Journal) -> Iterator[dict[str, Any]]:
    """The rows that have no answer yet."""
    snapshot = journal.snapshot
    first, skip = divmod(journal.sent.rows, snapshot.chunk_rows)
    file = pq.ParquetFile(snapshot.path)
    for chunk in range(first, snapshot.chunks):
        yield from file.read_row_group(chunk).slice(skip if chunk == first else 0).to_pylist()


def _content(row: dict[str, Any]) -> bytes | None:
    """The bytes of a local file; None for what is not one, or cannot be read or sent as bytes.

    Its reference is sent then: the scan finds the same, and accounts for it.
    """
    uri = row["uri"]
    if row["url"] is not None or ("://" in uri and not uri.startswith("file://")):
        return None
    try:
        blob = read.read_item(uri)
    except ItemError:
        return None
    return bytes(blob) if len(blob) <= uploads.MOST_CONTENT_BYTES else None


def _answer(result: messages.UploadResult) -> Answer:
    outcome = _OUTCOMES.get(result.outcome)
    if outcome is None:
        raise VerificationRefused(f"{PARTY} gave an answer that is not known: upgrade this client")
    if outcome != "refused":
        return Answer(outcome, result.skip_reason)
    name = messages.RefuseReason.Name(result.refuse_reason)
    reason = name.removeprefix("REFUSE_REASON_").lower()
    return Answer(outcome, f"{reason}: {result.field}" if result.field else reason)
