"""Where a match lies, in words."""

from __future__ import annotations

import pytest

from pipeline.places import inner_place, spans_shown
from pipeline.rpc.sluis.verification.v1.candidate_pb2 import TimeSpan


@pytest.mark.parametrize(
    ("path", "words"), [((), ""), ((3,), "entry 3"), ((3, 1), "entry 3, in it entry 1")]
)
def test_an_entry_is_named_by_the_numbers_that_lead_to_it(path, words):
    """Never by a name: names are content."""
    assert inner_place(path) == words


@pytest.mark.parametrize(
    ("spans", "total", "words"),
    [
        ([], 0, ""),
        ([(0, 0)], 1, "0:00.0 to 0:00.0"),
        ([(3_050, 65_999)], 1, "0:03.0 to 1:05.9"),
        ([(3_600_000, 3_725_400)], 3, "1:00:00.0 to 1:02:05.4 and 2 more"),
        ([(0, 1_000), (9_000, 9_500)], 2, "0:00.0 to 0:01.0, 0:09.0 to 0:09.5"),
    ],
)
def test_showings_are_named_by_the_clock(spans, total, words):
    """Hours only where there are any; what is not named is counted."""
    named = [TimeSpan(start_milliseconds=start, end_milliseconds=end) for start, end in spans]
    assert spans_shown(named, total) == words
