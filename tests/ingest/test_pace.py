"""How much the scan takes at once, and what it does with a batch that it dies on."""

from __future__ import annotations

import json
import logging

from hypothesis import given, settings
from hypothesis import strategies as st
from support.settings import SEEDED

from pipeline.ingest import logs
from pipeline.ingest.attempts import MOST_ATTEMPTS, Attempts
from pipeline.ingest.batch_size import LEAST_ROWS, MOST_ROWS, TARGET_SECONDS, BatchSize
from pipeline.ingest.upload_log import Position


@SEEDED
@given(
    st.lists(st.tuples(st.integers(1, 5000), st.floats(0, 1e4)), max_size=30), st.integers(1, 4000)
)
def test_a_batch_is_never_empty_and_never_above_the_bound(batches, most_rows):
    """Whatever was measured."""
    size = BatchSize(most_rows)
    for rows, seconds in batches:
        size.took(rows, seconds)
        assert 1 <= size.rows <= most_rows


def test_a_full_batch_takes_about_the_target():
    """At 200 uploads a second, 200; at 3, the least; at a million, the most."""
    for rate, wanted in ((200, 200 * TARGET_SECONDS), (3, LEAST_ROWS), (1e6, MOST_ROWS)):
        size = BatchSize()
        for _ in range(40):
            size.took(size.rows, size.rows / rate)
        assert abs(size.rows - wanted) <= 1


def test_small_batches_say_nothing_about_the_rate():
    """Their own cost would be taken for their uploads'."""
    size = BatchSize()
    before = size.rows
    size.took(1, 10.0)
    assert size.rows == before


def simulate(path, rows: int, poisons: set[int], batch_rows: int, deaths: int = 100):
    """A scan of `rows` uploads that dies on some, started again each time; what it gave up."""
    at, given_up, attempts = 0, [], Attempts(path)
    while at < rows:
        attempt = attempts.next(Position(1, at))
        end = min(rows, at + (1 if attempt.alone else batch_rows))
        if attempt.hopeless:
            given_up.append(at)
            at = end
            continue
        attempts.begin(attempt, Position(1, end))
        if poisons & set(range(at, end)):
            deaths -= 1
            assert deaths >= 0, "it dies for ever"
            attempts = Attempts(path)
            continue
        at = end
    return given_up


@settings(SEEDED, max_examples=25)
@given(st.sets(st.integers(0, 39), max_size=4), st.integers(1, 50))
def test_exactly_the_uploads_that_kill_the_scan_are_given_up(tmp_path_factory, poisons, batch_rows):
    """By name, and no other; the stream comes to its end after a bounded number of deaths."""
    path = tmp_path_factory.mktemp("attempts") / "attempt.json"
    bound = 2 * MOST_ATTEMPTS * max(1, len(poisons))
    assert simulate(path, 40, poisons, batch_rows, bound) == sorted(poisons)


def test_an_excused_attempt_does_not_count(tmp_path):
    """However often verification is away."""
    attempts = Attempts(tmp_path / "attempt.json")
    for _ in range(10):
        attempt = attempts.next(Position(1, 0))
        assert not attempt.alone
        attempts.begin(attempt, Position(1, 8))
        attempts.excuse()


def test_a_torn_note_is_no_note(tmp_path):
    """The worst that follows is one more attempt."""
    (tmp_path / "attempt.json").write_text('{"start"')
    assert Attempts(tmp_path / "attempt.json").next(Position(1, 0)).number == 1


def record(error: BaseException) -> logging.LogRecord:
    """A warning with an exception whose text quotes an upload."""
    info = (type(error), error, None)
    return logging.LogRecord("pipeline.x", logging.WARNING, "f", 1, "%s waits", ("one",), info)


def test_a_log_line_says_what_happened_and_of_an_exception_only_its_type():
    """The text of an exception may quote an upload."""
    line = json.loads(logs.JsonLines().format(record(ValueError("holiday.jpg"))))
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "warning", "part": "pipeline.x", "message": "one waits", "error": "ValueError",
    }  # fmt: skip
    text = logs.Human().format(record(ValueError("holiday.jpg")))
    assert text.endswith("WARNING: one waits (ValueError)")
