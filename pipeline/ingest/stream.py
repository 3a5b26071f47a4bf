"""The streaming scan: the batch scan's own composition, over uploads as they arrive.

    upload log ─► Gate ─► OpenMatchSeal ─► Emit ─► Account ─► the log forgets

It runs for ever, in runs of the engine that end after half a minute and follow one another: one
fused stage each, with nothing in flight between two. A batch is scanned, its candidates are
durable at verification, its counts are on disk, and only then does the log forget its uploads.
Whatever dies in between is done again; candidates and counts know that they were there before.

When verification does not answer, the batch at hand waits and the log grows. Nothing is dropped,
and nothing but that batch is held in memory.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from matchers.indicators import VersionLedger
from pipeline import order as orders
from pipeline import scan
from pipeline.errors import VerificationUnreachable
from pipeline.ingest import live_sets
from pipeline.ingest.accounts import Accounts, accounts_folder, batch_name
from pipeline.ingest.attempts import Attempts
from pipeline.ingest.batch_size import MOST_BYTES, MOST_ROWS, BatchSize
from pipeline.ingest.current import resolve
from pipeline.ingest.live_sets import LiveSets
from pipeline.ingest.source import Uploads, feed_of, registered
from pipeline.ingest.stream_metrics import Meters
from pipeline.ingest.troubles import Troubles
from pipeline.ingest.upload_log import Backlog, Position, Taken, UploadLogReader
from pipeline.items import CANDIDATE, FAILURE, ITEMS, OUTCOMES
from pipeline.resources import ScanConfig, release_resources, resources_for
from pipeline.scan import Arrival, Batch

RUN_SECONDS: Final = 30.0
RUN_BUNDLES: Final = 250
"""A run of the engine ends after so much: Beam keeps some 40 KB of each bundle until then."""

WAIT_SECONDS: Final = 0.25
"""How long to wait for an upload before looking whether to stop."""

_MEASURE_SECONDS: Final = 0.5
"""Between two looks at the backlog."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """What a streaming scan is started with.

    Attributes:
        log: folder of the upload log; the accounts are kept in it.
        order_file: the detection order; looked at again and again.
        places: indicator sets, see `live_sets`.
        ledger: file of the set versions already used.
        config: everything else; its order and sets are those of the files when it starts.
        most_rows: largest micro-batch.
        drain: end once the log is empty.
        look_seconds: between two looks at the places and the order file.
    """

    log: Path
    order_file: Path
    places: tuple[Path, ...]
    ledger: Path
    config: ScanConfig
    most_rows: int = MOST_ROWS
    drain: bool = False
    look_seconds: float = live_sets.LOOK_SECONDS


def scan_uploads(settings: StreamSettings, stop: threading.Event, meters: Meters) -> None:
    """Scan what is in the upload log and what comes, until `stop` is set.

    Args:
        settings: what to scan, and with what.
        stop: set it to end after the batch at hand.
        meters: told of everything that happens.

    Raises:
        SluisError: what the scan cannot start with, or a defect; the log is as it was.
    """
    with contextlib.closing(UploadLogReader(settings.log)) as reader:
        accounts = Accounts(accounts_folder(settings.log))
        reader.advance(accounts.settled(reader.position))
        accounts.fold()  # what a scan that was killed has left
        first = True
        while not stop.is_set():
            stream = _Stream(settings, stop, meters, reader, accounts)
            try:
                if first:
                    stream.check_verification()
                if stream.goes_on_until_empty_or_changed():
                    return
            finally:
                stream.close()
            first = False


class _Stream:
    """The scan under one order: run after run of the engine, and the feed of each."""

    def __init__(
        self,
        settings: StreamSettings,
        stop: threading.Event,
        meters: Meters,
        reader: UploadLogReader,
        accounts: Accounts,
    ) -> None:
        """Verify the order and the sets as they are on disk now."""
        self._settings = settings
        self._stop = stop
        self._meters = meters
        self._reader = reader
        self._reading = threading.Lock()  # the engine's thread reads, this one looks at the backlog
        self._accounts = accounts
        self._attempts = Attempts(accounts_folder(settings.log) / "attempt.json")
        self._size = BatchSize(settings.most_rows)
        self._clock = settings.config.clock
        self._begun_at = 0.0
        self._cannot_forget: Exception | None = None
        order = orders.load(settings.order_file)
        self._in_force = order.is_in_force(self._clock().date())
        # Under an order that is not in force every upload is skipped: no indicators are needed.
        places = settings.places if self._in_force else ()
        sets = tuple(resolve(place) for place in places)
        self._config = replace(settings.config, order=order, sets=sets)
        self._resources = resources_for(self._config)
        if self._in_force:
            _log.info("decoders are confined by %s", self._resources.sandbox.confinement)
            if self._resources.ledger is not None:
                self._resources.ledger.prepare()
        ledger = VersionLedger(settings.ledger)
        ledger.accept([found.manifest for found in self._resources.sets])
        self._live = LiveSets(
            places, settings.order_file, self._config, ledger, self._resources.sets
        )
        self._troubles = Troubles(
            self._resources.emitter, self._attempts, stop, meters, self._measure
        )
        if not self._in_force:
            _log.error(
                "order %s is in force from %s to %s: uploads are skipped, and never opened",
                order.reference,
                order.valid_from,
                order.valid_until,
            )

    def close(self) -> None:
        """Let go of sets, keys and channel."""
        release_resources(self._config)

    def check_verification(self) -> None:
        """Wait for verification to answer.

        Raises:
            VerificationRefused: it does, and does not take candidates from here.
        """
        try:
            self._resources.emitter.check()
            self._meters.verification_up.set(1)
        except VerificationUnreachable:
            self._troubles.wait_for_verification()

    def goes_on_until_empty_or_changed(self) -> bool:
        """Run the engine again and again; whether it is over, or only the order another."""
        self._measure()
        with self._live.followed(self._settings.look_seconds):
            while not self._changed():
                if self._stop.is_set() or self._is_drained():
                    return True
                failure = self._run()
                self._accounts.fold()
                if failure is not None:
                    self._troubles.recover(failure)
        return False

    def _changed(self) -> bool:
        """Whether the order is another, or begins or ceases to be in force: all is loaded anew."""
        if self._live.is_suspended:  # there is no order to load, and nothing is opened
            return False
        in_force = self._config.order.is_in_force(self._clock().date())
        return self._live.order_changed.is_set() or in_force != self._in_force

    def _is_drained(self) -> bool:
        return self._settings.drain and self._backlog().rows == 0

    def _backlog(self) -> Backlog:
        with self._reading:
            return self._reader.backlog()

    # --- one run of the engine ---

    def _run(self) -> BaseException | None:
        """Run the engine once, in a thread, so that signals reach this one; what it failed with."""
        failure: list[BaseException] = []
        # What has its outcome is not scanned again, also if the run before failed just after it.
        self._reader.advance(self._accounts.settled(self._reader.position))
        self.position = self._reader.position
        self.over = False
        self._bundles = 0
        self._cannot_forget = None
        self._ends_at = time.monotonic() + RUN_SECONDS

        def engine() -> None:
            try:
                with (
                    registered(self) as number,
                    beam.Pipeline(
                        runner=FnApiRunner(), options=PipelineOptions(["--streaming"])
                    ) as pipeline,
                ):
                    _ = (
                        pipeline
                        | "Uploads" >> Uploads(number)
                        | "Scan" >> scan.Scan(self._config, self._accounts.outcomes)
                        | "Finished" >> beam.Map(_finish, number)
                    )
            except BaseException as error:  # noqa: BLE001 - handed to the other thread
                failure.append(error)

        thread = threading.Thread(target=engine, name="engine")
        thread.start()
        while thread.is_alive():
            thread.join(_MEASURE_SECONDS)
            self._measure()
        return failure[0] if failure else None

    def _measure(self) -> None:
        self._meters.state(
            self._backlog(),
            self._resources.order,
            self._resources.sets,
            self._size.rows,
            self._clock(),
        )

    # --- the feed of a run, see `source.Feed` ---

    def take(self) -> Batch | None:
        """The next micro-batch; None if none has come within a moment, or none is to come."""
        self._bundles += 1
        if self._cannot_forget is not None:
            raise self._cannot_forget
        self.over = (
            self._stop.is_set()
            or self._changed()
            or self._bundles > RUN_BUNDLES
            or time.monotonic() > self._ends_at
        )
        if self.over:
            return None
        self._live.take_over(self._resources)
        start = self.position
        attempt = self._attempts.next(start)
        rows = 1 if attempt.alone else self._size.rows
        with self._reading:
            taken = self._reader.read(start, rows, MOST_BYTES, WAIT_SECONDS)
        if taken is None:
            self.over = self._is_drained()
            return None
        self._begun_at = time.monotonic()
        self.position = taken.next
        batch = as_batch(batch_name(start, taken.next), taken)
        if attempt.hopeless:
            self._give_up(batch)
            return None
        self._attempts.begin(attempt, taken.next)
        return batch

    def finished(self, batch: Batch) -> None:
        """The batch has its outcome, durably."""
        rows = batch.rows["inner"].null_count  # what is inside an upload is part of its work
        self._size.took(rows, time.monotonic() - self._begun_at)
        self._meters.batch(batch, self._clock())
        self._troubles.are_over(candidates_sent=CANDIDATE in batch.rows["outcome"].to_pylist())

    def forget(self, before: Position) -> None:
        """Everything before this place has its outcome, and the bundle that made it has ended."""
        try:
            with self._reading:
                self._reader.advance(before)
        except Exception as error:  # noqa: BLE001 - Beam would only log it; the next take raises it
            self._cannot_forget = error

    def _give_up(self, batch: Batch) -> None:
        """The upload on which the scan fails again and again fails by name, unopened."""
        _log.error("an upload is given up, on which the scan has failed again and again")
        self._meters.given_up.inc()
        outcomes = [
            {"item_id": name, "outcome": FAILURE, "stage": "scan", "reason": "gave_up"}
            for name in batch.rows["item_id"].to_pylist()
        ]
        failed = replace(batch, rows=pa.RecordBatch.from_pylist(outcomes, OUTCOMES))
        self.finished(scan.account(failed, self._accounts.outcomes))


def _finish(batch: Batch, number: int) -> None:
    feed_of(number).finished(batch)


def as_batch(name: str, taken: Taken) -> Batch:
    """Uploads as the log has them -> what the scan takes."""
    rows = taken.batch
    arrival = Arrival(rows["content"], rows["received_at"], rows["skip_reason"], taken.lost_rows)
    return Batch(name, rows.select(ITEMS.names), arrival)
