"""How the upload side does, for a person: gathered from what its processes show anyway.

The metrics of the front door and of the scan, the files of the upload log, and whether verification
takes candidates. Nothing is locked and nothing is changed by looking.
"""

from __future__ import annotations

import datetime as dt
import math
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from pipeline.emit import Emitter
from pipeline.errors import VerificationRefused, VerificationUnreachable
from pipeline.ingest.accounts import accounts_folder, counted_on
from pipeline.ingest.upload_log.folder import bytes_on_disk, read_consumed, read_tail
from pipeline.items import Tally

_PATIENCE_SECONDS: Final = 2.0
_MOST_BYTES: Final = 4 << 20  # of a metrics page
_SOON_DAYS: Final = 7  # before a set expires

Samples = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]
"""What a process counts: by name and labels."""


@dataclass(frozen=True)
class Door:
    """The front door.

    Attributes:
        answered: uploads by outcome.
        acknowledged_p99_seconds: of all since it started; None before the first.
    """

    answered: dict[str, float]
    acknowledged_p99_seconds: float | None


@dataclass(frozen=True)
class Scan:
    """The streaming scan; times are of all since it started, None before the first.

    Attributes:
        outcomes: uploads, and what is inside them.
        sets: set id -> version and days until it expires.
    """

    outcomes: dict[str, float]
    to_outcome_p50_seconds: float | None
    to_candidate_p50_seconds: float | None
    to_candidate_p99_seconds: float | None
    batch_uploads_mean: float | None
    oldest_seconds: float
    order_in_force: bool
    order_days_left: float
    sets: dict[str, tuple[int, int]]
    verification_up: bool
    given_up: float
    failed_batches: float


@dataclass(frozen=True)
class Log:
    """The upload log: what waits in it, and what it takes of the disk."""

    waiting: int
    disk_bytes: int


@dataclass(frozen=True)
class Status:
    """All of it; None for what does not answer, or was not asked."""

    at: dt.datetime
    door: Door | None
    scan: Scan | None
    log: Log | None
    today: Tally | None
    verification: str | None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self) | {
            "at": self.at.isoformat(),
            "today": self.today.to_json() if self.today else None,
        }


def gather(
    door: str | None, scan: str | None, log: Path | None, verification: tuple[str, Path] | None
) -> Status:
    """Look at everything once.

    Args:
        door: HOST:PORT of the front door's metrics.
        scan: HOST:PORT of the scan's.
        log: folder of the upload log.
        verification: HOST:PORT of the service and the provider's key folder, to ask it directly.
    """
    now = dt.datetime.now(dt.UTC)
    of_door = scrape(door) if door else None
    of_scan = scrape(scan) if scan else None
    has_log = log is not None and (log / "log.json").exists()
    return Status(
        now,
        _door(of_door) if of_door is not None else None,
        _scan(of_scan) if of_scan is not None else None,
        _log(log) if log is not None and has_log else None,
        counted_on(now.date(), accounts_folder(log)) if log is not None and has_log else None,
        _verification(*verification) if verification else None,
    )


def scrape(address: str) -> Samples | None:
    """A process's metrics; None if it does not answer."""
    try:
        with urllib.request.urlopen(
            f"http://{address}/metrics", timeout=_PATIENCE_SECONDS
        ) as answer:
            text = answer.read(_MOST_BYTES).decode()
    except (OSError, ValueError):
        return None
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def quantile(samples: Samples, histogram: str, share: float) -> float | None:
    """The value that `share` of a histogram lies below, as Prometheus reckons it.

    None without any value; the last finite bound where it lies beyond.
    """
    buckets = sorted(
        (float(dict(labels)["le"]), count)
        for (name, labels), count in samples.items()
        if name == f"{histogram}_bucket"
    )
    if not buckets or buckets[-1][1] == 0:
        return None
    wanted = share * buckets[-1][1]
    below_bound, below_count = 0.0, 0.0
    for bound, count in buckets:
        if count >= wanted and count > below_count:
            if math.isinf(bound):
                return below_bound
            return below_bound + (bound - below_bound) * (wanted - below_count) / (
                count - below_count
            )
        below_bound, below_count = bound, count
    return below_bound


def by_label(samples: Samples, name: str, label: str) -> dict[str, float]:
    """The values of a metric with one label."""
    return {dict(labels)[label]: value for (n, labels), value in samples.items() if n == name}


def _of(samples: Samples, name: str) -> float:
    return samples.get((name, ()), 0.0)


def _door(samples: Samples) -> Door:
    return Door(
        by_label(samples, "sluis_ingest_uploads_total", "outcome"),
        quantile(samples, "sluis_ingest_acknowledgement_seconds", 0.99),
    )


def _scan(samples: Samples) -> Scan:
    versions = by_label(samples, "sluis_indicator_set_version", "set_id")
    days = by_label(samples, "sluis_indicator_set_days_left", "set_id")
    batches = _of(samples, "sluis_scan_batch_uploads_count")
    uploads = _of(samples, "sluis_scan_batch_uploads_sum")
    return Scan(
        outcomes=by_label(samples, "sluis_scan_outcomes_total", "outcome"),
        to_outcome_p50_seconds=quantile(samples, "sluis_scan_upload_to_outcome_seconds", 0.5),
        to_candidate_p50_seconds=quantile(samples, "sluis_scan_upload_to_candidate_seconds", 0.5),
        to_candidate_p99_seconds=quantile(samples, "sluis_scan_upload_to_candidate_seconds", 0.99),
        batch_uploads_mean=uploads / batches if batches else None,
        oldest_seconds=_of(samples, "sluis_log_oldest_seconds"),
        order_in_force=bool(_of(samples, "sluis_order_in_force")),
        order_days_left=_of(samples, "sluis_order_days_left"),
        sets={name: (int(version), int(days.get(name, 0))) for name, version in versions.items()},
        verification_up=bool(_of(samples, "sluis_verification_up")),
        given_up=_of(samples, "sluis_scan_given_up_total"),
        failed_batches=_of(samples, "sluis_scan_failed_batches_total"),
    )


def _log(folder: Path) -> Log:
    """What waits, from the two places: how far it is written, how far it is done."""
    tail, consumed = read_tail(folder), read_consumed(folder)
    waiting = 0
    if tail is not None:
        done = consumed.rows_before + consumed.position.record
        waiting = max(0, tail.rows_before + tail.rows - done)
    return Log(waiting, bytes_on_disk(folder))


def _verification(address: str, key_folder: Path) -> str:
    emitter = Emitter(address, key_folder)
    try:
        emitter.check()
    except VerificationUnreachable:
        return "unreachable"
    except VerificationRefused:
        return "refuses"
    finally:
        emitter.close()
    return "up"


def warnings(status: Status) -> Iterable[str]:
    """What a person should look after now."""
    if status.log is not None and status.scan is None and status.log.waiting:
        yield f"{status.log.waiting:,} uploads wait, and no scan answers"
    if status.scan is not None:
        if not status.scan.verification_up:
            yield "verification does not take candidates: uploads wait in the log"
        if not status.scan.order_in_force:
            yield "the order is not in force, or its file is gone: nothing is opened"
        for name, (_, days) in status.scan.sets.items():
            if days < 0:
                yield f"indicator set {name} has expired: get the current version"
            elif days <= _SOON_DAYS:
                yield f"indicator set {name} expires in {days} days: get its next version"
        if status.scan.given_up:
            yield f"{status.scan.given_up:,.0f} uploads were given up for a defect: report it"
