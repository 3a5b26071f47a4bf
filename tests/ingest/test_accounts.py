"""The accounts of an upload log: every batch in them once, wherever a scan is killed."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.settings import SEEDED

from pipeline.errors import AccountingError
from pipeline.ingest import accounts as accounts_module
from pipeline.ingest.accounts import Accounts, batch_name
from pipeline.ingest.upload_log import Position
from pipeline.items import Tally

DAY = dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC).timestamp()
HOURS = 3600.0


def finish(
    folder: Path, start: tuple[int, int], end: tuple[int, int], rows: int, at: float = DAY
) -> None:
    """A batch with one failed upload and the rest clear, as the scan's last step leaves it."""
    tally = Tally(rows=rows, clear=rows - 1)
    tally.failed["decode: empty"] += 1
    outcome = {
        "tally": tally.to_json(),
        "failed": [[f"item-{start}", None, "decode", "empty"]],
        "seconds": {"match": 0.5},
        "finished_at": at,
    }
    name = batch_name(Position(*start), Position(*end))
    (folder / "outcomes" / f"{name}.json").write_text(json.dumps(outcome))


def total(folder: Path) -> tuple[int, int]:
    """Rows counted and failures named, over all days."""
    accounts = Accounts(folder)
    days = accounts.days()
    return (
        sum(day.tally.rows for day in days.values()),
        sum(len(accounts.failed(day)) for day in days),
    )


def test_batches_are_folded_into_their_day_and_removed(tmp_path):
    """Counts, times and names; nothing of the batches stays."""
    accounts = Accounts(tmp_path)
    finish(tmp_path, (1, 0), (1, 5), 5)
    finish(tmp_path, (1, 5), (2, 3), 7)
    accounts.fold()
    day = accounts.days()[dt.date(2026, 6, 15)]
    assert (day.tally.rows, day.batches, day.through) == (12, 2, Position(2, 3))
    assert day.seconds == {"match": 1.0}
    assert [row["item_id"] for row in accounts.failed(dt.date(2026, 6, 15))] == [
        "item-(1, 0)", "item-(1, 5)",
    ]  # fmt: skip
    assert not list(accounts.outcomes.iterdir())


def test_what_has_its_outcome_is_settled_up_to_the_first_that_has_not(tmp_path):
    """On a restart the log goes on behind the last finished batch, also over a segment's end."""
    accounts = Accounts(tmp_path)
    assert accounts.settled(Position(1, 4)) == Position(1, 4)
    finish(tmp_path, (1, 4), (1, 9), 5)
    finish(tmp_path, (1, 9), (2, 2), 5)
    finish(tmp_path, (2, 7), (2, 9), 2)
    assert accounts.settled(Position(1, 4)) == Position(2, 2)
    assert accounts.settled(Position(2, 0)) == Position(2, 2)


def test_batches_that_overlap_are_a_defect_and_said_so(tmp_path):
    """Counting on would count twice."""
    accounts = Accounts(tmp_path)
    finish(tmp_path, (1, 0), (1, 5), 5)
    finish(tmp_path, (1, 3), (1, 8), 5)
    with pytest.raises(AccountingError, match="overlaps"):
        accounts.fold()


def test_a_damaged_day_is_refused_rather_than_begun_anew(tmp_path):
    """Without it what is in it would be counted again."""
    (tmp_path / "days").mkdir()
    (tmp_path / "days" / "2026-06-15.json").write_text('{"tally"')
    with pytest.raises(AccountingError, match="damaged"):
        Accounts(tmp_path)


class Killed(BaseException):
    """Stands for the process ending."""


def dying(really, after: int):
    """A function that works some times; then the process is dead."""
    calls = itertools.count()

    def dies(*arguments, **options):
        if next(calls) >= after:
            raise Killed
        return really(*arguments, **options)

    return dies


STEPS = ("write_json", "sync_folder", "unlink", "fsync")


@SEEDED
@given(
    hours=st.lists(st.integers(-30, 30), min_size=1, max_size=6),
    kills=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 4)), max_size=3),
)
def test_a_kill_at_any_step_of_folding_counts_each_batch_once(hours, kills, tmp_path_factory):
    """Days may change, also backwards: a clock that is set does not confuse the counts."""
    folder = tmp_path_factory.mktemp("accounts")
    Accounts(folder)
    for number, hour in enumerate(hours):
        finish(folder, (1, 10 * number), (1, 10 * number + 10), 10, DAY + hour * HOURS)
    for step, count in kills:
        with pytest.MonkeyPatch.context() as patch:
            owner = {"unlink": Path, "fsync": os}.get(step, accounts_module)
            patch.setattr(os, "fsync", lambda _: None)  # a killed process needs none
            patch.setattr(owner, step, dying(getattr(owner, step), count))
            with contextlib.suppress(Killed):
                Accounts(folder).fold()
    accounts = Accounts(folder)
    accounts.fold()
    assert total(folder) == (10 * len(hours), len(hours))
    assert accounts.settled(Position(1, 0)) == Position(1, 10 * len(hours))
    shutil.rmtree(folder)
