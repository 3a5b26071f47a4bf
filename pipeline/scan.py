"""The scan, as Beam carries it: a batch of rows in, its counts out.

    Gate ─► OpenMatchSeal ─► Emit ─► Account

Where batches come from is the caller's: `pipeline.run` loads references from a snapshot, and
`pipeline.ingest.stream` takes uploads from their log. No state, no shuffle of anything but
references, idempotent at the end: any runner can run it, any batch can be run again. Pixels, codes
and hits live and die inside OpenMatchSeal; what comes out of it is sealed. Elements are batches of
rows (Arrow), never single items.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from matchers.files import sync_folder
from pipeline import opening
from pipeline.emit import Emitter
from pipeline.errors import (
    AccountingError,
    RunInterrupted,
    VerificationRefused,
)
from pipeline.gate import gate
from pipeline.items import CANDIDATE, FAILURE, GATED, OUTCOMES, SKIPPED, Tally
from pipeline.ledger.again import Again
from pipeline.matching import Matching
from pipeline.resources import Resources, ScanConfig, resources_for
from pipeline.rpc.sluis.verification.v1 import candidate_pb2, candidate_service_pb2

STOP: Final = threading.Event()
"""Set to stop the scans of this process after the batch at hand."""

_FAULTS_OF_THE_RUN: Final = (
    candidate_service_pb2.REJECT_REASON_KEY_UNKNOWN,
    candidate_service_pb2.REJECT_REASON_POLICY_MISMATCH,
    candidate_service_pb2.REJECT_REASON_ORDER_UNKNOWN,
)
_OUTLIVED: Final = (
    candidate_service_pb2.REJECT_REASON_EXPIRED,
    candidate_service_pb2.REJECT_REASON_EPOCH_CLOSED,
)
"""Nothing went wrong: the hit has waited long enough, or nothing of its epoch can be new."""


@dataclass(frozen=True)
class Slice:
    """A reference to some rows of a snapshot: what a runner may spread over workers."""

    snapshot: str
    chunk: int
    offset: int
    length: int

    @property
    def name(self) -> str:
        """Stable name of the batch."""
        return f"{self.chunk:06d}-{self.offset:06d}-{self.length}"


@dataclass(frozen=True)
class Arrival:
    """What came with uploads, row by row.

    Attributes:
        content: their bytes, null where they are to be read; None once OpenMatchSeal is done.
        received_at: when.
        skip_reason: why the front door has kept a row shut; null where it has not.
        lost_rows: uploads beside these that the log was damaged in: all that is known of them is
            that they were acknowledged.
    """

    content: pa.LargeBinaryArray | None
    received_at: pa.TimestampArray
    skip_reason: pa.StringArray
    lost_rows: int = 0

    @property
    def rows(self) -> int:
        """Uploads that must have an outcome."""
        return len(self.received_at) + self.lost_rows


@dataclass(frozen=True)
class Batch:
    """Rows between two steps, and how long each step so far took.

    Attributes:
        name: stable: the same rows have the same name when they are scanned again.
        rows: of the schema that the step before gives.
        arrival: what came with each row; None where all were hosted already.
        again: where the ledger holds each row; None where they are to be read and decoded.
        reused: items that were not decoded, as their content had been examined before.
    """

    name: str
    rows: pa.RecordBatch
    arrival: Arrival | None = None
    again: Again | None = None
    reused: int = 0
    distances: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


class Scan(beam.PTransform):
    """Batches -> the same batches, whose counts are now in `outcome_folder`."""

    def __init__(self, config: ScanConfig, outcome_folder: Path) -> None:
        """Scan as `config` says."""
        super().__init__()
        self._config = config
        self._outcome_folder = outcome_folder

    def expand(self, batches: Any) -> Any:
        """Put the steps together, in the order of the design's first section."""
        return (
            batches
            | "Gate" >> beam.ParDo(_Gate(self._config))
            | "OpenMatchSeal" >> beam.ParDo(_OpenMatchSeal(self._config))
            | "Emit" >> beam.ParDo(_Emit(self._config))
            | "Account" >> beam.Map(account, self._outcome_folder)
        )


# --- the steps ------------------------------------------------------------------------------


def load(part: Slice) -> Batch:
    """Read a slice's rows from the snapshot.

    Raises:
        RunInterrupted: somebody asked to stop.
    """
    if STOP.is_set():
        raise RunInterrupted("stopped")
    table = pq.ParquetFile(part.snapshot).read_row_group(part.chunk)
    rows = table.slice(part.offset, part.length).combine_chunks()
    return Batch(part.name, rows.to_batches()[0])


def load_again(part: Slice, config: ScanConfig) -> Batch:
    """Read what the gate asks of a slice's rows from the ledger.

    Raises:
        RunInterrupted: somebody asked to stop.
        LedgerDamaged: the ledger was altered.
    """
    references = load(part).rows
    resources = resources_for(config)
    if resources.ledger is None:
        raise ValueError("rows are matched again from a ledger")
    rows, again = resources.ledger.rows(references, resources.withdrawn)
    return Batch(part.name, rows, again=again)


class _Gate(beam.DoFn):
    """ITEMS -> GATED."""

    def __init__(self, config: ScanConfig) -> None:
        self._config = config

    def process(self, batch: Batch) -> Iterator[Batch]:
        now = self._config.clock()
        resources = resources_for(self._config)
        scannable = resources.scanner(now.date()).media
        rows = gate(batch.rows, resources.order, scannable, now)
        # What was kept shut at the door has no bytes to open, nor has what the ledger has let go.
        shut = batch.arrival or batch.again
        if shut is not None:
            reason = pc.coalesce(shut.skip_reason, rows["skip_reason"])
            rows = rows.set_column(rows.num_columns - 1, GATED.field("skip_reason"), reason)
        yield replace(batch, rows=rows)


class _OpenMatchSeal(beam.DoFn):
    """GATED -> OUTCOMES."""

    def __init__(self, config: ScanConfig) -> None:
        self._config = config

    def process(self, batch: Batch) -> Iterator[Batch]:
        yield open_match_seal(batch, resources_for(self._config), self._config)


class _Emit(beam.DoFn):
    """OUTCOMES -> OUTCOMES, whose candidates are durable at verification."""

    def __init__(self, config: ScanConfig) -> None:
        self._config = config

    def process(self, batch: Batch) -> Iterator[Batch]:
        yield emit(batch, resources_for(self._config).emitter)


def open_match_seal(batch: Batch, resources: Resources, config: ScanConfig) -> Batch:
    """Read, decode, hash, match and seal the rows the gate has let through."""
    started = time.perf_counter()
    rows: list[dict[str, Any]] = batch.rows.to_pylist()
    scanner = resources.scanner(config.clock().date())
    arrival = batch.arrival
    content = arrival.content if arrival else None
    contents = itertools.repeat(None) if content is None else content

    matching = Matching(scanner, resources, config.order)
    keeping = None
    step = "read, decode, hash"
    opened: Iterator[opening.Opened]
    if batch.again is not None:
        step = "recall"
        opened = opening.recalled(rows, batch.again, scanner, resources.ledger)
    else:
        if resources.ledger is not None:
            asked = {found.manifest.set_id: found.manifest.version for found in scanner.sets}
            keeping = resources.ledger.keeping(scanner.wanted, asked)
        examine = functools.partial(opening.examine, scanner, keeping)
        opened = resources.pool.map(examine, rows, contents)
    for row, parts in zip(rows, opened, strict=True):
        matching.add(row, parts)
    matching.finish()
    if keeping is not None:
        keeping.finish()
    spent = time.perf_counter() - started
    return replace(
        batch,
        rows=matching.outcomes,
        arrival=replace(arrival, content=None) if arrival else None,
        reused=keeping.reused if keeping is not None else 0,
        distances=matching.distances,
        seconds={
            step: spent - matching.match_seconds - matching.seal_seconds,
            "match": matching.match_seconds,
            "seal": matching.seal_seconds,
        },
    )


def emit(batch: Batch, emitter: Emitter) -> Batch:
    """Hand the sealed candidates over; a candidate that is refused fails its item by name.

    Raises:
        VerificationUnreachable: after bounded retries; the batch is then not accounted for.
        VerificationRefused: keys or policy do not fit: no candidate of this run would be taken.
    """
    started = time.perf_counter()
    rows: list[dict[str, Any]] = batch.rows.to_pylist()
    hits = [row for row in rows if row["outcome"] == CANDIDATE]
    duplicates = 0
    if hits:
        messages = [candidate_pb2.Candidate.FromString(row["candidate"]) for row in hits]
        for row, result in zip(hits, emitter.send(messages), strict=True):
            row["candidate"] = None
            if result.outcome == candidate_service_pb2.SUBMIT_OUTCOME_DUPLICATE:
                duplicates += 1
            elif result.outcome != candidate_service_pb2.SUBMIT_OUTCOME_ACCEPTED:
                name = candidate_service_pb2.RejectReason.Name(result.reject_reason)
                reason = name.removeprefix("REJECT_REASON_").lower()
                if result.reject_reason in _FAULTS_OF_THE_RUN:
                    raise VerificationRefused(
                        f"verification does not take this provider's candidates ({reason}): check "
                        "that verifier.pub is the one of this verification service, and that it "
                        "serves this order file"
                    )
                if result.reject_reason in _OUTLIVED:
                    row |= {"outcome": SKIPPED, "reason": reason}
                else:
                    row |= {"outcome": FAILURE, "stage": "emit", "reason": reason}
    return replace(
        batch,
        rows=pa.RecordBatch.from_pylist(rows, OUTCOMES),
        duplicates=duplicates,
        seconds=batch.seconds | {"emit": time.perf_counter() - started},
    )


def account(batch: Batch, folder: Path) -> Batch:
    """Write the batch's counts: once the file is there, durably, the batch is done.

    The file is named after the batch, so a batch that ran twice is counted once.

    Raises:
        AccountingError: the counts do not add up to the rows.
    """
    inner = batch.rows.num_rows - batch.rows["inner"].null_count
    tally = Tally(
        rows=batch.rows.num_rows - inner,
        inner=inner,
        distances=batch.distances,
        duplicates=batch.duplicates,
        reused=batch.reused,
    )
    failed = []
    for row in batch.rows.to_pylist():
        match row["outcome"]:
            case "clear":
                tally.clear += 1
            case "candidate":
                tally.candidate += 1
            case "skipped":
                tally.skipped[row["reason"]] += 1
            case "failed":
                tally.failed[f"{row['stage']}: {row['reason']}"] += 1
                failed.append([row["item_id"], row["inner"], row["stage"], row["reason"]])
    if batch.arrival is not None and batch.arrival.lost_rows:
        lost = batch.arrival.lost_rows
        tally.rows += lost
        tally.failed["log: damaged"] += lost
        failed += [["(not known)", None, "log", "damaged"]] * lost
    tally.check(f"batch {batch.name}")
    if batch.arrival is not None and batch.arrival.rows != tally.rows:
        raise AccountingError(
            f"batch {batch.name}: {batch.arrival.rows} uploads in, {tally.rows} out. This is a "
            "defect of Sluis: keep the folder and report it"
        )
    done = {
        "tally": tally.to_json(),
        "failed": failed,
        "seconds": batch.seconds,
        "finished_at": time.time(),
    }
    unfinished = folder / f".{batch.name}.{os.getpid()}"
    with open(unfinished, "w", encoding="utf-8") as file:
        file.write(json.dumps(done))
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, folder / f"{batch.name}.json")
    sync_folder(folder)
    return batch


def slices(snapshot: Path, chunk: int, rows: int, batch_rows: int) -> Sequence[Slice]:
    """The slices of one chunk."""
    return [
        Slice(str(snapshot), chunk, offset, min(batch_rows, rows - offset))
        for offset in range(0, rows, batch_rows)
    ]
