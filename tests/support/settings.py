"""Hypothesis settings: the same examples on every run, no deadline, nothing written to disk."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

SEEDED = settings(
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
