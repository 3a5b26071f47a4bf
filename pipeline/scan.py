"""The scan, as Beam carries it: a batch of rows in, its counts out.

    Gate ─► OpenMatchSeal ─► Emit ─► Account

Where batches come from is the caller's: `pipeline.run` loads references from a snapshot, and
`pipeline.ingest.stream` takes uploads from their log. No state, no shuffle of anything but
references, idempotent at the end: any runner can run it, any batch can be run again. Pixels, codes
and hits live and die inside OpenMatchSeal; what comes out of it is sealed. Elements are batches of
rows (Arrow), never single items.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import hashlib
import itertools
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from matchers import indicators, limits, pdq
from matchers.errors import DecodeError, UrlError
from matchers.examine import NEEDS_DECODING, SKIP_REASONS, Part
from matchers.files import sync_folder
from matchers.hamming import BackendName
from matchers.indicators import IndicatorSet
from matchers.scanner import QUALITY_TOO_LOW, Examined, Hit, Result, Scanner
from pipeline import keys, order, read, verdict_file, vouchers
from pipeline.emit import Emitter
from pipeline.epoch_keys import EpochKeyDestroyed
from pipeline.errors import (
    AccountingError,
    ItemError,
    OrderRefused,
    RunInterrupted,
    SourceRefused,
    VerificationRefused,
)
from pipeline.gate import gate, media_covered
from pipeline.items import CANDIDATE, CLEAR, FAILURE, GATED, OUTCOMES, SKIPPED, Tally
from pipeline.ledger.again import NO_LONGER_KEPT, Again
from pipeline.ledger.ledger import Keeping, Ledger
from pipeline.rpc import candidates
from pipeline.rpc.sluis.verification.v1 import candidate_pb2, candidate_service_pb2
from pipeline.sandbox import Sandbox

STOP: Final = threading.Event()
"""Set to stop the scans of this process after the batch at hand."""

REJECTED_BEFORE: Final = "rejected_before"
"""Why an item is skipped whose pair of indicator and content people have rejected."""

SAME_INDICATOR_AGAIN: Final = "same_indicator_again"
"""Why a part of an item is skipped that resembles what enough other parts of it do."""

_MOST_OF_ONE_INDICATOR: Final = 10
"""Candidates of one item and indicator: a zip of a thousand copies would bury the reviewers."""

_MOST_PARTS_AT_ONCE: Final = 4_096
"""Parts that are looked up together; beyond that the index gains nothing, and memory is bounded."""

_MOST_WAITING_BYTES: Final = 4 * 1024 * 1024
"""Codes of an item that wait for the rest of its batch: some minutes of film, a hundred stills."""

_MOST_MILLISECONDS: Final = 2**32 - 1  # what the field holds: 49 days
_MOST_SPANS: Final = 20
"""Showings that a candidate names, of all that it counts: it has a constant size."""

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

_KINDS: Final = {
    "known": candidate_pb2.INDICATOR_KIND_KNOWN,
    "new": candidate_pb2.INDICATOR_KIND_NEW,
    "url": candidate_pb2.INDICATOR_KIND_URL,
}


def utc_now() -> dt.datetime:
    """The clock of a real run."""
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True, kw_only=True)
class ScanConfig:
    """All that a worker needs, as plain values and paths: no key, no index, no channel.

    Attributes:
        order: the detection order.
        sets: folders of indicator sets.
        key_folder: the provider's keys, on this machine.
        index_folder: where built indexes are shared between workers; None: in memory.
        verification: host:port.
        threads: items worked on at once in one process.
        pdq_mode: how images are hashed, see `matchers.pdq.hash_images`.
        index_backend: what looks codes up, see `matchers.hamming.HammingIndex.build`.
        require_filter: refuse to decode where the decoders' system calls cannot be filtered
            (docs/sandbox.md).
        suppress: files of verdicts (`verdict_file`): pairs of indicator and content that people
            have rejected are not sent again.
        ledger: folder of a hash ledger (docs/ledger.md); None, the default: nothing is kept of
            what resembles nothing.
        ledger_days: that it keeps an item; None: as it was made.
        without: a file of ids, one a line, of items that are not matched again.
        clock: tells the time.
    """

    order: order.Order
    sets: tuple[Path, ...]
    key_folder: Path
    index_folder: Path | None
    verification: str
    threads: int
    pdq_mode: pdq.Mode = "exact"
    index_backend: BackendName = "auto"
    require_filter: bool = False
    suppress: tuple[Path, ...] = ()
    ledger: Path | None = None
    ledger_days: int | None = None
    without: Path | None = None
    clock: Callable[[], dt.datetime] = utc_now


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

    matching = _Matching(scanner, resources, config.order)
    keeping = None
    opening = "read, decode, hash"
    opened: Iterator[_Opened]
    if batch.again is not None:
        opening = "recall"
        opened = _recalled(rows, batch.again, scanner, resources.ledger)
    else:
        if resources.ledger is not None:
            asked = {found.manifest.set_id: found.manifest.version for found in scanner.sets}
            keeping = resources.ledger.keeping(scanner.wanted, asked)
        examine = functools.partial(_examine, scanner, keeping)
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
            opening: spent - matching.match_seconds - matching.seal_seconds,
            "match": matching.match_seconds,
            "seal": matching.seal_seconds,
        },
    )


class _Matching:
    """Examined items in, outcomes out: asked about many at once, but never about too many.

    Attributes:
        distances: as in `Batch`.
        match_seconds: spent on looking up.
        seal_seconds: spent on sealing.
    """

    def __init__(self, scanner: Scanner, resources: Resources, under: order.Order) -> None:
        self._scanner, self._resources, self._under = scanner, resources, under
        self._waiting: list[tuple[dict[str, Any], _Opened]] = []
        self._parts = 0
        self._done: list[pa.RecordBatch] = []
        self.distances: Counter[str] = Counter()
        self.match_seconds = self.seal_seconds = 0.0

    @property
    def outcomes(self) -> pa.RecordBatch:
        """Of schema `OUTCOMES`, in the order of the items."""
        whole = pa.Table.from_batches(self._done, OUTCOMES).combine_chunks().to_batches()
        return whole[0] if whole else pa.RecordBatch.from_pylist([], OUTCOMES)

    def add(self, row: dict[str, Any], parts: _Opened) -> None:
        """The next item; an archive may have thousands of parts."""
        self._waiting.append((row, parts))
        self._parts += 1 if isinstance(parts, ItemError) else len(_parts_of(parts))
        if self._parts >= _MOST_PARTS_AT_ONCE:
            self.finish()

    def finish(self) -> None:
        """Look up and seal what waits."""
        started = time.perf_counter()
        readable = [one for _, parts in self._waiting if isinstance(parts, tuple) for one in parts]
        results = iter(self._scanner.match(readable))
        matched = time.perf_counter()
        outcomes: list[dict[str, Any]] = []
        for row, parts in self._waiting:
            if row["skip_reason"] is not None:
                outcomes.append(_outcome(row, SKIPPED, reason=row["skip_reason"]))
            elif isinstance(parts, ItemError):
                outcomes.append(_outcome(row, FAILURE, stage=parts.stage, reason=parts.reason))
            elif isinstance(parts, _Matched):
                outcomes += self._of_item(row, parts.parts)
            else:
                outcomes += self._of_item(row, [(one.part, next(results)) for one in parts])
        self._done.append(pa.RecordBatch.from_pylist(outcomes, OUTCOMES))
        self._waiting, self._parts = [], 0
        self.match_seconds += matched - started
        self.seal_seconds += time.perf_counter() - matched

    def _of_item(
        self, row: dict[str, Any], found: Sequence[tuple[Part, Result]]
    ) -> Iterator[dict[str, Any]]:
        """The outcome of each part of an item.

        An archive full of copies is one thing to look at: of many parts that resemble the same
        indicator the nearest few become candidates.
        """
        hits = [(n, result) for n, (_, result) in enumerate(found) if isinstance(result, Hit)]
        told: Counter[tuple[int, int]] = Counter()
        too_many = set()
        for number, hit in sorted(hits, key=lambda one: one[1].distance_bits):
            told[hit.set_number, hit.indicator] += 1
            if told[hit.set_number, hit.indicator] > _MOST_OF_ONE_INDICATOR:
                too_many.add(number)
        for number, (part, result) in enumerate(found):
            if not isinstance(result, Hit):
                yield _outcome_of(row, part, result)
            elif number in too_many:
                yield _outcome(row, SKIPPED, part, reason=SAME_INDICATOR_AGAIN)
            else:
                yield self._sealed(row, part, result)

    def _sealed(self, row: dict[str, Any], part: Part, best: Hit) -> dict[str, Any]:
        """The outcome of a part with hits: the best that people have not rejected."""
        outcome: dict[str, Any] = {}
        for hit in (best, *best.others):
            found = self._scanner.sets[hit.set_number]
            outcome = _sealed(row, part, hit, found, self._resources, self._under)
            if outcome["outcome"] == CANDIDATE:
                self.distances[f"{found.manifest.set_id}: {hit.distance_bits}"] += 1
            if outcome.get("reason") != REJECTED_BEFORE:
                break
        return outcome


@dataclass(frozen=True)
class _Matched:
    """An item whose fingerprints were too large to wait for others."""

    parts: tuple[tuple[Part, Result], ...]


_Opened = tuple[Examined, ...] | _Matched | ItemError
"""What is left of an item once it has been examined."""


def _parts_of(opened: tuple[Examined, ...] | _Matched) -> Sequence[object]:
    return opened.parts if isinstance(opened, _Matched) else opened


def _examine(
    scanner: Scanner,
    keeping: Keeping | None,
    row: dict[str, Any],
    content: pa.LargeBinaryScalar | None = None,
) -> _Opened:
    """One row's fingerprints, and those of what is inside it; none if the gate keeps it shut.

    A film's may take a hundred megabytes: those are looked up here, and let go of.
    """
    if row["skip_reason"] is not None:
        return ()
    try:
        if row["kind"] == "url":
            parts = scanner.examine(row["url"])
        elif keeping is None:
            parts = scanner.examine(_bytes_of(row, content))
        else:
            parts = _reused_or_examined(scanner, keeping, row, _bytes_of(row, content))
    except ItemError as error:
        return error
    except (DecodeError, UrlError) as error:
        return ItemError("decode", error.reason)
    except MemoryError:
        return ItemError("decode", "out_of_memory")
    return _lightened(scanner, parts)


def _lightened(scanner: Scanner, parts: tuple[Examined, ...]) -> tuple[Examined, ...] | _Matched:
    """The same parts; looked up already, and without their codes, if these are very many."""
    held = (one.part.fingerprints.nbytes for one in parts if one.part.fingerprints)
    if sum(held) <= _MOST_WAITING_BYTES:
        return parts
    results = scanner.match(parts)
    return _Matched(
        tuple(
            (replace(one.part, fingerprints=None), result)
            for one, result in zip(parts, results, strict=True)
        )
    )


def _reused_or_examined(
    scanner: Scanner, keeping: Keeping, row: dict[str, Any], blob: memoryview
) -> tuple[Examined, ...]:
    """Decode an item, unless the ledger knows what comes of that; either way it is kept."""
    sha256 = hashlib.sha256(blob).digest()
    known = keeping.known(sha256)
    if known is not None:
        parts = scanner.recall(known, scanner.wanted)
        if not any(_may_end_otherwise(one.part) for one in parts):
            keeping.add(row, sha256, known, is_reused=True)
            return parts
    parts = scanner.examine(blob)
    keeping.add(row, sha256, scanner.recallable(parts))
    return parts


def _may_end_otherwise(part: Part) -> bool:
    """Whether decoding it anew may tell more: time and memory do not run out every time."""
    return part.reason is not None and (
        part.reason == NEEDS_DECODING or part.reason not in SKIP_REASONS
    )


def _recalled(
    rows: Sequence[dict[str, Any]], again: Again, scanner: Scanner, ledger: Ledger | None
) -> Iterator[_Opened]:
    """What the ledger holds of each row that the gate lets through."""
    if ledger is None:
        raise ValueError("rows are matched again from a ledger")
    is_open = [row["skip_reason"] is None for row in rows]
    for wanted, held in zip(is_open, ledger.parts(again, is_open), strict=True):
        if held is not None:
            yield _lightened(scanner, scanner.recall(*held))
        else:  # or its day was over between two steps
            yield ItemError("read", NO_LONGER_KEPT) if wanted else ()


def _bytes_of(row: dict[str, Any], content: pa.LargeBinaryScalar | None) -> memoryview:
    """What came with the row, else what it refers to."""
    if content is None or not content.is_valid:
        return read.read_item(row["uri"])
    if content.as_buffer().size > limits.MAX_ENCODED_BYTES:
        raise ItemError("read", "too_many_bytes")
    return memoryview(content.as_buffer())


def _outcome_of(row: dict[str, Any], part: Part, result: Result) -> dict[str, Any]:
    """The one outcome of what resembles nothing: what hid it comes before clear."""
    if part.reason in SKIP_REASONS:
        return _outcome(row, SKIPPED, part, reason=part.reason)
    if part.reason is not None:
        return _outcome(row, FAILURE, part, stage="decode", reason=part.reason)
    if result == QUALITY_TOO_LOW:
        return _outcome(row, SKIPPED, part, reason=QUALITY_TOO_LOW)
    return _outcome(row, CLEAR, part)


def _outcome(
    row: dict[str, Any], outcome: str, part: Part | None = None, **details: Any
) -> dict[str, Any]:
    inner = "/".join(map(str, part.locator)) if part else ""
    return {"item_id": row["item_id"], "inner": inner or None, "outcome": outcome, **details}


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


def _sealed(
    row: dict[str, Any],
    part: Part,
    hit: Hit,
    found: IndicatorSet,
    resources: Resources,
    under: order.Order,
) -> dict[str, Any]:
    """What becomes of an item with a hit."""
    try:
        candidate = _seal(row, part, hit, found, resources, under)
    except EpochKeyDestroyed as error:
        return _outcome(row, SKIPPED, part, reason=error.reason)
    except ItemError as error:
        return _outcome(row, FAILURE, part, stage=error.stage, reason=error.reason)
    if candidate is None:
        return _outcome(row, SKIPPED, part, reason=REJECTED_BEFORE)
    return _outcome(row, CANDIDATE, part, candidate=candidate.SerializeToString())


def _seal(
    row: dict[str, Any],
    part: Part,
    hit: Hit,
    found: IndicatorSet,
    resources: Resources,
    under: order.Order,
) -> candidate_pb2.Candidate | None:
    """A hit -> a candidate nobody on the way can read or name; None if people have rejected it."""
    manifest = found.manifest
    indicator_id = found.indicator_ids[hit.indicator].as_py()
    uploaded = row["uploaded_at"].date() if row["uploaded_at"] else None
    sealable = keys.Sealable(
        item_id=row["item_id"],
        account_id=row["account_id"],
        content=hit.content,
        indicator=vouchers.enc(manifest.set_id.encode(), found.cluster(hit.indicator).encode()),
        hit_day=vouchers.hit_day(uploaded, under.valid_from, found.effective_day(hit.indicator)),
        released_at_once=manifest.kind != "new" or row["user_notice"] == "yes",
    )
    tokens = resources.keys.tokens(sealable)
    if tokens.pair_id in resources.suppressed and row["user_notice"] != "yes":
        return None
    payload = candidate_pb2.CandidatePayload(
        content_token=tokens.content,
        account_token=tokens.account,
        set_id=manifest.set_id,
        set_version=manifest.version,
        kind=_KINDS[manifest.kind],
        indicator_id=indicator_id,
        method=hit.method,
        distance_bits=hit.distance_bits,
        radius_bits=manifest.radius_bits,
        quality=hit.quality or 0,
        pair_id=tokens.pair,
        user_notified=row["user_notice"] == "yes",
        view=hit.view,
        inner_path=part.locator,
        spans=[
            candidate_pb2.TimeSpan(start_milliseconds=_ms(start), end_milliseconds=_ms(end))
            for start, end in hit.spans_seconds[:_MOST_SPANS]
        ],
        spans_total=len(hit.spans_seconds),
        share_percent=hit.share_percent or 0,
    )
    sealed = resources.keys.seal(sealable, payload.SerializeToString())
    return candidates.to_message(
        sealed.candidate_id, sealed.context, sealed.hit_day, sealed.verifier_key_id, sealed.seal
    )


def _ms(seconds: float) -> int:
    return min(max(0, round(seconds * 1000)), _MOST_MILLISECONDS)


# --- what a worker process holds ------------------------------------------------------------


class Resources:
    """Sets, keys, channel and threads of one process, made once and shared by its steps.

    Attributes:
        order: what the gate asks. A stream puts one in its place that is in force on no day, while
            the order's file is gone.
    """

    def __init__(self, config: ScanConfig) -> None:
        """Verify the sets and read the keys.

        Raises:
            OrderRefused, IndicatorSetError, KeysRefused, VerdictFileRefused: as their loaders say.
        """
        self.sets: Sequence[IndicatorSet] = load_sets(config)
        self.order = config.order
        self._scanners: dict[dt.date, Scanner] = {}
        self._pdq_mode = config.pdq_mode
        self._media = media_covered(config.order)
        self.keys: keys.KeyService = keys.LocalKeyService(
            config.key_folder,
            config.order.reference,
            config.order.group_hits_by,
            vouchers.Epochs.of(
                config.order.valid_from, config.order.valid_until, config.order.epoch_days
            ),
        )
        self.suppressed = load_suppressed(config, self.keys)
        self.ledger = (
            Ledger(config.ledger, config.ledger_days, config.key_folder, config.clock)
            if config.ledger
            else None
        )
        self.withdrawn = load_withdrawn(config.without)
        self.emitter = Emitter(config.verification, config.key_folder)
        self.sandbox = Sandbox(config.threads, require_filter=config.require_filter)
        self.pool = ThreadPoolExecutor(config.threads, thread_name_prefix="open")

    def swap_sets(self, sets: Sequence[IndicatorSet]) -> None:
        """Ask other sets from the next batch on; call it between two batches."""
        self.sets = sets
        self._scanners = {}

    def scanner(self, today: dt.date) -> Scanner:
        """A scanner over the sets that are in force today: one that expires is not asked."""
        if today not in self._scanners:
            in_force = [
                s for s in self.sets if s.manifest.effective <= today <= s.manifest.not_after
            ]
            self._scanners = {
                today: Scanner(
                    in_force,
                    pdq_mode=self._pdq_mode,
                    media=self._media,
                    examiner=self.sandbox.examine,
                )
            }
        return self._scanners[today]

    def close(self) -> None:
        """Let go of threads, decoders and channel."""
        self.pool.shutdown()
        self.sandbox.close()
        self.emitter.close()
        if self.ledger is not None:
            self.ledger.close()


def load_sets(config: ScanConfig) -> list[IndicatorSet]:
    """Verify every set and hold it against the order.

    Raises:
        IndicatorSetError: unsigned, altered, expired.
        OrderRefused: not covered by the order, or two sets of kind new.
    """
    loaded = [load_set(folder, config) for folder in config.sets]
    check_together(loaded)
    return loaded


def load_set(folder: Path, config: ScanConfig) -> IndicatorSet:
    """Verify one set and hold it against the order.

    Raises:
        IndicatorSetError: unsigned, altered, expired.
        OrderRefused: not covered by the order.
    """
    found = indicators.load(
        folder,
        keys.trusted_centre_keys(config.key_folder),
        today=config.clock().date(),
        index_folder=config.index_folder,
        backend=config.index_backend,
    )
    order.check_covers(config.order, found.manifest)
    return found


def check_together(loaded: Sequence[IndicatorSet]) -> None:
    """Hold sets against one another.

    Raises:
        OrderRefused: one is there twice, or two are of kind new.
    """
    ids = [found.manifest.set_id for found in loaded]
    for set_id in ids:
        if ids.count(set_id) > 1:
            raise OrderRefused(f"indicator set {set_id!r} is given twice: give its newest version")
    new = [found.manifest.set_id for found in loaded if found.manifest.kind == "new"]
    if len(new) > 1:
        raise OrderRefused(
            f"{' and '.join(new)} are both of kind new: a near-duplicate listed in both would "
            "count as two distinct hits. Scan with one; ask the EU Centre to merge them"
        )


def load_suppressed(config: ScanConfig, service: keys.KeyService) -> frozenset[bytes]:
    """The pairs of indicator and content that are not sent again.

    Raises:
        VerdictFileRefused, KeysRefused: as their loaders say.
    """
    if not config.suppress:
        return frozenset()
    signers = keys.signers(config.key_folder)
    reference = vouchers.order_id(config.order.reference)
    return verdict_file.rejected_pairs(config.suppress, signers, reference, service.pair_id)


def load_withdrawn(path: Path | None) -> pa.StringArray:
    """The items that are not matched again.

    Raises:
        SourceRefused: the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n") if path else []
    except (OSError, UnicodeDecodeError):
        raise SourceRefused(
            f"{path} cannot be read: it must hold one item id a line, in UTF-8"
        ) from None
    return pa.array(lines, pa.string())


_lock = threading.Lock()
_resources: dict[ScanConfig, Resources] = {}


def resources_for(config: ScanConfig) -> Resources:
    """This process's resources for `config`: made by whichever step asks first."""
    with _lock:
        if config not in _resources:
            _resources[config] = Resources(config)
        return _resources[config]


def release_resources(config: ScanConfig) -> None:
    """Let go of them again, at the end of a run."""
    with _lock, contextlib.suppress(KeyError):
        _resources.pop(config).close()


def slices(snapshot: Path, chunk: int, rows: int, batch_rows: int) -> Sequence[Slice]:
    """The slices of one chunk."""
    return [
        Slice(str(snapshot), chunk, offset, min(batch_rows, rows - offset))
        for offset in range(0, rows, batch_rows)
    ]
