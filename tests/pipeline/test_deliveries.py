"""The store's end state follows from what was delivered, not from the order, batches or repeats."""

from __future__ import annotations

import itertools
from collections import defaultdict
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import hits
from support.settings import SEEDED

from pipeline.rpc.sluis.verification.v1 import candidate_pb2
from pipeline.verification import sqlite
from pipeline.verification.expiry import sweep
from pipeline.verification.store import (
    ADDED,
    ALTERED,
    CONFLICT,
    HELD,
    QUARANTINED,
    RELEASED,
    REPEATED,
    open_store,
)

PATIENCE_SECONDS = 30
NOW = hits.DAY * 86_400.0


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch):
    """Hundreds of small commits: what is on disk after a crash is for other tests."""
    monkeypatch.setattr(sqlite, "_PRAGMAS", (*sqlite._PRAGMAS, "synchronous = OFF"))


# (content, indicator, account, released at once): few of each, so that hits meet in every way.
UNITS = [
    (content, indicator, account, at_once)
    for content in "xyz"
    for indicator in "12"
    for account in "ab"
    for at_once in (False, True)
]
HONEST = st.sampled_from(UNITS)
DAMAGED = st.tuples(
    st.sampled_from([unit for unit in UNITS if not unit[3]]),
    st.sampled_from(["content", "indicator", "ciphertext"]),
    st.integers(1, 2),
)


def candidate(delivery, copy: int = 0) -> candidate_pb2.Candidate:
    """The candidate of a delivery, honest or damaged."""
    if is_damaged(delivery):
        (content, indicator, account, _), how, number = delivery
        return hits.altered(hits.sealed(content, indicator, account), how, number)
    content, indicator, account, at_once = delivery
    return hits.sealed(content, indicator, account, at_once=at_once, copy=copy)


def deliver(where, batches) -> tuple[dict, list[list[str]]]:
    """Deliver batches to an empty store: its end state, and the answers."""
    with closing(open_store(where, clock=lambda: NOW)) as store:
        answers = [
            store.add([hits.arrival(candidate(*one)) for one in batch]).result(PATIENCE_SECONDS)
            for batch in batches
        ]
        return hits.end_state(store), answers


def expected(deliveries) -> dict[bytes, str]:
    """An oracle: by account, two hits that differ in both open all honest ones of it."""
    states = {}
    for account in "ab":
        waiting = [d for d in deliveries if not is_damaged(d) and d[2] == account and not d[3]]
        damaged = [d for d in deliveries if is_damaged(d) and d[0][2] == account]
        # A flipped ciphertext leaves the shares right: such a record helps to open its group.
        right = waiting + [unit for unit, how, _ in damaged if how == "ciphertext"]
        opens = any(a[0] != b[0] and a[1] != b[1] for a, b in itertools.combinations(right, 2))
        ys = defaultdict(set)
        for unit, how, number in [*damaged, *((unit, "", 0) for unit in waiting)]:
            for stream, x in zip(("content", "indicator"), unit, strict=False):
                ys[stream, x].add(number if how == stream else "right")
        for one in waiting + damaged:
            unit = one[0] if is_damaged(one) else one
            contested = len(ys["content", unit[0]]) > 1 or len(ys["indicator", unit[1]]) > 1
            closed = QUARANTINED if contested else HELD
            opened = QUARANTINED if is_damaged(one) else RELEASED
            states[candidate(one).candidate_id] = opened if opens else closed
    at_once = [d for d in deliveries if not is_damaged(d) and d[3]]
    return states | {candidate(d).candidate_id: RELEASED for d in at_once}


def is_damaged(delivery) -> bool:
    """Whether a delivery is a damaged record."""
    return isinstance(delivery[0], tuple)


@settings(SEEDED, max_examples=30)
@given(data=st.data())
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_any_order_repetition_and_batching_gives_the_same_end(
    kind, tmp_path_factory, postgres_server, data
):
    """Property 11, with honest hits, notices, damaged records and contradicting shares."""

    def place():
        if kind == "postgresql":
            return postgres_server.new_url()
        return tmp_path_factory.mktemp("store") / "db"

    deliveries = data.draw(st.lists(HONEST | DAMAGED, min_size=1, max_size=10, unique=True))
    plain, _ = deliver(place(), [[(one, 0)] for one in deliveries])
    repeats = data.draw(st.lists(st.sampled_from(deliveries), max_size=6))
    again = data.draw(st.permutations([(d, 0) for d in deliveries] + [(d, 1) for d in repeats]))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(again)), max_size=4)))
    batches = [again[a:b] for a, b in itertools.pairwise([0, *cuts, len(again)])]
    mixed, answers = deliver(place(), batches)
    assert mixed == plain
    assert {row[0]: row[3] for row in mixed["candidates"]} == expected(deliveries)
    flat = [answer for batch in answers for answer in batch]
    seen = set()
    for (delivery, _), answer in zip(again, flat, strict=True):  # a repeat never counts as new
        aside = {CONFLICT, ALTERED}
        assert answer in aside | ({REPEATED} if delivery in seen else {ADDED})
        seen.add(delivery)


RETENTION_DAYS = 30
DATED = st.lists(
    st.tuples(
        st.integers(0, 40),  # days since the delivery before
        st.lists(
            st.tuples(st.sampled_from(UNITS), st.integers(0, 35)),  # a hit, and how old it is
            min_size=1,
            max_size=4,
        ),
    ),
    min_size=1,
    max_size=5,
)


def over_time(where, days, *, sweeps: bool) -> dict:
    """Deliver batches, each on its day, with a sweep before each or with none but the last."""
    now = [hits.DAY]
    with closing(
        open_store(where, clock=lambda: now[0] * 86_400.0, retention_days=RETENTION_DAYS)
    ) as store:
        for day, batches in days:
            now[0] = day
            if sweeps:
                sweep(store)
            for batch in batches:
                store.add([hits.arrival(one) for one in batch]).result(PATIENCE_SECONDS)
        sweep(store)
        return hits.end_state(store)


@settings(SEEDED, max_examples=60)
@given(dated=DATED, data=st.data())
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_end_does_not_depend_on_when_a_sweep_came(
    kind, tmp_path_factory, postgres_server, dated, data
):
    """Property 11 under a clock that moves: order within a day, repeats, batches and sweeps."""

    def place():
        if kind == "postgresql":
            return postgres_server.new_url()
        return tmp_path_factory.mktemp("store") / "db"

    today, seen, plain, mixed = hits.DAY, [], [], []
    for days, deliveries in dated:
        today += days
        batch = []
        for unit, age in deliveries:
            if unit not in [known for known, _ in seen]:
                content, indicator, account, at_once = unit
                made = hits.sealed(content, indicator, account, at_once=at_once, day=today - age)
                batch.append(made)
                seen.append((unit, made))
        repeats = data.draw(st.lists(st.sampled_from([made for _, made in seen]), max_size=3))
        again = batch + repeats
        shuffled = [again[n] for n in data.draw(st.permutations(range(len(again))))]
        plain.append((today, [batch]))
        mixed.append((today, [[one] for one in shuffled]))
    assert over_time(place(), mixed, sweeps=True) == over_time(place(), plain, sweeps=False)


def test_a_repeat_changes_not_even_the_audit(where):
    """Nothing at all is written for what is already there."""
    batch = [hits.arrival(hits.sealed(c, i)) for c, i in ("x1", "y2", "x2")]
    with closing(open_store(where, clock=lambda: NOW)) as store:
        store.add(batch).result(PATIENCE_SECONDS)
        before = hits.everything(store)
        fresh = [hits.arrival(hits.sealed(c, i, copy=1)) for c, i in ("y2", "x1")]
        assert store.add([*fresh, *batch]).result(PATIENCE_SECONDS) == [REPEATED] * 5
        assert hits.everything(store) == before


def test_a_late_hit_opens_again_with_the_pair_that_opened_first(where):
    """A group of many alike opens with one that differs, and every later hit finds its key."""
    with closing(open_store(where, clock=lambda: NOW)) as store:
        alike = [hits.sealed("x", f"{n}") for n in range(70)]
        for one in alike:
            store.add([hits.arrival(one)]).result(PATIENCE_SECONDS)
        assert set(hits.states(store).values()) == {HELD}
        for content, indicator in ("y5", "z6"):
            store.add([hits.arrival(hits.sealed(content, indicator))]).result(PATIENCE_SECONDS)
        assert set(hits.states(store).values()) == {RELEASED}
        page, total = store.page(0, 100, None)
        assert total == 72
        assert [one.sequence for one in page] == list(range(1, 73))
        assert len({one.group_ref for one in page}) == 1


FORGED = 40
"""Records whose pairs are more than anyone would try each time anew."""


def forged(number: int) -> candidate_pb2.Candidate:
    """A record of the honest hits' group, under an id that sorts first, on no line of it."""
    made = candidate_pb2.Candidate()
    made.CopyFrom(hits.sealed("x", "1"))
    made.candidate_id = number.to_bytes(4, "big") + bytes(12)
    for share in made.threshold.shares:
        share.x = (1_000 + number).to_bytes(32, "big")
        share.y = (7 * number + share.stream).to_bytes(32, "big")
    return made


@pytest.mark.parametrize("before", [0, 20, FORGED])
def test_forged_records_keep_no_honest_pair_shut(where, before):
    """However many there are, and however many of them came before the honest ones."""
    junk = [forged(number) for number in range(1, FORGED + 1)]
    honest = [hits.sealed("x", "1"), hits.sealed("y", "2")]
    with closing(open_store(where, clock=lambda: NOW)) as store:
        for batch in (junk[:before], honest[:1], junk[before:], honest[1:]):
            store.add([hits.arrival(one) for one in batch]).result(PATIENCE_SECONDS)
        found = hits.states(store)
    assert found == {one.candidate_id: QUARANTINED for one in junk} | {
        one.candidate_id: RELEASED for one in honest
    }


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_direct_seal_takes_no_proven_ones_place(where, order):
    """Whichever comes first: reviewers get what the group's tag proves, not what anyone can make."""
    honest, other = hits.sealed("x", "1"), hits.sealed("y", "2")
    junk = candidate_pb2.Candidate()
    junk.CopyFrom(hits.sealed("junk", "9", at_once=True))
    junk.candidate_id = honest.candidate_id

    def shown(parts) -> bytes:
        with closing(open_store(where, clock=lambda: NOW)) as store:
            for one in parts:
                store.add([hits.arrival(one)]).result(PATIENCE_SECONDS)
            message = store.get(honest.candidate_id).message
        return candidate_pb2.Candidate.FromString(message).direct.ciphertext

    parts = [honest, other, junk]
    assert shown([parts[n] for n in order]) != junk.direct.ciphertext
    assert shown([hits.sealed("z", "3")]) != junk.direct.ciphertext


def test_a_direct_seal_that_people_have_decided_on_stays(where):
    """Their signatures are on what they have opened."""
    honest, notice = hits.sealed("x", "1"), hits.sealed("x", "1", at_once=True)
    with closing(open_store(where, clock=lambda: NOW)) as store:
        for one in (honest, notice):
            store.add([hits.arrival(one)]).result(PATIENCE_SECONDS)
        store.submit(
            lambda t: t.execute("UPDATE candidate SET state = 'confirmed_once'").rowcount
        ).result(PATIENCE_SECONDS)
        before = store.get(honest.candidate_id).message
        store.add([hits.arrival(hits.sealed("y", "2"))]).result(PATIENCE_SECONDS)
        assert store.get(honest.candidate_id).message == before


def test_a_record_of_another_context_under_the_same_tag_opens_nothing(where):
    """A tag commits to its order, epoch and policy: a record that names another is put aside."""
    foreign = hits.altered(hits.sealed("x", "1"), "ciphertext")
    foreign.context.epoch = 7
    with closing(open_store(where, clock=lambda: NOW)) as store:
        for one in (foreign, hits.sealed("y", "2")):
            store.add([hits.arrival(one)]).result(PATIENCE_SECONDS)
        assert not hits.readable(store)
        store.add([hits.arrival(hits.sealed("z", "3"))]).result(PATIENCE_SECONDS)
        assert hits.states(store)[foreign.candidate_id] == QUARANTINED
        assert len(hits.readable(store)) == 2
