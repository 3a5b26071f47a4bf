"""One trial: drives a plan, waits until every upload has its outcome, and measures meanwhile."""

from __future__ import annotations

import datetime as dt
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from pipeline.errors import LoadTestFailed
from pipeline.ingest import status
from pipeline.ingest.accounts import accounts_folder, counted_on
from pipeline.items import CANDIDATE
from pipeline.loadtest import processes
from pipeline.loadtest.candidates import Watch
from pipeline.loadtest.drive import PATIENCE_SECONDS, Answered, Driver
from pipeline.loadtest.measure import Losses, Measured, Percentiles, Sample, percentiles, recall
from pipeline.loadtest.mixture import Upload
from pipeline.loadtest.processes import Usage
from pipeline.loadtest.world import Services

SAMPLE_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.05
_TO_CANDIDATE: Final = "sluis_scan_upload_to_candidate_seconds"
_ACKNOWLEDGED: Final = "sluis_ingest_acknowledgement_seconds"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class _Counts:
    """What the scan has counted so far."""

    with_outcome: int
    candidates: int
    accounted: int | None
    samples: status.Samples


def run(
    services: Services,
    driver: Driver,
    watch: Watch | None,
    plan: Sequence[Upload],
    *,
    rate: float,
    burst: float,
    progress: Progress,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Measured:
    """Drive a plan and measure it.

    Args:
        services: what is driven.
        driver: connected to it.
        watch: sees candidates; None: they are only counted.
        plan: the uploads.
        rate: that the plan was made for.
        burst: likewise.
        progress: told every few seconds what was seen.
        patience_seconds: how long to wait while no upload gets its outcome.

    Raises:
        LoadTestFailed: a service answers no more, or the scan gets nothing done.
    """
    before = _counts(services)
    door_before = status.scrape(services.door_metrics) or {}
    began = time.monotonic()
    with _Sampler(services, progress) as sampler:
        answered = driver.drive(plan, services.part)
        sent_at = time.monotonic()
        sent = len({upload.item_id for upload in plan}) - answered.outcomes["refused"]
        after = _counts(services)
        waiting_at_end = sent - (after.with_outcome - before.with_outcome)
        after = _drained(services, before.with_outcome + sent, patience_seconds)
        drained_at = time.monotonic()
    times = watch.take() if watch is not None else None
    first = {upload.item_id: upload for upload in plan if upload.role == "planted"}
    delays = [
        (first[name].due_seconds, min(at) - answered.began_at - first[name].due_seconds)
        for name, at in (times or {}).items()
        if name in first
    ]
    losses = Losses(
        sent,
        after.with_outcome - before.with_outcome,
        None if after.accounted is None else after.accounted - (before.accounted or 0),
        answered.outcomes["refused"],
        sum(len(at) > 1 for at in (times or {}).values()),
    )
    return Measured(
        rate=rate,
        burst=burst,
        seconds=sent_at - began,
        drained_seconds=drained_at - sent_at,
        uploads=len(plan),
        acknowledged=_acknowledged(answered),
        door_p99_seconds=status.quantile(
            _since(door_before, status.scrape(services.door_metrics) or {}), _ACKNOWLEDGED, 0.99
        ),
        to_candidate=(
            percentiles([delay for _, delay in delays])
            if times is not None
            else _bucketed(before.samples, after.samples)
        ),
        to_candidate_is_bucketed=times is None,
        recall={} if times is None else recall(plan, times),
        candidates=after.candidates - before.candidates,
        unexpected=sum(name not in first for name in (times or {})),
        losses=losses,
        late_p99_seconds=_p99(answered.late),
        sent_away=answered.sent_away,
        cores=sampler.cores(),
        samples=sampler.samples,
        waiting_most=max(
            (s.waiting for s in sampler.samples if s.waiting is not None), default=None
        ),
        waiting_at_end=waiting_at_end,
        delays=answered.delays,
        candidate_delays=delays,
    )


def _counts(services: Services) -> _Counts:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (samples := status.scrape(services.scan_metrics)) is None:
        if time.monotonic() > deadline:
            raise LoadTestFailed(
                f"the scan shows no metrics on {services.scan_metrics}: see that it runs, and that "
                "this is what its --metrics says"
            )
        time.sleep(_LOOK_SECONDS)
    with_outcome = samples.get(("sluis_scan_batch_uploads_sum", ()), 0.0)
    candidates = status.by_label(samples, "sluis_scan_outcomes_total", "outcome")[CANDIDATE]
    return _Counts(int(with_outcome), int(candidates), _accounted(services), samples)


def _accounted(services: Services) -> int | None:
    """Uploads in the accounts of the log; a trial may go over midnight."""
    if services.log is None:
        return None
    today = dt.datetime.now(dt.UTC).date()
    folder = accounts_folder(services.log)
    return sum(counted_on(today - dt.timedelta(days=n), folder).rows for n in (0, 1))


def _drained(services: Services, wanted: int, patience_seconds: float) -> _Counts:
    """Wait until so many uploads have their outcome, for as long as any gets one."""
    last, since = -1, time.monotonic()
    while True:
        counts = _counts(services)
        if counts.with_outcome >= wanted:
            return counts
        now = time.monotonic()
        if counts.with_outcome > last:
            last, since = counts.with_outcome, now
        elif now - since > patience_seconds:
            return counts  # what is missing is lost: the report says so
        time.sleep(_LOOK_SECONDS)


def _acknowledged(answered: Answered) -> Percentiles:
    found = percentiles([delay for _, delay in answered.delays])
    if found is None:
        raise LoadTestFailed("nothing was uploaded: give a higher --rate or more --seconds")
    return found


def _p99(seconds: Sequence[float]) -> float:
    found = percentiles(seconds)
    return found.p99_seconds if found else 0.0


def _bucketed(before: status.Samples, after: status.Samples) -> Percentiles | None:
    """From the scan's own histogram, which counts from the front door."""
    during = _since(before, after)
    count = int(during.get((f"{_TO_CANDIDATE}_count", ()), 0))
    p50, p95, p99, most = (
        status.quantile(during, _TO_CANDIDATE, share) or 0.0 for share in (0.5, 0.95, 0.99, 1.0)
    )
    return Percentiles(count, p50, p95, p99, most) if count else None


def _since(before: status.Samples, after: status.Samples) -> status.Samples:
    return {name: value - before.get(name, 0.0) for name, value in after.items()}


class _Sampler:
    """Looks at the services every second."""

    def __init__(self, services: Services, progress: Progress) -> None:
        self.samples: list[Sample] = []
        self._services = services
        self._progress = progress
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._first = self._usage()
        self._last = self._first
        self._last_at = self._began
        self._thread = threading.Thread(target=self._work, name="samples", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    def cores(self) -> dict[str, float]:
        """CPU seconds a second, by process."""
        seconds = max(1e-3, self._last_at - self._began)
        return {
            name: (usage.cpu_seconds - self._first[name].cpu_seconds) / seconds
            for name, usage in self._last.items()
        }

    def _work(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self._look()

    def _look(self) -> None:
        self._last, self._last_at = self._usage(), time.monotonic()
        sample = Sample(
            self._last_at - self._began,
            self._waiting(),
            {name: usage.resident_bytes for name, usage in self._last.items()},
        )
        self.samples.append(sample)
        if len(self.samples) % 10 == 0:
            self._progress(_line(sample))

    def _usage(self) -> dict[str, Usage]:
        if not processes.is_available():
            return {}
        found: dict[str, Usage] = {}
        for name, process_id in self._services.process_ids.items():
            itself, below = processes.usage(process_id)
            found[name] = itself
            if name == "scan":
                found["its decoders"] = below
        found["load test"] = processes.usage(os.getpid())[0]
        return found

    def _waiting(self) -> int | None:
        if self._services.log is not None:
            log = status.gather(None, None, self._services.log, None).log
            return log.waiting if log else None
        samples = status.scrape(self._services.scan_metrics)
        return None if samples is None else int(samples.get(("sluis_log_backlog_uploads", ()), 0))


def _line(sample: Sample) -> str:
    memory = _memory(sample.resident_bytes)
    return f"{sample.at_seconds:6.0f} s: {sample.waiting or 0:,} waiting{memory}"


def _memory(resident_bytes: Mapping[str, int]) -> str:
    if not resident_bytes:
        return ""
    return "; MiB: " + ", ".join(f"{name} {n / 2**20:,.0f}" for name, n in resident_bytes.items())
