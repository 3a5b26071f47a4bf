"""The intake over the real wire: every bad input has its name and changes nothing else."""

from __future__ import annotations

import contextlib
import functools
import queue
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support import hits
from support import world as worlds

from pipeline import keys, vouchers
from pipeline.emit import Emitter
from pipeline.errors import VerificationRefused, VerificationUnreachable
from pipeline.rpc import admission, server
from pipeline.rpc.sluis.verification.v1 import (
    candidate_pb2,
    candidate_service_pb2,
    review_service_pb2,
    verdict_service_pb2,
)
from pipeline.rpc.sluis.verification.v1.candidate_service_pb2_grpc import CandidateServiceStub
from pipeline.rpc.sluis.verification.v1.verdict_service_pb2_grpc import VerdictServiceStub
from pipeline.verification import candidate_service, service, sqlite, writer
from pipeline.verification.expiry import close_epoch
from pipeline.verification.store import HELD, QUARANTINED, RELEASED, Store, open_store
from pipeline.vouchers import Policy

PATIENCE_SECONDS = 60
RETENTION_DAYS = 30
ACCEPTED = candidate_service_pb2.SUBMIT_OUTCOME_ACCEPTED
DUPLICATE = candidate_service_pb2.SUBMIT_OUTCOME_DUPLICATE
FIELD = (2**252 + 27742317777372353535851937790883648493).to_bytes(32, "big")


@pytest.fixture
def sealed(world):
    """Seals a hit with the world's keys, for the world's order."""
    return functools.partial(
        hits.sealed, folder=world.keys / "provider", reference=worlds.REFERENCE
    )


@pytest.fixture
def address(world, where):
    """A service that keeps for thirty days."""
    with worlds.verification(world, where, retention_days=RETENTION_DAYS) as found:
        yield found


@contextmanager
def emitting(world, address):
    """A connection of the scan."""
    made = Emitter(address, world.keys / "provider")
    try:
        yield made
    finally:
        made.close()


def everything(where) -> dict:
    """Every row of a store that a service has open."""
    with closing(open_store(where, may_make=False)) as store:
        return hits.everything(store)


def states(where) -> dict[bytes, str]:
    """The state of every candidate."""
    with closing(open_store(where, may_make=False)) as store:
        return hits.states(store)


def answer(result) -> str:
    """ACCEPTED, DUPLICATE, or the reason of a rejection."""
    if result.outcome == candidate_service_pb2.SUBMIT_OUTCOME_REJECTED:
        name = candidate_service_pb2.RejectReason.Name(result.reject_reason)
        return name.removeprefix("REJECT_REASON_")
    name = candidate_service_pb2.SubmitOutcome.Name(result.outcome)
    return name.removeprefix("SUBMIT_OUTCOME_")


def copied(candidate) -> candidate_pb2.Candidate:
    """A copy that a test may break."""
    copy = candidate_pb2.Candidate()
    copy.CopyFrom(candidate)
    return copy


BREAKS = {
    "x is zero": lambda c: setattr(c.threshold.shares[0], "x", bytes(32)),
    "x is the field's order": lambda c: setattr(c.threshold.shares[1], "x", FIELD),
    "y is the field's order": lambda c: setattr(c.threshold.shares[0], "y", FIELD),
    "a short x": lambda c: setattr(c.threshold.shares[0], "x", b"\1" * 31),
    "a long y": lambda c: setattr(c.threshold.shares[1], "y", b"\1" * 33),
    "an empty y": lambda c: setattr(c.threshold.shares[1], "y", b""),
    "a short tag": lambda c: setattr(c.threshold, "group_tag", b"t" * 31),
    "a long nonce": lambda c: setattr(c.threshold, "nonce", b"n" * 13),
    "a short ciphertext": lambda c: setattr(c.threshold, "ciphertext", c.threshold.ciphertext[1:]),
    "a long ciphertext": lambda c: setattr(
        c.threshold, "ciphertext", c.threshold.ciphertext + b"x"
    ),
    "a stream twice": lambda c: setattr(
        c.threshold.shares[1], "stream", c.threshold.shares[0].stream
    ),
    "three shares": lambda c: c.threshold.shares.append(c.threshold.shares[0]),
    "no shares": lambda c: c.threshold.ClearField("shares"),
    "an unknown stream": lambda c: setattr(c.threshold.shares[0], "stream", 99),
    "a short id": lambda c: setattr(c, "candidate_id", b"i" * 15),
    "no id": lambda c: setattr(c, "candidate_id", b""),
    "no seal": lambda c: c.ClearField("threshold"),
    "a short direct seal": lambda c: setattr(c.direct, "ciphertext", b"d" * 100),
    "a short order": lambda c: setattr(c.context, "order_id", b"o" * 15),
}
REFUSED = {name: ("MALFORMED", how) for name, how in BREAKS.items()} | {
    "an unknown order": (
        "ORDER_UNKNOWN", lambda c: setattr(c.context, "order_id", vouchers.order_id("OTHER")),
    ),
    "a policy of one hit": (
        "POLICY_MISMATCH", lambda c: setattr(c.context, "policy_id", Policy(k=1).policy_id),
    ),
    "grouped by material": (
        "POLICY_MISMATCH",
        lambda c: setattr(c.context, "policy_id", vouchers.release_policy("material").policy_id),
    ),
    "a stream of another policy": (
        "POLICY_MISMATCH",
        lambda c: setattr(c.threshold.shares[1], "stream", candidate_pb2.SHARE_STREAM_ACCOUNT),
    ),
    "another verifier": ("KEY_UNKNOWN", lambda c: setattr(c, "verifier_key_id", "0" * 16)),
    "another epoch": ("EPOCH_UNKNOWN", lambda c: setattr(c.context, "epoch", 1)),
    "before the order": ("EPOCH_UNKNOWN", lambda c: setattr(c.context, "hit_day", 20_000)),
    "after the order": ("EPOCH_UNKNOWN", lambda c: setattr(c.context, "hit_day", 2**32 - 1)),
    "past its retention": ("EXPIRED", lambda c: setattr(c.context, "hit_day", 20_588)),
}  # fmt: skip


def test_every_bad_candidate_is_refused_by_name_and_changes_nothing(world, where, address, sealed):
    """One call for each, beside a store that holds all kinds of states."""
    with emitting(world, address) as emitter:
        emitter.send([sealed("x", "1"), sealed("y", "2"), sealed("x", "1", "lonely")])
        before = everything(where)
        for name, (reason, change) in REFUSED.items():
            bad = copied(sealed("bad", "9"))
            change(bad)
            (result,) = emitter.send([bad])
            assert (name, answer(result)) == (name, reason)
            assert result.candidate_id == bad.candidate_id
            assert everything(where) == before, name
        good = sealed("z", "3", "other")
        mixed = []
        for _, change in REFUSED.values():
            mixed.append(copied(sealed("bad", "9")))
            change(mixed[-1])
        answers = [answer(result) for result in emitter.send([*mixed, good])]
    assert answers == [reason for reason, _ in REFUSED.values()] + ["ACCEPTED"]
    assert len(states(where)) == 4


def test_an_altered_ciphertext_is_put_aside_by_name(world, where, address, sealed):
    """In an open group at once, with a name; it stops no other and is shown to nobody."""
    pair, third = [sealed("x", "1"), sealed("y", "2")], sealed("z", "3")
    bad = hits.altered(sealed("w", "4"), "ciphertext")
    with emitting(world, address) as emitter:
        emitter.send(pair)
        before = states(where)
        assert [answer(r) for r in emitter.send([bad, third])] == ["ALTERED", "ACCEPTED"]
        assert [answer(r) for r in emitter.send([bad])] == ["ALTERED"]
    assert states(where) == before | {
        bad.candidate_id: QUARANTINED, third.candidate_id: RELEASED
    }  # fmt: skip


def test_the_same_x_with_another_y_puts_both_aside(world, where, address, sealed):
    """By name; other groups and candidates stay as they are, and honest ones open in the end."""
    honest, other = sealed("x", "1"), sealed("x", "1", "other")
    bad = hits.altered(sealed("x", "2"), "content")
    with emitting(world, address) as emitter:
        emitter.send([honest, other])
        assert [answer(r) for r in emitter.send([bad])] == ["SHARE_CONFLICT"]
        assert states(where) == {
            honest.candidate_id: QUARANTINED, bad.candidate_id: QUARANTINED,
            other.candidate_id: HELD,
        }  # fmt: skip
        late = sealed("y", "2")
        assert [answer(r) for r in emitter.send([late])] == ["ACCEPTED"]
    assert states(where) == {
        honest.candidate_id: RELEASED, bad.candidate_id: QUARANTINED,
        other.candidate_id: HELD, late.candidate_id: RELEASED,
    }  # fmt: skip


def test_a_repeat_of_what_was_put_aside_is_refused_again(world, where, address, sealed):
    """Sent again, in one call or two, it has the answer that the first one had: never a success."""
    first, other = sealed("x", "1"), hits.altered(sealed("x", "1"), "content")
    pair = [sealed("p", "5", "opens"), sealed("q", "6", "opens")]
    bad = hits.altered(sealed("r", "7", "opens"), "ciphertext")
    with emitting(world, address) as emitter:
        emitter.send(pair)
        once = [answer(one) for one in emitter.send([first, other, other, bad, bad])]
        assert once == ["SHARE_CONFLICT"] * 3 + ["ALTERED"] * 2
        before = everything(where)
        again = [answer(one) for one in emitter.send([first, other, bad, *pair])]
    assert again == ["SHARE_CONFLICT"] * 2 + ["ALTERED"] + ["DUPLICATE"] * 2
    assert everything(where) == before


def test_a_closed_epoch_is_refused_by_name(world, where, address, sealed):
    """Once the provider's receipt is entered, while the service runs."""
    single = sealed("x", "1")
    with emitting(world, address) as emitter:
        emitter.send([single])
        with closing(open_store(where, may_make=False)) as store:
            order = single.context.order_id.hex()
            assert close_epoch(store, {"order_id": order, "epoch": 0}).held == 1
        before = everything(where)
        late = [single, sealed("y", "2"), sealed("y", "3", at_once=True)]
        assert [answer(r) for r in emitter.send(late)] == ["EPOCH_CLOSED"] * 3
    assert everything(where) == before


def test_a_reviewer_gets_nothing_that_is_held_or_put_aside(world, where, address, sealed):
    """Neither listed nor served by id, and asking changes nothing."""
    held, bad = sealed("x", "1"), hits.altered(sealed("x", "2"), "content")
    waits = sealed("x", "1", "other")
    with emitting(world, address) as emitter:
        emitter.send([held, bad, waits])
    before = everything(where)
    with worlds.reviewer(world, address) as reviewer:
        assert not list(reviewer.list(review_service_pb2.CANDIDATE_STATE_UNSPECIFIED))
        for one in (held, bad, waits):
            with pytest.raises(VerificationRefused, match="no such candidate"):
                reviewer.get(one.candidate_id)
    assert everything(where) == before


@contextmanager
def stub(world, address, party="provider"):
    """The bare service."""
    credentials = keys.identity(world.keys / party).channel_credentials()
    with grpc.secure_channel(address, credentials) as channel:
        yield CandidateServiceStub(channel)


def test_an_oversize_call_is_refused_and_nothing_of_it_kept(world, where, address, sealed):
    """Too many candidates, or a message beyond the limit: never retried, never half kept."""
    request = candidate_service_pb2.SubmitCandidatesRequest
    many = [sealed("x", "1")] * 1_001
    long = copied(sealed("y", "2"))
    long.direct.ciphertext = bytes(5 * 1024 * 1024)
    bomb = copied(sealed("z", "3"))
    bomb.threshold.shares.extend([candidate_pb2.Share()] * 100_000)
    before = everything(where)
    with stub(world, address) as intake:
        for candidates, code in (
            (many, grpc.StatusCode.INVALID_ARGUMENT),
            ([candidate_pb2.Candidate()] * 1_000_000, grpc.StatusCode.INVALID_ARGUMENT),
            ([bomb], grpc.StatusCode.INVALID_ARGUMENT),
            ([long], grpc.StatusCode.RESOURCE_EXHAUSTED),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                intake.SubmitCandidates(request(candidates=candidates), timeout=PATIENCE_SECONDS)
            assert refused.value.code() == code
    assert everything(where) == before


def test_what_a_role_may_not_call_is_denied_before_it_is_read(world, tmp_path, monkeypatch):
    """No object is made of a message whose sender may not send it, well formed or not."""
    parsed = []
    check = candidate_service.check_submitted
    method = "/sluis.verification.v1.CandidateService/SubmitCandidates"

    def noted(data):
        parsed.append(len(data))
        check(data)

    monkeypatch.setitem(service.LIMITS, method, noted)
    with worlds.verification(world, tmp_path / "store.sqlite3") as address:
        for party, code in (
            ("desk", grpc.StatusCode.PERMISSION_DENIED),
            ("provider", grpc.StatusCode.INVALID_ARGUMENT),
        ):
            credentials = keys.identity(world.keys / party).channel_credentials()
            with (
                grpc.secure_channel(address, credentials) as channel,
                pytest.raises(grpc.RpcError) as refused,
            ):
                channel.unary_unary(method)(b"\xff" * 100_000, timeout=PATIENCE_SECONDS)
            assert refused.value.code() == code
    assert parsed == [100_000]


def test_a_party_has_only_so_many_calls_under_way(world, address):
    """One more is refused, others are not, and one that ended makes room."""
    from pipeline.desk.client import VerdictsClient

    credentials = keys.identity(world.keys / "desk").channel_credentials()
    with contextlib.ExitStack() as held:
        channel = held.enter_context(grpc.secure_channel(address, credentials))
        watch = VerdictServiceStub(channel).WatchVerdicts
        request = verdict_service_pb2.WatchVerdictsRequest(order_id=b"o" * 16)
        streams = [watch(request) for _ in range(admission.MOST_CALLS)]
        for stream in streams:
            next(stream)  # a heartbeat: it is under way
        desk = VerdictsClient(address, world.keys / "desk")
        held.callback(desk.close)
        with pytest.raises(VerificationRefused, match="under way already"):
            list(desk.list(b"o" * 16, 0))
        with emitting(world, address) as emitter:
            emitter.check()
        streams[0].cancel()
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            with contextlib.suppress(VerificationRefused):
                assert list(desk.list(b"o" * 16, 0)) == []
                break
            assert time.monotonic() < until
            time.sleep(0.05)


def test_a_sweep_that_fails_is_tried_again_and_the_service_says_so(
    world, where, sealed, monkeypatch, caplog
):
    """Whatever it failed of: not serving after three times in a row, and well again afterwards."""
    monkeypatch.setattr(server, "WATCH_SECONDS", 0.1)
    monkeypatch.setattr(service, "_SWEEP_SECONDS", 0.1)
    broken = threading.Event()
    broken.set()

    def fails(_store):
        if broken.is_set():
            raise ValueError("of holiday.jpg")

    monkeypatch.setattr(service, "sweep", fails)
    with worlds.verification(world, where) as address:
        wait_until(lambda: not healthy(world, address))
        broken.clear()
        wait_until(lambda: healthy(world, address))
    assert "the sweep has failed (ValueError), 3 times in a row" in caplog.text
    assert "holiday" not in caplog.text


def test_reads_and_health_do_not_wait_behind_a_writer_that_stands(
    world, tmp_path, sealed, monkeypatch
):
    """With the file locked by another and every place for jobs taken, reviewers still read."""
    monkeypatch.setattr(server, "WATCH_SECONDS", 0.1)
    monkeypatch.setattr(service, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(writer, "_MOST_JOBS", 1)
    monkeypatch.setattr(sqlite, "_PATIENCE_SECONDS", PATIENCE_SECONDS)
    many = [sealed(f"c{n}", f"i{n}", at_once=True) for n in range(30)]
    with (
        worlds.verification(world, tmp_path / "store.sqlite3") as address,
        stub(world, address) as intake,
        closing(sqlite3.connect(tmp_path / "store.sqlite3", isolation_level=None)) as lock,
    ):
        wait_until(lambda: healthy(world, address))
        lock.execute("BEGIN IMMEDIATE")
        request = candidate_service_pb2.SubmitCandidatesRequest
        sent = [
            intake.SubmitCandidates.future(request(candidates=[one]), timeout=PATIENCE_SECONDS)
            for one in many
        ]
        wait_until(lambda: not healthy(world, address))
        with worlds.reviewer(world, address) as reviewer:
            assert list(reviewer.list(review_service_pb2.CANDIDATE_STATE_UNSPECIFIED)) == []
        assert not any(one.done() for one in sent)
        lock.execute("ROLLBACK")
        assert [one.result().results[0].outcome for one in sent] == [ACCEPTED] * 30
        wait_until(lambda: healthy(world, address))


def test_a_fault_is_logged_by_type_and_its_text_goes_nowhere(
    world, where, sealed, monkeypatch, caplog
):
    """Neither to the caller nor into the log, both of which others read."""

    def breaks(_self, _ids):
        raise ValueError("of holiday.jpg")

    monkeypatch.setattr(Store, "known", breaks)
    with (
        worlds.verification(world, where) as address,
        emitting(world, address) as emitter,
        pytest.raises(VerificationRefused, match="a fault of the service") as refused,
    ):
        emitter.send([sealed("x", "1")])
    assert "a fault (ValueError) in /sluis.verification.v1.CandidateService/Submit" in caplog.text
    assert "holiday" not in caplog.text + str(refused.value)


def wait_until(holds) -> None:
    """Or fail."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


# --- streams ----------------------------------------------------------------------------------


def batch(number: int, *candidates) -> candidate_service_pb2.StreamCandidatesRequest:
    """A batch of a stream."""
    return candidate_service_pb2.StreamCandidatesRequest(batch_number=number, candidates=candidates)


def test_a_client_that_waits_for_every_answer_is_not_kept_waiting(world, address, sealed):
    """Send one, wait for one: each answer is durable and comes before the next batch."""
    todo: queue.Queue = queue.Queue()
    bad = copied(sealed("bad", "9"))
    bad.threshold.nonce = b""
    with stub(world, address) as intake:
        replies = intake.StreamCandidates(iter(todo.get, None), timeout=PATIENCE_SECONDS)
        counts = []
        for number in range(1, 6):
            todo.put(batch(number, sealed(f"s{number}", "1"), sealed("s1", "1"), bad))
            reply = next(replies)
            assert reply.batch_number == number
            assert [answer(r) for r in reply.rejected] == ["MALFORMED"]
            counts.append((reply.accepted_count, reply.duplicate_count))
        todo.put(None)
        assert list(replies) == []
    assert counts == [(1, 1)] * 5


def test_a_client_that_waits_for_none_gets_them_all_in_order(world, where, address, sealed):
    """More batches than the service reads ahead."""
    wanted = [sealed(f"t{n}", f"{n}", f"account-{n}") for n in range(60)]
    with stub(world, address) as intake:
        requests = (batch(n, one) for n, one in enumerate(wanted, start=1))
        replies = list(intake.StreamCandidates(requests, timeout=PATIENCE_SECONDS))
    assert [reply.batch_number for reply in replies] == list(range(1, 61))
    assert sum(reply.accepted_count for reply in replies) == 60
    assert set(states(where)) == {one.candidate_id for one in wanted}


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (lambda seal: batch(2, *[seal("x", "9")] * 1_001), "send at most 1000"),
        (lambda seal: batch(1, seal("x", "9")), "batch 1 after 1"),
        (lambda seal: batch(3, seal("x", "9")), "batch 3 after 1"),
    ],
    ids=["too large", "repeated", "one left out"],
)
def test_a_wrong_batch_ends_the_stream_after_the_answers_before_it(
    world, where, address, sealed, second, message
):
    """What was answered stays; of the wrong batch and of those behind it nothing is kept."""
    first = sealed("x", "1")
    requests = iter([batch(1, first), second(sealed), batch(2, sealed("x", "8"))])
    with stub(world, address) as intake:
        replies = intake.StreamCandidates(requests, timeout=PATIENCE_SECONDS)
        assert next(replies).accepted_count == 1
        with pytest.raises(grpc.RpcError) as refused:
            next(replies)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert message in refused.value.details()
    assert set(states(where)) == {first.candidate_id}


def test_a_stream_that_breaks_off_loses_no_answer(world, where, address, sealed):
    """A client that goes away keeps what it was told; the service goes on for others."""
    with stub(world, address) as intake:
        todo: queue.Queue = queue.Queue()
        replies = intake.StreamCandidates(iter(todo.get, None), timeout=PATIENCE_SECONDS)
        todo.put(batch(1, sealed("x", "1")))
        assert next(replies).accepted_count == 1
        replies.cancel()
        todo.put(None)
    assert set(states(where)) == {sealed("x", "1").candidate_id}
    with emitting(world, address) as emitter:
        assert [answer(r) for r in emitter.send([sealed("x", "1")])] == ["DUPLICATE"]


def test_a_stream_that_brings_nothing_is_ended(world, address, sealed, monkeypatch):
    """A stream is not kept open for a client that has gone silent; what it brought is kept."""
    monkeypatch.setattr(candidate_service, "IDLE_SECONDS", 0.5)
    todo: queue.Queue = queue.Queue()
    with stub(world, address) as intake:
        replies = intake.StreamCandidates(iter(todo.get, None), timeout=PATIENCE_SECONDS)
        todo.put(batch(1, sealed("x", "1")))
        assert next(replies).accepted_count == 1
        with pytest.raises(grpc.RpcError) as ended:
            next(replies)
        todo.put(None)
    assert ended.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "no batch came" in ended.value.details()


def test_a_fifth_stream_of_one_party_is_refused(world, address, sealed):
    """Backfills are few; each may hold batches in memory."""
    todo: queue.Queue = queue.Queue()
    with stub(world, address) as intake:
        open_ones = []
        for number in range(4):
            own: queue.Queue = queue.Queue()
            own.put(batch(1, sealed(f"x{number}", "1")))
            replies = intake.StreamCandidates(iter(own.get, None), timeout=PATIENCE_SECONDS)
            assert next(replies).accepted_count == 1
            open_ones.append((own, replies))
        with pytest.raises(grpc.RpcError) as refused:
            next(intake.StreamCandidates(iter(todo.get, None), timeout=PATIENCE_SECONDS))
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        for own, _ in open_ones:
            own.put(None)
        todo.put(None)
        assert all(list(replies) == [] for _, replies in open_ones)


def test_an_answer_holds_no_more_of_a_call_than_ids(world, address, sealed):
    """What has another length than an id does not come back, however long it was."""
    long = copied(sealed("x", "1"))
    long.candidate_id = bytes(3_000)
    with emitting(world, address) as emitter:
        first, second = emitter.send([long, sealed("y", "1")])
    assert (answer(first), first.candidate_id) == ("MALFORMED", b"")
    assert second.candidate_id == sealed("y", "1").candidate_id


def test_only_an_emitter_may_stream(world, address, sealed):
    """The role is asked for streams as for calls."""
    with stub(world, address, "reviewer-1") as intake, pytest.raises(grpc.RpcError) as refused:
        list(intake.StreamCandidates(iter([batch(1, sealed("x", "1"))]), timeout=PATIENCE_SECONDS))
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED


def test_a_connection_that_does_not_shake_hands_is_closed(world, tmp_path, monkeypatch):
    """It holds an open file of the service, and needs no certificate for that."""
    monkeypatch.setattr(server, "HANDSHAKE_SECONDS", 0.5)
    with worlds.verification(world, tmp_path / "store.sqlite3") as address:
        host, _, port = address.partition(":")
        with socket.create_connection((host, int(port)), timeout=30) as silent:
            received = b"nothing yet"
            while received:  # the service may begin to speak; then it hangs up
                received = silent.recv(4096)
        with emitting(world, address) as emitter:
            emitter.check()


# --- health -----------------------------------------------------------------------------------


def healthy(world, address) -> bool:
    """What the health service says."""
    credentials = keys.identity(world.keys / "provider").channel_credentials()
    with grpc.secure_channel(address, credentials) as channel:
        reply = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS
        )
    return reply.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_service_whose_writer_has_died_says_so(world, where, sealed, monkeypatch):
    """Its health is NOT_SERVING, a scan does not begin, and a call is told to come again."""
    monkeypatch.setattr(server, "WATCH_SECONDS", 0.1)
    opened = []

    def opening(*arguments, **options):
        opened.append(open_store(*arguments, **options))
        return opened[0]

    monkeypatch.setattr(service, "open_store", opening)
    with worlds.verification(world, where) as address, emitting(world, address) as emitter:
        assert healthy(world, address)

        def dies(*_arguments):
            raise SystemExit

        monkeypatch.setattr(opened[0]._writer, "_commit", dies)
        until = time.monotonic() + PATIENCE_SECONDS
        while healthy(world, address):
            assert time.monotonic() < until
            time.sleep(0.05)
        with pytest.raises(VerificationUnreachable, match="not serving"):
            emitter.check()
        with pytest.raises(VerificationUnreachable):
            emitter.send([sealed("x", "1")])


# --- two emitters, and a service that is killed -----------------------------------------------


def deliveries(sealed) -> list[candidate_pb2.Candidate]:
    """Hits of twenty accounts: half of them with two distinct ones; notices and repeats."""
    found = []
    for number in range(20):
        account = f"account-{number}"
        found += [sealed("x", "1", account), sealed("x", "2", account)]
        if number % 2:
            found.append(sealed("y", "3", account))
        if number % 5 == 0:
            found.append(sealed("z", "4", account, at_once=True))
    return found


def test_two_emitters_at_once_reach_the_same_end(world, where, tmp_path, sealed):
    """Each with its own service where the database allows it, in opposite orders, over the wire."""
    wanted = deliveries(sealed)
    with closing(open_store(tmp_path / "alone.sqlite3", clock=lambda: 20_610 * 86_400.0)) as store:
        store.add([hits.arrival(one) for one in wanted]).result(PATIENCE_SECONDS)
        expected = hits.end_state(store)
    start = threading.Barrier(2)

    def emit(address: str, candidates) -> None:
        with emitting(world, address) as emitter:
            start.wait(PATIENCE_SECONDS)
            for first in range(0, len(candidates), 3):
                emitter.send(candidates[first : first + 3])

    with (
        worlds.verification(world, where) as one,
        worlds.verification(world, where) as two,
        ThreadPoolExecutor(2) as pool,
    ):
        both = [pool.submit(emit, one, wanted), pool.submit(emit, two, wanted[::-1])]
        for future in both:
            future.result(PATIENCE_SECONDS)
    with closing(open_store(where, may_make=False)) as store:
        assert hits.end_state(store) == expected
        page, total = store.page(0, 1_000, None)
        assert total == len(hits.readable(store))
        assert [item.sequence for item in page] == list(range(1, total + 1))


def test_a_pair_that_arrives_at_the_same_moment_does_not_miss_itself(
    world, postgres_server, sealed
):
    """Two services, one hit each of the same group, again and again: it opens every time."""
    where = postgres_server.new_url()
    rounds = 12
    with (
        worlds.verification(world, where) as one,
        worlds.verification(world, where) as two,
        emitting(world, one) as first,
        emitting(world, two) as second,
        ThreadPoolExecutor(2) as pool,
    ):
        for number in range(rounds):
            account = f"pair-{number}"
            start = threading.Barrier(2)

            def send(emitter, candidate, start=start):
                start.wait(PATIENCE_SECONDS)
                emitter.send([candidate])

            both = [
                pool.submit(send, first, sealed("x", "1", account)),
                pool.submit(send, second, sealed("y", "2", account)),
            ]
            for future in both:
                future.result(PATIENCE_SECONDS)
    assert list(states(where).values()) == [RELEASED] * (2 * rounds)


class Process:
    """The service as a process of its own, on one port, to be killed and started again."""

    def __init__(self, world, where: str, folder: Path) -> None:
        """Write its order."""
        self._order = folder / "order.yaml"
        self._order.write_text(yaml.safe_dump(worlds.order_values()))
        self._world, self._where = world, where
        self._process = None
        self.address = "127.0.0.1:0"

    def start(self) -> None:
        """Until it serves."""
        command = [
            sys.executable, "-m", "pipeline.cli", "verification", "serve",
            "--listen", self.address, "--store", self._where, "--order", self._order,
            "--keys", self._world.keys / "verification",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            cwd=worlds.REPOSITORY,
        )  # fmt: skip
        line = self._process.stdout.readline()
        assert " serves on " in line
        self.address = line.split(" serves on ")[1].split(",")[0].strip()

    def kill(self) -> None:
        """As a machine that loses power: no goodbye."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(PATIENCE_SECONDS)
        self._process.stdout.close()


@pytest.mark.timeout(600)
def test_a_killed_service_loses_no_acknowledged_candidate(world, where, tmp_path, sealed):
    """Kill -9 at any moment, three times: whatever was answered is there, and groups are whole."""
    running = Process(world, where, tmp_path)
    running.start()
    acknowledged: list[candidate_pb2.Candidate] = []
    sent = 0
    for moment in (0.05, 0.3, 0.6):
        stop = threading.Event()

        def emit(stop=stop) -> None:
            nonlocal sent
            with stub(world, running.address) as intake:
                while not stop.is_set():
                    part = [
                        sealed("x" if n % 2 else "y", f"{n % 2}", f"killed-{n // 2}")
                        for n in range(sent, sent + 5)
                    ]
                    request = candidate_service_pb2.SubmitCandidatesRequest(candidates=part)
                    try:
                        reply = intake.SubmitCandidates(request, timeout=10)
                    except grpc.RpcError:
                        return
                    assert {r.outcome for r in reply.results} <= {ACCEPTED, DUPLICATE}
                    acknowledged.extend(part)
                    sent += 5

        emitter = threading.Thread(target=emit)
        emitter.start()
        before = len(acknowledged)
        until = time.monotonic() + PATIENCE_SECONDS
        while len(acknowledged) == before and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(moment)
        running.kill()
        stop.set()
        emitter.join(PATIENCE_SECONDS)
        assert len(acknowledged) > before
        running.start()
    with stub(world, running.address) as intake:
        for first in range(0, len(acknowledged), 500):
            request = candidate_service_pb2.SubmitCandidatesRequest(
                candidates=acknowledged[first : first + 500]
            )
            reply = intake.SubmitCandidates(request, timeout=PATIENCE_SECONDS)
            assert {r.outcome for r in reply.results} == {DUPLICATE}
    running.kill()
    found = states(where)
    pairs: dict[bytes, list[str]] = {}
    for one in acknowledged:
        pairs.setdefault(one.threshold.group_tag, []).append(found[one.candidate_id])
    assert all(group in (["released"] * 2, ["held"], ["released"]) for group in pairs.values())
    from pipeline.verification import audit

    with closing(open_store(where, may_make=False)) as store, store.read() as connection:
        assert audit.verify(connection) > 0


def test_a_service_sweeps_by_itself(world, where, sealed):
    """At its start, and then several times a day: what is past its retention is gone."""
    single = sealed("x", "1")
    with (
        worlds.verification(world, where, retention_days=RETENTION_DAYS) as address,
        emitting(world, address) as emitter,
    ):
        emitter.send([single])
    late = (hits.DAY + RETENTION_DAYS + 1) * 86_400.0
    with worlds.verification(
        world, where, retention_days=RETENTION_DAYS, clock=lambda: late
    ) as address:
        until = time.monotonic() + PATIENCE_SECONDS
        while states(where):
            assert time.monotonic() < until
            time.sleep(0.05)
        with emitting(world, address) as emitter:
            assert [answer(r) for r in emitter.send([single])] == ["EXPIRED"]
    assert states(where) == {}


@pytest.mark.parametrize("way", ["no certificate", "another authority", "no TLS", "another role"])
def test_a_caller_without_the_right_certificate_changes_nothing(
    world, where, address, sealed, tmp_path, way
):
    """Refused before anything is read, whatever it sends."""
    with emitting(world, address) as emitter:
        emitter.send([sealed("x", "1")])
    before = everything(where)
    authority = (world.keys / "provider" / "ca.pem").read_bytes()
    if way == "no TLS":
        channel = grpc.insecure_channel(address)
    elif way == "no certificate":
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(authority))
    else:
        party = world.keys / "reviewer-1"
        if way == "another authority":
            keys.make(tmp_path / "others", hosts=["localhost"], reviewers=2, now=worlds.real_now())
            party = tmp_path / "others" / "provider"
            (party / "ca.pem").write_bytes(authority)
        certificate, key = ((party / name).read_bytes() for name in ("tls.pem", "tls.key"))
        credentials = grpc.ssl_channel_credentials(authority, key, certificate)
        channel = grpc.secure_channel(address, credentials)
    request = candidate_service_pb2.SubmitCandidatesRequest(candidates=[sealed("y", "2")])
    with channel, pytest.raises(grpc.RpcError) as refused:
        CandidateServiceStub(channel).SubmitCandidates(request, timeout=PATIENCE_SECONDS)
    code = "PERMISSION_DENIED" if way == "another role" else "UNAVAILABLE"
    assert refused.value.code() == grpc.StatusCode[code]
    assert everything(where) == before
