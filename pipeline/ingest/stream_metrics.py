"""What the streaming scan tells Prometheus: counts, ages and times; nothing of any upload."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final

import pyarrow.compute as pc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from matchers.indicators import IndicatorSet
from pipeline.ingest.upload_log import Backlog
from pipeline.items import CANDIDATE, CLEAR, FAILURE, SKIPPED
from pipeline.order import Order
from pipeline.scan import Batch

_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Meters:
    """The streaming scan's metrics, in a registry of their own."""

    def __init__(self) -> None:
        """Begin at zero: Prometheus adds up across restarts."""
        self.registry = CollectorRegistry()
        self._outcomes = self._counter(
            "sluis_scan_outcomes", "Uploads, and what is inside them, by outcome", "outcome"
        )
        for outcome in (CLEAR, CANDIDATE, SKIPPED, FAILURE):
            self._outcomes.labels(outcome)
        self._reasons = self._counter(
            "sluis_scan_reasons", "Skipped and failed, by reason", "outcome", "reason"
        )
        self._batches = self._counter("sluis_scan_batches", "Batches that have their outcomes")
        self._batch_rows = self._histogram(
            "sluis_scan_batch_uploads", "Uploads in a batch", buckets=_ROWS
        )
        self._most_rows = self._gauge(
            "sluis_scan_batch_most_uploads", "Uploads that a batch may have at present"
        )
        self._steps = self._histogram(
            "sluis_scan_step_seconds", "Time of a batch in a step", "step"
        )
        self._to_outcome = self._histogram(
            "sluis_scan_upload_to_outcome_seconds", "From the front door to the outcome"
        )
        self._to_candidate = self._histogram(
            "sluis_scan_upload_to_candidate_seconds",
            "From the front door until verification has the candidate",
        )
        self._backlog_rows = self._gauge("sluis_log_backlog_uploads", "Uploads without outcome")
        self._backlog_bytes = self._gauge("sluis_log_backlog_bytes", "Their bytes in the log")
        self._oldest = self._gauge(
            "sluis_log_oldest_seconds", "Age of the oldest upload without outcome"
        )
        self._lost = self._counter("sluis_log_lost_uploads", "Uploads lost to damage of the log")
        self._reused = self._counter(
            "sluis_uploads_reused", "Uploads not decoded: the hash ledger knew their content"
        )
        self._versions = self._gauge(
            "sluis_indicator_set_version", "Version of a set in use", "set_id"
        )
        self._set_days = self._gauge(
            "sluis_indicator_set_days_left", "Days until a set expires", "set_id"
        )
        self._shown: set[str] = set()
        self._order_days = self._gauge("sluis_order_days_left", "Days until the order expires")
        self._order_holds = self._gauge(
            "sluis_order_in_force", "Whether anything may be opened under the order"
        )
        self.verification_up = self._gauge(
            "sluis_verification_up", "Whether verification takes candidates"
        )
        self.failed_batches = self._counter(
            "sluis_scan_failed_batches", "Batches tried again for a defect"
        )
        self.given_up = self._counter("sluis_scan_given_up", "Uploads given up for a defect")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, *labels: str, buckets: Sequence[float] = _SECONDS
    ) -> Histogram:
        return Histogram(name, text, labels, registry=self.registry, buckets=buckets)

    def batch(self, batch: Batch, now: dt.datetime) -> None:
        """Count a batch that has its outcomes."""
        outcomes = batch.rows
        counts = pc.value_counts(outcomes["outcome"])
        for outcome, count in zip(counts.field("values"), counts.field("counts"), strict=True):
            self._outcomes.labels(outcome.as_py()).inc(count.as_py())
        for row in outcomes.filter(pc.is_valid(outcomes["reason"])).to_pylist():
            self._reasons.labels(row["outcome"], row["reason"]).inc()
        self._batches.inc()
        self._reused.inc(batch.reused)
        for step, seconds in batch.seconds.items():
            self._steps.labels(step).observe(seconds)
        if batch.arrival is not None:
            self._batch_rows.observe(len(batch.arrival.received_at))
            self._lost.inc(batch.arrival.lost_rows)
            self._latencies(batch, now)

    def state(
        self,
        backlog: Backlog,
        order: Order,
        sets: Sequence[IndicatorSet],
        most_rows: int,
        now: dt.datetime,
    ) -> None:
        """Show what waits, and what holds."""
        self._backlog_rows.set(backlog.rows)
        self._backlog_bytes.set(backlog.bytes)
        oldest = backlog.oldest_received_at
        self._oldest.set(max(0.0, (now - oldest).total_seconds()) if oldest else 0.0)
        self._most_rows.set(most_rows)
        self._order_days.set((order.valid_until - now.date()).days)
        self._order_holds.set(order.is_in_force(now.date()))
        for gone in self._shown - {found.manifest.set_id for found in sets}:
            self._versions.remove(gone)
            self._set_days.remove(gone)
        self._shown = {found.manifest.set_id for found in sets}
        for found in sets:
            manifest = found.manifest
            self._versions.labels(manifest.set_id).set(manifest.version)
            self._set_days.labels(manifest.set_id).set((manifest.not_after - now.date()).days)

    def _latencies(self, batch: Batch, now: dt.datetime) -> None:
        """From each upload's arrival; what is inside an upload came with it."""
        if batch.arrival is None:
            return
        received = batch.arrival.received_at.to_pylist()
        for at in received:
            self._to_outcome.observe(_since(at, now))
        upload = -1
        for row in batch.rows.select(["inner", "outcome"]).to_pylist():
            upload += row["inner"] is None
            if row["outcome"] == CANDIDATE:
                self._to_candidate.observe(_since(received[upload], now))


def _since(at: dt.datetime, now: dt.datetime) -> float:
    """Seconds; none where a clock was set back meanwhile."""
    return max(0.0, (now - at).total_seconds())
