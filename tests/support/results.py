"""Results of load tests, made up."""

from __future__ import annotations

import datetime as dt
from typing import Any

from pipeline.loadtest.measure import Losses, Measured, Percentiles, Recall, Sample
from pipeline.loadtest.run import Result, Settings
from pipeline.loadtest.saturation import Bare, Saturation, Step


def measured(**changes: Any) -> Measured:
    """A trial in which all went well."""
    delays = [(number / 20, 0.01 + number % 7 / 1000) for number in range(400)]
    values: dict[str, Any] = {
        "rate": 20.0,
        "burst": 2.0,
        "seconds": 20.0,
        "drained_seconds": 0.5,
        "uploads": 400,
        "acknowledged": Percentiles(400, 0.011, 0.015, 0.0165, 0.017),
        "door_p99_seconds": 0.0125,
        "to_candidate": Percentiles(24, 0.21, 0.32, 0.43, 0.44),
        "to_candidate_is_bucketed": False,
        "recall": {"none": Recall(3, 3), "bordered": Recall(4, 2)},
        "candidates": 5,
        "unexpected": 0,
        "losses": Losses(388, 388, 388, 0, 0),
        "late_p99_seconds": 0.001,
        "sent_away": 0,
        "cores": {"scan": 0.5, "front door": 0.1},
        "samples": [
            Sample(float(at), at % 5, {"scan": 300 << 20, "front door": 200 << 20})
            for at in range(20)
        ],
        "waiting_most": 4,
        "waiting_at_end": 2,
        "delays": delays,
        "candidate_delays": [(1.0, 0.21), (2.0, 0.44)],
    }
    return Measured(**(values | changes))


def result(**changes: Any) -> Result:
    """A load test that found saturation at 40 uploads a second."""
    values: dict[str, Any] = {
        "settings": Settings(
            rate=20.0, seconds=20.0, burst=2.0, seed=1, find_saturation=True, photos=None, threads=2
        ),
        "began": dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC),
        "machine": {"cores": "2", "load before": "0.00, 0.00, 0.00"},
        "is_self_contained": True,
        "saturation": Saturation(
            (
                Step(30.0, 29.5, 3, 0.012, True),
                Step(40.0, 39.0, 9, 0.02, True),
                Step(52.0, 41.0, 90, 0.3, False),
            ),
            Bare(50.0, 0.031),
        ),
        "measured": measured(),
        "earlier_faults": (),
    }
    return Result(**(values | changes))
