"""Figures of a load test: percentiles that occurred, recall, losses, growth; and processes."""

from __future__ import annotations

import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import results
from support.settings import SEEDED

from pipeline.loadtest import measure, processes, saturation
from pipeline.loadtest.edits import UNEDITED
from pipeline.loadtest.measure import Losses, Sample
from pipeline.loadtest.mixture import Content, Upload

MIB = 2**20


@SEEDED
@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=300))
def test_a_percentile_is_the_nearest_rank(seconds):
    """By its definition: the smallest value that so many are not above."""
    found = measure.percentiles(seconds)
    ordered = sorted(seconds)
    for share, value in (
        (0.5, found.p50_seconds),
        (0.95, found.p95_seconds),
        (0.99, found.p99_seconds),
    ):
        assert value == ordered[math.ceil(share * len(ordered) - 1e-9) - 1]
    assert (found.most_seconds, found.count) == (ordered[-1], len(ordered))


def test_nothing_has_no_percentiles():
    """Not zero."""
    assert measure.percentiles([]) is None


def upload(item_id: str, role: str, edit: str = "") -> Upload:
    """An upload of a plan."""
    return Upload(0.0, item_id, role, Content("image", b"", edit), b"", is_covered=True)


def test_recall_counts_planted_uploads_once_by_edit():
    """What is sent again is no second chance, and others do not count."""
    plan = [
        upload("a", "planted", UNEDITED),
        upload("b", "planted", "mirrored"),
        upload("c", "planted", "mirrored"),
        upload("b", "sent again", "mirrored"),
        upload("d", "fresh"),
    ]
    found = measure.recall(plan, {"a", "c", "d"})
    assert found == {UNEDITED: measure.Recall(1, 1), "mirrored": measure.Recall(2, 1)}
    assert list(found) == [UNEDITED, "mirrored"]


@pytest.mark.parametrize(
    ("losses", "lost"),
    [
        (Losses(10, 10, 10, 0, 0), 0),
        (Losses(10, 9, 10, 0, 0), 1),
        (Losses(10, 10, 7, 0, 0), 3),
        (Losses(10, 10, 11, 0, 0), -1),
        (Losses(10, 10, None, 0, 0), 0),
    ],
)
def test_a_loss_is_what_either_count_lacks(losses, lost):
    """More outcomes than uploads is no better than fewer."""
    assert losses.lost == lost


def samples(values: list[int]) -> list[Sample]:
    """One process's memory, a second apart, in MiB."""
    return [Sample(float(at), 0, {"scan": value * MIB}) for at, value in enumerate(values)]


def test_memory_that_rises_at_first_and_stays_is_flat():
    """A saw-tooth of the engine is no growth either."""
    assert measure.growth(samples([100] * 4 + [300, 310] * 8))["scan"].is_flat


def test_memory_that_keeps_growing_is_not_flat():
    """A megabyte a second, from 300."""
    assert not measure.growth(samples(list(range(300, 500))))["scan"].is_flat


def test_too_few_samples_say_nothing_about_growth():
    """Rather than that all is well."""
    assert measure.growth(samples([1, 2, 3])) == {}


def test_a_processs_name_may_hold_anything():
    """Brackets and blanks too: proc(5) separates it by nothing else."""
    rest = " ".join(str(n) for n in range(4, 53))
    stat = f"12 (a ) b (c) R {rest}"
    parent, usage = processes.parsed(stat)
    assert parent == 4
    assert usage.cpu_seconds == (14 + 15) / os.sysconf("SC_CLK_TCK")
    assert usage.resident_bytes == 24 * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not processes.is_available(), reason="needs /proc")
def test_the_usage_of_this_process_is_seen():
    """It runs Python: some megabytes, some CPU."""
    itself, _ = processes.usage(os.getpid())
    assert itself.resident_bytes > 10 * MIB
    assert itself.cpu_seconds > 0


def limited_to(limit: float):
    """A trial of services that keep up with so many uploads a second."""

    def trial(rate: float, seconds: float, _burst: float) -> measure.Measured:
        over = max(0.0, rate - limit)
        return results.measured(rate=rate, seconds=seconds, waiting_at_end=round(over * seconds))

    return trial


@SEEDED
@given(st.floats(30, 300))
def test_the_saturation_rate_is_found_from_below(limit):
    """Never a rate that was not kept up with beyond a second's uploads; within two fine steps."""
    bare = [saturation.Bare(100.0, 0.01), saturation.Bare(90.0, 0.01)]
    found = saturation.find(limited_to(limit), 1.0, bare.pop)
    tolerated = limit / (1 - 1 / saturation.STEP_SECONDS)  # a second's worth may wait
    assert found.rate <= tolerated * 1.02 + 1
    assert found.rate >= min(limit, tolerated) / 1.1 / 1.02
    assert found.ratio == found.rate / 100.0


def test_services_that_keep_up_with_nothing_have_no_saturation_rate():
    """Zero, and no endless search."""
    found = saturation.find(limited_to(0.0), 10.0, None)
    assert (found.rate, found.ratio) == (0.0, None)
