"""People's decisions over the store, in either database: kept for good, verdicts without a gap."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import rulings
from support.settings import SEEDED

from pipeline.rpc import verdicts as wire
from pipeline.verdicts import (
    CONFIRMED,
    CONFIRMED_ONCE,
    DISPUTED,
    REJECTED,
    check_confirmed,
    check_signature,
    state_after,
)
from pipeline.verification.database import StoreFault
from pipeline.verification.decisions import (
    CLOSED,
    REPORTED,
    AlreadyDecided,
    AlreadyRecorded,
    Decisions,
    OutOfTurn,
)
from pipeline.verification.store import Arrival, NotFound, open_store

PATIENCE_SECONDS = 30


@pytest.fixture
def decisions(where):
    """Decisions over an empty store, whose clock says 1000, 1001, ..., with ten candidates."""
    ticks = iter(range(1000, 100_000))
    store = open_store(where, clock=lambda: next(ticks))
    candidates = [
        Arrival(rulings.subject(n).candidate_id, b"m%d" % n, bytes(16), 0, 0) for n in range(1, 11)
    ]
    store.add(candidates).result(PATIENCE_SECONDS)
    yield Decisions(store, rulings.SERVICE)
    store.close()


def cid(number: int) -> bytes:
    """A candidate's id."""
    return rulings.subject(number).candidate_id


def audited(decisions: Decisions, kind: str) -> list[dict]:
    """The facts of every act of a kind in the audit."""
    with decisions._store.read() as connection:
        rows = connection.execute(
            "SELECT facts FROM audit WHERE kind = ? ORDER BY number", (kind,)
        ).fetchall()
    return [json.loads(facts) for (facts,) in rows]


def verdicts(decisions: Decisions) -> list:
    """Every verdict of the order, its signature checked."""
    messages, head = decisions.verdicts(rulings.ORDER_ID, 0, 1000)
    found = [wire.from_message(message) for message in messages]
    for one in found:
        check_signature(one, rulings.SERVICE.public_key())
    assert [one.sequence for one in found] == list(range(1, head + 1))
    return found


def test_two_reviewers_confirm_and_a_verdict_is_signed_in_the_same_act(decisions):
    """The first confirmation waits; the second makes a verdict that a vault would accept."""
    first = rulings.decide(decisions, 1, 0)
    assert (first.stored.state, first.verdict) == (CONFIRMED_ONCE, None)
    second = rulings.decide(decisions, 1, 1)
    assert second.stored.state == CONFIRMED
    assert second == decisions.get(cid(1))
    (verdict,) = verdicts(decisions)
    assert verdict == second.verdict
    check_confirmed(verdict, rulings.SIGNERS)
    assert verdict.payload == b"payload of 1"
    assert [d.decided_at for d in verdict.decisions] == [d.decided_at for d in second.decisions]


def test_a_rejection_stands_alone_and_carries_no_payload(decisions):
    """One person's rejection is a verdict; what was opened is not kept."""
    case = rulings.decide(decisions, 1, 0, REJECTED, "a cat")
    assert case.stored.state == REJECTED
    (verdict,) = verdicts(decisions)
    assert (verdict.value, verdict.payload) == (REJECTED, b"")
    assert [(d.reason, d.pair_id) for d in verdict.decisions] == [("a cat", b"p" * 16)]


def test_a_dispute_has_a_name_and_ends_with_two_that_agree(decisions):
    """Confirmed by one and rejected by another is no verdict; a third opinion makes one."""
    rulings.decide(decisions, 1, 0)
    disputed = rulings.decide(decisions, 1, 1, REJECTED)
    assert (disputed.stored.state, disputed.verdict) == (DISPUTED, None)
    assert verdicts(decisions) == []
    settled = rulings.decide(decisions, 1, 2)
    assert settled.stored.state == CONFIRMED
    reviewers = [d.reviewer_id for d in settled.verdict.decisions]
    assert reviewers == [settled.decisions[0].reviewer_id, settled.decisions[2].reviewer_id]
    assert len(settled.decisions) == 3


def test_the_same_decision_again_changes_nothing_and_another_is_refused(decisions):
    """A lost answer may be asked for again, before and after the verdict; a change of mind not."""
    first = rulings.decide(decisions, 1, 0)
    assert rulings.decide(decisions, 1, 0) == first
    for value, reason in ((REJECTED, ""), (CONFIRMED, "another reason")):
        with pytest.raises(AlreadyDecided, match="never changed"):
            rulings.decide(decisions, 1, 0, value, reason)
    rulings.decide(decisions, 1, 1)
    assert rulings.decide(decisions, 1, 0).stored.state == CONFIRMED
    with pytest.raises(AlreadyDecided, match="verdict stands"):
        rulings.decide(decisions, 1, 2)
    assert len(audited(decisions, "decision")) == 2


def test_what_is_not_there_cannot_be_decided(decisions):
    """No decision, look-up or progress on nothing, or on what waits."""
    held = Arrival(
        cid(50), b"m", bytes(16), 0, 20_000, b"t" * 32, (("content", b"x" * 32, b"y" * 32),)
    )
    decisions._store.add([held]).result(PATIENCE_SECONDS)
    for number in (50, 99):
        with pytest.raises(NotFound):
            rulings.decide(decisions, number, 0)
        with pytest.raises(NotFound):
            decisions.explain(cid(number), "r", "C-1").result(PATIENCE_SECONDS)
        with pytest.raises(NotFound):
            decisions.record(cid(number), CLOSED, "n", "desk").result(PATIENCE_SECONDS)
    assert audited(decisions, "decision") == []
    assert audited(decisions, "explain") == []


def test_numbers_have_no_gap_in_each_order(decisions):
    """Verdicts of one order count from 1, whatever is decided elsewhere or not at all."""
    for number in (3, 1, 2):
        rulings.decide(decisions, number, 0, REJECTED)
    rulings.decide(decisions, 4, 0)
    other = replace(rulings.CONTEXT, order_id=b"o" * 16)
    about = rulings.subject(5, other)
    made = rulings.decision(0, about, b"p", REJECTED)
    decisions.decide(about, made, b"").result(PATIENCE_SECONDS)
    rulings.decide(decisions, 6, 0, REJECTED)
    assert [v.subject.candidate_id for v in verdicts(decisions)] == [cid(n) for n in (3, 1, 2, 6)]
    found, head = decisions.verdicts(other.order_id, 0, 10)
    assert ([m.sequence for m in found], head) == ([1], 1)
    assert decisions.verdicts(b"z" * 16, 0, 10) == ([], 0)
    page, head = decisions.verdicts(rulings.ORDER_ID, 1, 2)
    assert ([m.sequence for m in page], head) == ([2, 3], 4)


def test_many_reviewers_at_once_make_one_verdict(decisions):
    """Whoever comes first: one verdict a candidate, numbers without a gap, nobody counted twice."""

    def one(job: tuple[int, int]) -> bool:
        reviewer, number = job
        try:
            rulings.decide(decisions, number, reviewer, (CONFIRMED, REJECTED)[reviewer % 2])
        except AlreadyDecided:
            return False
        return True

    jobs = [(reviewer, number) for number in range(1, 6) for reviewer in range(8)]
    with ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(one, jobs))
    found = verdicts(decisions)
    assert {v.subject.candidate_id for v in found} == {cid(n) for n in range(1, 6)}
    cases = [decisions.get(cid(n)) for n in range(1, 6)]
    assert sum(kept) == sum(len(case.decisions) for case in cases)
    for case in cases:
        state, agreeing = state_after(case.decisions)
        assert case.stored.state == state
        assert case.verdict.decisions == agreeing


@settings(SEEDED, max_examples=15)
@given(order=st.permutations([(r, n, "cr"[r % 2]) for r in range(3) for n in (7, 8)]))
def test_the_state_kept_is_that_of_the_rule(tmp_path_factory, order):
    """In any order of arrival the store says what the pure rule says."""
    path = tmp_path_factory.mktemp("rule") / "s.sqlite3"
    with closing(open_store(path)) as store:
        store.add([Arrival(cid(n), b"m", bytes(16), 0, 0) for n in (7, 8)]).result(PATIENCE_SECONDS)
        made = Decisions(store, rulings.SERVICE)
        for reviewer, number, value in order:
            if made.get(cid(number)).verdict is None:
                rulings.decide(made, number, reviewer, CONFIRMED if value == "c" else REJECTED)
        for number in (7, 8):
            case = made.get(cid(number))
            assert case.stored.state == state_after(case.decisions)[0]


def test_a_candidate_that_comes_again_keeps_its_decisions(decisions):
    """A nightly scan that sends it again neither reopens nor replaces it."""
    before = rulings.decide(decisions, 1, 0, REJECTED)
    decisions._store.add([Arrival(cid(1), b"other", bytes(16), 0, 0)]).result(PATIENCE_SECONDS)
    assert decisions.get(cid(1)) == before


def test_everything_is_there_after_a_restart(where):
    """Decisions and verdicts outlive the process, and numbering goes on."""
    with closing(open_store(where)) as store:
        store.add([Arrival(cid(n), b"m", bytes(16), 0, 0) for n in (1, 2)]).result(PATIENCE_SECONDS)
        first = Decisions(store, rulings.SERVICE)
        rulings.decide(first, 1, 0)
        before = rulings.decide(first, 1, 1)
    with closing(open_store(where)) as store:
        second = Decisions(store, rulings.SERVICE)
        assert second.get(cid(1)) == before
        rulings.decide(second, 2, 0, REJECTED)
        assert [v.sequence for v in verdicts(second)] == [1, 2]


# --- progress and look-ups --------------------------------------------------------------------


def test_a_report_follows_a_confirmation_and_the_end_follows_a_report(decisions):
    """Each step once, in turn; a repeat answers when it was first recorded."""
    rulings.decide(decisions, 1, 0)
    with pytest.raises(OutOfTurn, match="confirmed_once"):
        decisions.record(cid(1), REPORTED, "n", "desk").result(PATIENCE_SECONDS)
    rulings.decide(decisions, 1, 1)
    with pytest.raises(OutOfTurn, match="closed follows"):
        decisions.record(cid(1), CLOSED, "n", "desk").result(PATIENCE_SECONDS)
    at = decisions.record(cid(1), REPORTED, "EU-7", "desk").result(PATIENCE_SECONDS)
    assert decisions.record(cid(1), REPORTED, "EU-7", "desk").result(PATIENCE_SECONDS) == at
    with pytest.raises(AlreadyRecorded, match="another note"):
        decisions.record(cid(1), REPORTED, "EU-8", "desk").result(PATIENCE_SECONDS)
    assert decisions.get(cid(1)).stored.state == REPORTED
    decisions.record(cid(1), CLOSED, "done", "desk").result(PATIENCE_SECONDS)
    case = decisions.get(cid(1))
    assert case.stored.state == CLOSED
    assert case.verdict.value == CONFIRMED
    states = [facts["state"] for facts in audited(decisions, "progress")]
    assert states == [REPORTED, CLOSED]


def test_a_rejected_candidate_is_closed_and_never_reported(decisions):
    """There is nothing to report."""
    rulings.decide(decisions, 1, 0, REJECTED)
    with pytest.raises(OutOfTurn):
        decisions.record(cid(1), REPORTED, "n", "desk").result(PATIENCE_SECONDS)
    decisions.record(cid(1), CLOSED, "n", "desk").result(PATIENCE_SECONDS)
    assert decisions.get(cid(1)).stored.state == CLOSED


def test_every_act_of_people_is_in_the_audit(decisions):
    """Decisions, verdicts and look-ups, by candidate and pseudonymous reviewer; no name."""
    rulings.decide(decisions, 1, 0)
    case = rulings.decide(decisions, 1, 1)
    assert decisions.explain(cid(1), "0123456789abcdef", "C-17").result(PATIENCE_SECONDS) == case
    reviewers = [facts["reviewer_id"] for facts in audited(decisions, "decision")]
    assert reviewers == [d.reviewer_id for d in case.decisions]
    (verdict,) = audited(decisions, "verdict")
    assert (verdict["candidate"], verdict["sequence"]) == (cid(1).hex(), 1)
    (explained,) = audited(decisions, "explain")
    assert explained["reference"] == "C-17"
    assert "spiffe" not in json.dumps(
        [audited(decisions, kind) for kind in ("decision", "verdict")]
    )


# --- for good ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE decision SET reviewer = 'x'",
        "DELETE FROM decision",
        "UPDATE verdict SET sequence = 7",
        "DELETE FROM verdict",
        "UPDATE progress SET note = 'x'",
        "DELETE FROM progress",
        "INSERT INTO decision SELECT candidate_id, reviewer_id, 9, message FROM decision",
        "INSERT INTO verdict SELECT candidate_id, order_id, 9, message FROM verdict",
        "INSERT INTO verdict SELECT candidate_id, order_id, sequence, message FROM verdict",
    ],
)
def test_the_database_refuses_to_change_what_people_decided(decisions, statement):
    """Even raw SQL can neither change, remove nor double a decision, a verdict or a step."""
    rulings.decide(decisions, 1, 0, REJECTED)
    decisions.record(cid(1), CLOSED, "n", "desk").result(PATIENCE_SECONDS)
    before = decisions.get(cid(1))
    with closing(decisions._store._database.connect()) as connection, pytest.raises(StoreFault):
        connection.execute(statement)
    assert decisions.get(cid(1)) == before


@pytest.mark.parametrize("table", ["decision", "verdict", "progress"])
def test_sqlites_replace_cannot_change_it_either(tmp_path, table):
    """REPLACE deletes without asking a trigger on DELETE; another trigger stops it."""
    with closing(open_store(tmp_path / "s.sqlite3")) as store:
        store.add([Arrival(cid(1), b"m", bytes(16), 0, 0)]).result(PATIENCE_SECONDS)
        made = Decisions(store, rulings.SERVICE)
        rulings.decide(made, 1, 0, REJECTED)
        made.record(cid(1), CLOSED, "n", "desk").result(PATIENCE_SECONDS)
        with closing(store._database.connect()) as connection, pytest.raises(StoreFault):
            connection.execute(f"REPLACE INTO {table} SELECT * FROM {table}")


def test_the_opened_payload_is_erased_with_its_candidate_and_the_verdict_outlives_it(decisions):
    """Retention ends with the candidate: the verdict still proves itself, but opens nothing."""
    rulings.decide(decisions, 1, 0)
    rulings.decide(decisions, 1, 1)
    with closing(decisions._store._database.connect()) as connection:
        connection.execute("DELETE FROM candidate WHERE candidate_id = ?", (cid(1),))
        assert connection.execute("SELECT count(*) FROM opened").fetchone() == (0,)
    (verdict,) = verdicts(decisions)
    assert verdict.payload == b""
