"""Sends uploads when they are due, whatever became of the ones before: an open loop.

Users do not wait for one another. So a latency counts from the moment its upload was due, not from
when the driver came to send it: where the front door makes it wait, the wait is in the figure (no
coordinated omission). An upload that is sent away is sent again, still counted from when it was
due, and noted.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

from pipeline import keys
from pipeline.errors import LoadTestFailed
from pipeline.loadtest.mixture import Upload
from pipeline.rpc import retry, uploads
from pipeline.rpc.sluis.ingest.v1 import ingest_service_pb2 as messages
from pipeline.rpc.sluis.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub

STREAMS: Final = 4  # the front door takes 8 of one party
PATIENCE_SECONDS: Final = 60.0
"""Without one answer while some are awaited; then the drive has failed."""
_BATCH_UPLOADS: Final = 64
_BATCH_BYTES: Final = 2 * 1024 * 1024
"""Of uploads that are due already; one that is due alone goes alone."""
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 5.0
_TRY_AGAIN: Final = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
)


@dataclass(frozen=True)
class Answered:
    """How a drive ended.

    Attributes:
        began_at: time of day (UNIX) at which it began.
        delays: of each upload, when it was due and how many seconds later it was acknowledged.
        late: seconds that the driver itself was behind when it handed an upload over.
        outcomes: accepted, repeated, skipped, refused.
        sent_away: calls that were told to come again, or broke.
    """

    began_at: float
    delays: list[tuple[float, float]]
    late: list[float]
    outcomes: Counter[str]
    sent_away: int


class Driver:
    """The uploader's connection to a front door."""

    def __init__(self, address: str, key_folder: Path) -> None:
        """Connect lazily.

        Raises:
            KeysRefused: the folder is not the uploader's.
        """
        self._channel = keys.identity(key_folder).channel(
            address, "ingest", [("grpc.max_send_message_length", -1)]
        )
        self._service = IngestServiceStub(self._channel)

    def drive(self, plan: Sequence[Upload], part: str) -> Answered:
        """Send every upload when it is due; back once all are answered.

        Args:
            plan: in the order they are due.
            part: of the service, as the order names it.

        Raises:
            LoadTestFailed: the front door refuses the call, or answers no more.
        """
        began_at, began = time.time(), time.monotonic()
        streams = [_Stream(self._service, part, began) for _ in range(STREAMS)]
        late: list[float] = []
        try:
            for number, upload in enumerate(plan):
                wait = began + upload.due_seconds - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
                late.append(max(0.0, time.monotonic() - began - upload.due_seconds))
                streams[number % STREAMS].put(upload)
            for stream in streams:
                stream.end()
            for stream in streams:
                stream.join()
        except BaseException:  # Ctrl-C too
            for stream in streams:
                stream.give_up()
            raise
        return Answered(
            began_at,
            sorted(delay for stream in streams for delay in stream.delays),
            late,
            sum((stream.outcomes for stream in streams), Counter()),
            sum(stream.sent_away for stream in streams),
        )

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


class _Stream:
    """One stream of uploads, in a thread of its own; again and again until all are answered.

    gRPC asks for the next batch in a thread that may outlive its call. So a batch is taken under
    the lock and for a numbered attempt: one that is over gets nothing more.
    """

    def __init__(self, service: Any, part: str, began: float) -> None:
        self.delays: list[tuple[float, float]] = []
        self.outcomes: Counter[str] = Counter()
        self.sent_away = 0
        self._service = service
        self._part = part
        self._began = began
        self._changed = threading.Condition()
        self._due: deque[Upload] = deque()
        self._under_way: deque[list[Upload]] = deque()
        self._is_ended = False
        self._attempt = 0
        self._news_at = time.monotonic()
        self._failed: LoadTestFailed | None = None
        self._thread = threading.Thread(target=self._work, name="uploads", daemon=True)
        self._thread.start()

    def put(self, upload: Upload) -> None:
        """Send it now."""
        with self._changed:
            if not self._due and not self._under_way:
                self._news_at = time.monotonic()
            self._due.append(upload)
            self._changed.notify()

    def end(self) -> None:
        """No more comes."""
        with self._changed:
            self._is_ended = True
            self._changed.notify()

    def give_up(self) -> None:
        """Whatever is not answered."""
        with self._changed:
            self._is_ended = True
            self._forget_attempt()
            self._due.clear()

    def join(self) -> None:
        """Wait until all is answered.

        Raises:
            LoadTestFailed: it will not be.
        """
        while self._thread.is_alive():
            self._thread.join(1.0)
            awaited = time.monotonic() - self._news_at
            if self._thread.is_alive() and awaited > PATIENCE_SECONDS:
                raise LoadTestFailed(
                    f"the front door has answered nothing for {awaited:.0f} seconds"
                )
        if self._failed is not None:
            raise self._failed

    def _work(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._is_done():
            try:
                for answer in self._service.StreamUploads(self._requests(self._attempt)):
                    self._take(answer)
                    pause = _FIRST_PAUSE_SECONDS
            except grpc.RpcError as error:
                if error.code() not in _TRY_AGAIN:
                    self._failed = LoadTestFailed(
                        f"the front door refuses uploads: {error.code().name.lower()}"
                    )
                    return
                self.sent_away += 1
                time.sleep(max(retry.delay_seconds(error) or 0.0, pause))
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            with self._changed:
                self._forget_attempt()

    def _forget_attempt(self) -> None:
        """What it had begun and has no answer goes first in the next one, in its order."""
        self._attempt += 1
        self._due.extendleft(one for batch in reversed(self._under_way) for one in reversed(batch))
        self._under_way.clear()
        self._changed.notify_all()

    def _is_done(self) -> bool:
        with self._changed:
            return self._is_ended and not self._due and not self._under_way

    def _requests(self, attempt: int) -> Iterator[messages.StreamUploadsRequest]:
        number = 0
        while batch := self._next_batch(attempt):
            number += 1
            yield messages.StreamUploadsRequest(
                batch_number=number, uploads=[as_message(one, self._part) for one in batch]
            )

    def _next_batch(self, attempt: int) -> list[Upload]:
        """All that is due, within bounds: at least one upload, unless no more comes."""
        with self._changed:
            while not (self._due or self._is_ended or self._attempt != attempt):
                self._changed.wait()
            batch: list[Upload] = []
            size = 0
            while self._attempt == attempt and self._due and len(batch) < _BATCH_UPLOADS:
                size += len(self._due[0].content.data)
                if batch and size > _BATCH_BYTES:
                    break
                batch.append(self._due.popleft())
            if batch:
                self._under_way.append(batch)
            return batch

    def _take(self, answer: messages.StreamUploadsResponse) -> None:
        now = time.monotonic()
        with self._changed:
            self._news_at = now
            batch = self._under_way.popleft() if self._under_way else []
            if not batch:  # given up
                return
        for upload, result in zip(batch, answer.results, strict=True):
            self.delays.append((upload.due_seconds, now - self._began - upload.due_seconds))
            name = messages.UploadOutcome.Name(result.outcome)
            self.outcomes[name.removeprefix("UPLOAD_OUTCOME_").lower()] += 1


def as_message(upload: Upload, part: str) -> messages.Upload:
    """An upload as it goes over the wire, each from an account of its own."""
    row = {
        "item_id": upload.item_id,
        "account_id": f"account-of-{upload.item_id}",
        "kind": upload.content.kind,
        "part": part,
        "uploaded_at": None,
        "encryption": "none" if upload.is_covered else "e2ee",
        "account_class": "ordinary",
        "consent": "given",
        "user_notice": None,
        "url": None,
    }
    return uploads.to_message(row, upload.content.data + upload.mark)
