"""Expiry: what waited in vain disappears, what was released loses its contents, and both count."""

from __future__ import annotations

import json
from contextlib import closing

import pytest
from support import hits

from pipeline.errors import SluisError
from pipeline.rpc.sluis.verification.v1 import candidate_pb2
from pipeline.verification.database import StoreRefused
from pipeline.verification.expiry import Deleted, NotServed, close_epoch, sweep
from pipeline.verification.store import (
    ADDED,
    CLOSED,
    EARLY,
    EXPIRED,
    HELD,
    QUARANTINED,
    RELEASED,
    REPEATED,
    open_store,
)

PATIENCE_SECONDS = 30
RETENTION_DAYS = 30


class Clock:
    """A clock that a test turns."""

    day = hits.DAY

    def __call__(self) -> float:
        """Noon of the day."""
        return self.day * 86_400.0 + 43_200


@pytest.fixture
def clock() -> Clock:
    """Stands on the day of the hits."""
    return Clock()


@pytest.fixture
def store(where, clock):
    """A store that keeps for thirty days."""
    with closing(open_store(where, clock=clock, retention_days=RETENTION_DAYS)) as made:
        yield made


def add(store, *candidates) -> list[str]:
    """Deliver candidates."""
    return store.add([hits.arrival(one) for one in candidates]).result(PATIENCE_SECONDS)


def acts(store, kind: str) -> list[dict]:
    """The facts of the audit's links of a kind."""
    with store.read() as connection:
        rows = connection.execute("SELECT facts FROM audit WHERE kind = ?", (kind,)).fetchall()
    return [json.loads(facts) for (facts,) in rows]


def test_a_single_hit_is_kept_to_its_last_day_and_not_longer(store, clock):
    """Retention runs from the hit's day; the last day counts."""
    one = hits.sealed("x", "1")
    assert add(store, one) == [ADDED]
    clock.day += RETENTION_DAYS
    assert sweep(store) == Deleted()
    assert hits.states(store) == {one.candidate_id: HELD}
    clock.day += 1
    assert sweep(store) == Deleted(held=1)
    assert not any(hits.end_state(store).values())
    assert [fact["held"] for fact in acts(store, "sweep")] == [1]
    assert sweep(store) == Deleted()
    assert len(acts(store, "sweep")) == 1


def test_a_nightly_scan_does_not_bring_an_expired_hit_back(store, clock):
    """Refused by name on arrival, before and after a sweep, and nothing of it is kept."""
    clock.day += RETENTION_DAYS + 1
    before = hits.everything(store)
    assert add(store, hits.sealed("x", "1"), hits.sealed("x", "1", copy=1)) == [EXPIRED] * 2
    assert hits.everything(store) == before


def test_an_expired_hit_helps_no_later_one(store, clock):
    """A hit that comes after the first one's retention finds no second."""
    add(store, hits.sealed("x", "1"))
    clock.day += RETENTION_DAYS + 1
    sweep(store)
    late = hits.sealed("y", "2", day=clock.day)
    assert add(store, late) == [ADDED]
    assert hits.states(store) == {late.candidate_id: HELD}


def test_a_hit_past_its_retention_is_no_second_one_however_late_the_sweep(store, clock):
    """The intake itself erases what is due of a group before a newcomer meets it."""
    add(store, hits.sealed("x", "1"))
    clock.day += RETENTION_DAYS + 1
    late = hits.sealed("y", "2", day=clock.day)
    assert add(store, late) == [ADDED]
    assert hits.states(store) == {late.candidate_id: HELD}
    assert [fact["held"] for fact in acts(store, "sweep")] == [1]
    assert sweep(store) == Deleted()


def test_a_notice_that_comes_after_the_retention_begins_anew(store, clock):
    """The hit that waited is gone by then, swept or not; nothing of it is left with the notice."""
    add(store, hits.sealed("x", "1"))
    clock.day += RETENTION_DAYS + 1
    notice = hits.sealed("x", "1", at_once=True)
    assert add(store, notice) == [ADDED]
    assert hits.states(store) == {notice.candidate_id: RELEASED}
    assert not hits.end_state(store)["shares"]


def test_no_seal_is_kept_of_what_is_erased(store, clock):
    """A hit on new material under the id of a closed file is known, and counts for nothing."""
    add(store, hits.sealed("x", "1", at_once=True))
    clock.day += RETENTION_DAYS + 1
    sweep(store)
    assert add(store, hits.sealed("x", "1", day=clock.day)) == [REPEATED]
    assert not hits.end_state(store)["shares"]


def test_shares_of_those_that_stay_are_kept(store, clock):
    """Two hits may share a point: it stays as long as one of them does."""
    add(store, hits.sealed("x", "1"))
    clock.day += 5
    add(store, hits.sealed("x", "2", day=clock.day))
    clock.day += RETENTION_DAYS - 4
    assert sweep(store) == Deleted(held=1)
    add(store, hits.sealed("y", "1", day=clock.day))
    assert len(hits.readable(store)) == 2


def test_what_is_known_or_notified_is_taken_however_old(store, clock):
    """Only a hit that would have to wait can come too late; a notice always releases."""
    clock.day += 10 * RETENTION_DAYS
    known = hits.sealed("x", "1", at_once=True)
    assert add(store, known) == [ADDED]
    assert hits.states(store) == {known.candidate_id: RELEASED}
    assert sweep(store) == Deleted()


@pytest.mark.parametrize("at_once", [False, True])
def test_a_day_that_has_not_come_is_refused(store, clock, at_once):
    """Tomorrow is taken, since clocks differ; a later day would be kept beyond the retention."""
    tomorrow = hits.sealed("x", "1", day=clock.day + 1, at_once=at_once)
    assert add(store, tomorrow) == [ADDED]
    before = hits.everything(store)
    assert add(store, hits.sealed("y", "2", day=clock.day + 2, at_once=at_once)) == [EARLY]
    assert hits.everything(store) == before


def test_quarantined_hits_expire_too(store, clock):
    """What was put aside is not kept for ever."""
    one = hits.sealed("x", "1")
    add(store, one, hits.altered(one, "content"))
    assert set(hits.states(store).values()) == {QUARANTINED}
    clock.day += RETENTION_DAYS + 1
    assert sweep(store) == Deleted(quarantined=2)
    assert hits.states(store) == {}


def test_a_released_hit_keeps_its_record_and_loses_its_contents(store, clock):
    """From its release on it is kept as long again; then id, state and sequence are left."""
    pair = [hits.sealed("x", "1"), hits.sealed("y", "2")]
    add(store, pair[0])
    clock.day += 20
    add(store, pair[1])
    clock.day += RETENTION_DAYS
    assert sweep(store) == Deleted()
    clock.day += 1
    assert sweep(store) == Deleted(erased=2)
    page, total = store.page(0, 10, None)
    assert total == 2
    assert [one.sequence for one in page] == [1, 2]
    for one in page:
        message = candidate_pb2.Candidate.FromString(one.message)
        assert message.candidate_id == one.candidate_id
        assert message.WhichOneof("seal") is None
    end = hits.end_state(store)
    assert not end["shares"]
    assert not end["groups"]
    assert {row[4] for row in end["candidates"]} == {None}  # what was one group is no longer
    assert add(store, *pair) == [REPEATED] * 2  # a nightly scan opens no closed file again
    assert sweep(store) == Deleted()
    assert [fact["erased"] for fact in acts(store, "sweep")] == [2]


def test_a_group_whose_first_pair_is_erased_opens_by_another(store, clock):
    """The pair that opened it is gone; the hits that are left still open a new one, or wait."""
    add(store, hits.sealed("x", "1"), hits.sealed("y", "2"))
    clock.day += 10
    add(store, hits.sealed("z", "3", day=clock.day), hits.sealed("w", "4", day=clock.day))
    clock.day += RETENTION_DAYS - 5
    assert sweep(store) == Deleted(erased=2)
    late = hits.sealed("v", "5", day=clock.day)
    assert add(store, late) == [ADDED]
    assert hits.states(store)[late.candidate_id] == RELEASED
    clock.day += RETENTION_DAYS + 1
    assert sweep(store) == Deleted(erased=3)
    alone = hits.sealed("u", "6", day=clock.day)
    add(store, alone)
    assert hits.states(store)[alone.candidate_id] == HELD


def test_a_large_sweep_goes_in_steps(store, clock):
    """More than one transaction holds is deleted all the same, and every one counted."""
    message = hits.sealed("x", "1")
    many = []
    for number in range(1_200):
        copy = candidate_pb2.Candidate()
        copy.CopyFrom(message)
        copy.candidate_id = number.to_bytes(16, "big")
        copy.threshold.group_tag = number.to_bytes(32, "big")
        many.append(hits.arrival(copy))
    store.add(many[:600]).result(PATIENCE_SECONDS)
    store.add(many[600:]).result(PATIENCE_SECONDS)
    clock.day += RETENTION_DAYS + 1
    assert sweep(store) == Deleted(held=1_200)
    assert sum(fact["held"] for fact in acts(store, "sweep")) == 1_200
    assert not any(hits.end_state(store).values())


def test_a_sweep_looks_only_at_what_is_due(store, where):
    """Its question is answered from an index, whatever the number of candidates."""
    explain = "EXPLAIN QUERY PLAN" if "sqlite3" in where else "EXPLAIN"
    with store.read() as connection:
        if explain == "EXPLAIN":
            connection.execute("SET enable_seqscan = off")  # an empty table is always scanned
        rows = connection.execute(
            f"{explain} SELECT candidate_id FROM candidate WHERE delete_after < 5 LIMIT 9"
        ).fetchall()
        if explain == "EXPLAIN":
            connection.execute("RESET enable_seqscan")
    assert "candidate_by_last_day" in str(rows)


def test_deleted_hits_leave_the_file(tmp_path, clock):
    """Of a single hit that was swept, nothing is left in SQLite's file or its log."""
    place = tmp_path / "db"
    one = hits.sealed("x", "1")
    with closing(open_store(place, clock=clock, retention_days=RETENTION_DAYS)) as store:
        add(store, one)
        clock.day += RETENTION_DAYS + 1
        assert sweep(store) == Deleted(held=1)
        left = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert one.threshold.ciphertext[:64] not in left
    assert one.threshold.group_tag not in left
    assert one.candidate_id not in left


@pytest.mark.parametrize("days", [0, -1, 366])
def test_retention_is_at_least_a_day_and_at_most_twelve_months(where, days):
    """Regulation allows no longer."""
    with pytest.raises(StoreRefused, match="at most 365"):
        open_store(where, retention_days=days)


# --- closed epochs ----------------------------------------------------------------------------


def receipt(**changes) -> dict:
    """The facts of a receipt for the only epoch of the hits' order."""
    order = hits.sealed("x", "1").context.order_id.hex()
    return {"order_id": order, "epoch": 0} | changes


def test_a_closed_epoch_takes_nothing_and_loses_its_singles(store):
    """What was released before stays; what waited is deleted; what comes is refused by name."""
    pair = [hits.sealed("x", "1"), hits.sealed("y", "2")]
    single = hits.sealed("x", "1", "lonely")
    add(store, *pair, single)
    assert close_epoch(store, receipt()) == Deleted(held=1)
    assert hits.readable(store) == {one.candidate_id for one in pair}
    assert single.candidate_id not in hits.states(store)
    before = hits.everything(store)
    late = [single, hits.sealed("z", "3"), hits.sealed("z", "4", at_once=True)]
    assert add(store, *late, pair[0]) == [CLOSED] * 3 + [REPEATED]
    assert close_epoch(store, receipt()) == Deleted()
    assert hits.everything(store) == before
    (closed,) = acts(store, "epoch_closed")
    assert closed == receipt()
    assert [fact["held"] for fact in acts(store, "epoch_erased")] == [1]


def test_another_epoch_goes_on(store):
    """Closing touches its own order and epoch alone."""
    add(store, hits.sealed("x", "1"))
    assert close_epoch(store, receipt(epoch=1)) == Deleted()
    assert close_epoch(store, receipt(order_id="00" * 16)) == Deleted()
    assert add(store, hits.sealed("y", "2")) == [ADDED]
    assert len(hits.readable(store)) == 2


@pytest.mark.parametrize("wrong", [{"order_id": "zz"}, {"order_id": None}, {"epoch": "x"}])
def test_a_receipt_that_names_nothing_closes_nothing(store, wrong):
    """It is said to be the provider's to mend."""
    before = hits.everything(store)
    with pytest.raises(NotServed):
        close_epoch(store, receipt(**wrong))
    assert issubclass(NotServed, SluisError)
    assert hits.everything(store) == before
