"""From a released candidate to an identity in the report desk's folder, over the real wire."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support import world as worlds

from pipeline import identity, keys, verdict_file, vouchers
from pipeline.desk.client import VaultClient, VerdictsClient
from pipeline.emit import Emitter
from pipeline.errors import (
    RunRefused,
    SluisError,
    VerificationRefused,
    VerificationUnreachable,
)
from pipeline.rpc import candidates, server
from pipeline.rpc import verdicts as wire
from pipeline.rpc.sluis.vault.v1 import reidentification_service_pb2 as vault_pb2
from pipeline.rpc.sluis.vault.v1.reidentification_service_pb2_grpc import (
    ReidentificationServiceStub,
)
from pipeline.rpc.sluis.verification.v1 import (
    candidate_pb2,
    review_service_pb2,
    verdict_pb2,
    verdict_service_pb2,
)
from pipeline.rpc.sluis.verification.v1.review_service_pb2_grpc import ReviewServiceStub
from pipeline.rpc.sluis.verification.v1.verdict_service_pb2_grpc import VerdictServiceStub
from pipeline.vault import service as vault_service
from pipeline.vault.register import Register
from pipeline.verdicts import CONFIRMED, REJECTED, Verdict, sign_decision, sign_verdict
from pipeline.verification.review import Reviewer
from pipeline.verification.store import open_store

ORDER_ID = vouchers.order_id(worlds.REFERENCE)
STATE = review_service_pb2.CandidateState


@pytest.fixture
def verification(world: worlds.World, where: str) -> Iterator[str]:
    """A running verification service with an empty store, in either database; its address."""
    with worlds.verification(world, where) as address:
        yield address


@pytest.fixture
def one(world: worlds.World, verification: str) -> Iterator[Reviewer]:
    """The first reviewer."""
    with worlds.reviewer(world, verification, 1) as reviewer:
        yield reviewer


@pytest.fixture
def two(world: worlds.World, verification: str) -> Iterator[Reviewer]:
    """The second reviewer."""
    with worlds.reviewer(world, verification, 2) as reviewer:
        yield reviewer


@pytest.fixture
def desk(world: worlds.World, verification: str) -> Iterator[VerdictsClient]:
    """The report desk's line to verification."""
    client = VerdictsClient(verification, world.keys / "desk")
    yield client
    client.close()


@pytest.fixture
def vault(world: worlds.World, tmp_path: Path) -> Iterator[VaultClient]:
    """The report desk's line to a running vault, whose folders are in tmp_path."""
    with worlds.vault(world, tmp_path) as address:
        client = VaultClient(address, world.keys / "desk")
        yield client
        client.close()


def sealed(world: worlds.World, item: str, indicator: bytes = b"i", *, at_once: bool = True):
    """A candidate as the scan seals it, with its tokens."""
    service = keys.LocalKeyService(world.keys / "provider", worlds.REFERENCE, "account")
    hit = keys.Sealable(
        item_id=item, account_id=f"account of {item[:4]}", content=item.encode().ljust(32),
        indicator=indicator, hit_day=20_600, released_at_once=at_once,
    )  # fmt: skip
    tokens = service.tokens(hit)
    payload = candidate_pb2.CandidatePayload(
        set_id="new", indicator_id="cat", kind=candidate_pb2.INDICATOR_KIND_NEW,
        content_token=tokens.content, account_token=tokens.account, pair_id=tokens.pair,
    )  # fmt: skip
    done = service.seal(hit, payload.SerializeToString())
    return candidates.to_message(
        done.candidate_id, done.context, done.hit_day, done.verifier_key_id, done.seal
    )


def test_a_vault_whose_sweep_fails_tries_again_and_says_so(world, tmp_path, monkeypatch):
    """Else identities would outlive their retention, and nobody would hear of it."""
    monkeypatch.setattr(server, "WATCH_SECONDS", 0.1)
    monkeypatch.setattr(vault_service, "_SWEEP_SECONDS", 0.1)

    def status() -> int:
        with keys.identity(world.keys / "desk").channel(address, "vault") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            return stub.Check(health_pb2.HealthCheckRequest(), timeout=30).status

    with worlds.vault(world, tmp_path) as address:
        in_the_way = tmp_path / "identities" / "x.unfinished"
        in_the_way.mkdir()  # no file: the sweep cannot remove it
        for wanted in (2, 1):  # NOT_SERVING, SERVING
            until = time.monotonic() + 60
            while status() != wanted:
                assert time.monotonic() < until
                time.sleep(0.05)
            if wanted == 2:
                in_the_way.rmdir()


def test_a_second_opinion_does_not_know_that_it_is_one(world, verification, one, two):
    """What one reviewer has confirmed looks to the other as if nobody had, however they ask."""
    seen, unseen = submit(world, verification, sealed(world, "a"), sealed(world, "b", b"j"))
    released = STATE.Value("CANDIDATE_STATE_RELEASED")

    def looks(reviewer: Reviewer) -> list:
        every = [
            (name, item.candidate.candidate_id, STATE.Name(item.state), len(item.decisions))
            for name, number in STATE.items()
            for item in reviewer.list(number)
        ]
        page = review_service_pb2.ListCandidatesRequest
        counts = [
            reviewer._service.ListCandidates(page(state=number)).total_count
            for number in STATE.values()
        ]
        return [every, counts, [reviewer.get(one).state for one in (seen, unseen)]]

    before = looks(two)
    assert one.decide(seen, CONFIRMED, "").state == STATE.Value("CANDIDATE_STATE_CONFIRMED_ONCE")
    assert looks(two) == before
    assert two.explain(seen, "C-1").state == released
    assert [i.candidate.candidate_id for i in one.list(released)] == [unseen]
    once = STATE.Value("CANDIDATE_STATE_CONFIRMED_ONCE")
    assert [i.candidate.candidate_id for i in one.list(once)] == [seen]
    assert two.decide(seen, REJECTED, "a cat").state == STATE.Value("CANDIDATE_STATE_DISPUTED")
    for reviewer in (one, two):  # both know now
        disputed = reviewer.list(STATE.Value("CANDIDATE_STATE_DISPUTED"))
        assert [i.candidate.candidate_id for i in disputed] == [seen]


def test_a_step_is_recorded_with_one_note(world, verification, one, desk):
    """The same again is fine; another note is not dropped in silence."""
    (name,) = submit(world, verification, sealed(world, "a"))
    one.decide(name, REJECTED, "a cat")
    for _ in range(2):
        desk.record(name, verdict_service_pb2.PROGRESS_CLOSED, "first note")
    with pytest.raises(VerificationRefused, match="another note"):
        desk.record(name, verdict_service_pb2.PROGRESS_CLOSED, "another one")


def test_a_list_of_no_state_is_refused(world, verification, one):
    """A number that is no state does not mean every state."""
    submit(world, verification, sealed(world, "a"))
    with pytest.raises(VerificationRefused, match="no state 99"):
        list(one.list(99))


def test_pages_of_long_reasons_are_cut_by_size(world, tmp_path):
    """Reasons as long as they may be: more bytes in a page than a client takes, none is left out."""
    reason, count = "理" * 2_000, 400
    with (
        worlds.verification(world, tmp_path / "store.sqlite3") as address,
        worlds.reviewer(world, address) as reviewer,
    ):
        ids = submit(world, address, *(sealed(world, f"{n}") for n in range(count)))
        for candidate_id in ids:
            reviewer.decide(candidate_id, REJECTED, reason)
        desk = VerdictsClient(address, world.keys / "desk")
        assert [one.sequence for one in desk.list(ORDER_ID, 0)] == list(range(1, count + 1))
        listed = [
            item.candidate.candidate_id
            for item in reviewer.list(STATE.Value("CANDIDATE_STATE_REJECTED"))
        ]
        assert listed == ids
        desk.close()


def submit(world: worlds.World, address: str, *messages: candidate_pb2.Candidate) -> list[bytes]:
    """Send candidates; their ids."""
    emitter = Emitter(address, world.keys / "provider")
    emitter.send(messages)
    emitter.close()
    return [message.candidate_id for message in messages]


def dump(where: str) -> list[tuple]:
    """Every row of the store."""
    tables = ("candidate", "share", "hit_group", "decision", "opened", "verdict", "progress")
    store = open_store(where)
    with store.read() as connection:
        rows = [
            (table, *row)
            for table in (*tables, "audit")
            for row in connection.execute(f"SELECT * FROM {table}").fetchall()
        ]
    store.close()
    return sorted(rows, key=repr)


# --- the whole way ----------------------------------------------------------------------------


def test_two_hits_two_reviewers_one_identity(
    world, verification, one, two, desk, vault, tmp_path, where
):
    """New material: opened by its second hit, confirmed by two people, named to the desk alone."""
    single = sealed(world, "lone-1", b"1", at_once=False)
    pair = [
        sealed(world, "both-1", b"1", at_once=False),
        sealed(world, "both-2", b"2", at_once=False),
    ]
    submit(world, verification, single, *pair)
    name = pair[0].candidate_id
    first = one.decide(name, CONFIRMED, "seen")
    assert first.state == STATE.CANDIDATE_STATE_CONFIRMED_ONCE
    assert list(desk.list(ORDER_ID, 0)) == []
    second = two.decide(name, CONFIRMED, "")
    assert second.state == STATE.CANDIDATE_STATE_CONFIRMED
    (verdict,) = desk.list(ORDER_ID, 0)
    answer = vault.reidentify(verdict)
    assert answer.outcome == vault_pb2.REIDENTIFY_OUTCOME_HANDED_OVER
    for word in (b"both", b"account"):
        assert word not in answer.SerializeToString()
        assert word not in wire.to_message(verdict).SerializeToString()
    kept = [repr(row).encode() for row in dump(where)]
    kept += [path.read_bytes() for path in tmp_path.glob("register*")]
    assert not any(word in row for row in kept for word in (b"both", b"lone", b"account of"))
    found = identity.read(tmp_path / "identities", name.hex())
    assert (found.item_id, found.account_id) == ("both-1", "account of both")
    with pytest.raises(VerificationRefused, match="no such candidate"):
        one.decide(single.candidate_id, CONFIRMED, "")


# --- decisions --------------------------------------------------------------------------------


def test_a_second_opinion_does_not_see_the_first(world, verification, one, two):
    """While no verdict stands a reviewer sees only their own decision; then everybody's."""
    (name,) = submit(world, verification, sealed(world, "a"))
    assert len(one.decide(name, CONFIRMED, "obvious").decisions) == 1
    assert list(two.get(name).decisions) == []
    for item in two.list(STATE.CANDIDATE_STATE_UNSPECIFIED):
        assert b"obvious" not in item.SerializeToString()
    assert b"obvious" not in two.explain(name, "C-1").SerializeToString()
    two.decide(name, CONFIRMED, "")
    assert [d.reason for d in two.get(name).decisions] == ["obvious", ""]


def test_no_reviewers_name_leaves_the_service(world, verification, one, two, desk):
    """Reviewers and the report desk see key ids; the certified name stays in the store."""
    (name,) = submit(world, verification, sealed(world, "a"))
    one.decide(name, CONFIRMED, "")
    item = two.decide(name, CONFIRMED, "")
    (verdict,) = desk.list(ORDER_ID, 0)
    for message in (item, wire.to_message(verdict)):
        assert b"reviewer-1" not in message.SerializeToString()


def test_states_are_listed_by_name(world, verification, one, two):
    """Every state that people bring about can be asked for."""
    names = submit(world, verification, *[sealed(world, item) for item in "abcd"])
    one.decide(names[0], CONFIRMED, "")
    one.decide(names[1], CONFIRMED, "")
    two.decide(names[1], REJECTED, "a cat")
    one.decide(names[2], REJECTED, "a cat")
    for state, number in (("CONFIRMED_ONCE", 0), ("DISPUTED", 1), ("REJECTED", 2), ("RELEASED", 3)):
        listed = one.list(STATE.Value(f"CANDIDATE_STATE_{state}"))
        assert [item.candidate.candidate_id for item in listed] == [names[number]]


def test_a_rejection_needs_a_reason_and_a_verdict_is_never_changed(world, verification, one, two):
    """Refused by name over the wire."""
    (name,) = submit(world, verification, sealed(world, "a"))
    with pytest.raises(VerificationRefused, match="needs a reason"):
        one.decide(name, REJECTED, " ")
    with pytest.raises(VerificationRefused, match="control characters"):
        one.decide(name, REJECTED, "a cat\x1b[2J confirmed")
    first = one.decide(name, REJECTED, "a cat")
    assert one.decide(name, REJECTED, "a cat") == first
    with pytest.raises(VerificationRefused, match="never changed"):
        one.decide(name, REJECTED, "a dog")
    with pytest.raises(VerificationRefused, match="a verdict stands"):
        two.decide(name, CONFIRMED, "")
    with pytest.raises(VerificationRefused, match="no such candidate"):
        one.decide(b"x" * 16, CONFIRMED, "")


def test_a_candidate_that_does_not_open_can_only_be_rejected(world, verification, one):
    """Nobody confirms what they have not opened; a rejection then names no pair."""
    broken = sealed(world, "a")
    broken.direct.ciphertext = bytes(len(broken.direct.ciphertext))
    (name,) = submit(world, verification, broken)
    with pytest.raises(SluisError, match="does not open"):
        one.decide(name, CONFIRMED, "")
    item = one.decide(name, REJECTED, "does not open")
    assert item.state == STATE.CANDIDATE_STATE_REJECTED
    assert item.decisions[0].pair_id == b""


def decision_request(
    world: worlds.World, candidate: candidate_pb2.Candidate, key: Ed25519PrivateKey, value: str
) -> review_service_pb2.RecordDecisionRequest:
    """A right request, signed with `key`."""
    subject = wire.subject_of(candidate)
    payload = vouchers.open_direct(
        keys.verifier_private_key(world.keys / "reviewer-1"), subject.context, subject.hit_day,
        subject.candidate_id, candidate.direct.ciphertext,
    )  # fmt: skip
    decision = sign_decision(
        key, subject, value=value, payload=payload,
        pair_id=b"p" * 16 if value == REJECTED else b"", reason="seen",
    )  # fmt: skip
    return review_service_pb2.RecordDecisionRequest(
        candidate_id=candidate.candidate_id,
        decision=wire.decision_message(decision),
        payload=payload if value == CONFIRMED else b"",
    )


def other_candidate(request, second) -> None:
    """Put it under another candidate's id."""
    request.candidate_id = second.candidate_id


WRONG = {
    "another payload": (CONFIRMED, lambda r, _: setattr(r, "payload", r.payload + b"\0"), "payload"),
    "no payload": (CONFIRMED, lambda r, _: r.ClearField("payload"), "payload"),
    "a payload beyond its size": (
        CONFIRMED, lambda r, _: setattr(r, "payload", bytes(2_561)), "payload",
    ),
    "a payload with a rejection": (
        REJECTED, lambda r, _: setattr(r, "payload", b"x"), "without the payload",
    ),
    "no decision": (CONFIRMED, lambda r, _: r.ClearField("decision"), "CONFIRMED or REJECTED"),
    "another value": (
        REJECTED,
        lambda r, _: (
            setattr(r.decision, "value", verdict_pb2.VERDICT_VALUE_CONFIRMED),
            setattr(r.decision, "pair_id", b""),
            setattr(r, "payload", b"x"),
        ),
        "not signed",
    ),
    "another reason": (REJECTED, lambda r, _: setattr(r.decision, "reason", "y"), "not signed"),
    "another pair": (
        REJECTED, lambda r, _: setattr(r.decision, "pair_id", b"q" * 16), "not signed",
    ),
    "a long reason": (
        REJECTED, lambda r, _: setattr(r.decision, "reason", "y" * 2_001), "at most 2000",
    ),
    "a short signature": (
        REJECTED, lambda r, _: setattr(r.decision, "signature", b"y"), "another form",
    ),
    "another candidate's": (CONFIRMED, other_candidate, "not signed"),
}  # fmt: skip


def refusal(party: Path, address: str, request) -> grpc.RpcError:
    """How a request with a party's certificate is refused."""
    channel = grpc.secure_channel(address, keys.identity(party).channel_credentials())
    with pytest.raises(grpc.RpcError) as refused:
        ReviewServiceStub(channel).RecordDecision(request, timeout=10)
    channel.close()
    return refused.value


@pytest.mark.parametrize("what", WRONG)
def test_a_decision_that_is_not_what_was_signed_is_refused_and_changes_nothing(
    world, verification, where, what
):
    """Each is refused by name, and no row of the store differs."""
    first, second = sealed(world, "a"), sealed(world, "b")
    submit(world, verification, first, second)
    before = dump(where)
    value, change, message = WRONG[what]
    key = keys.signing_key(world.keys / "reviewer-1" / "decision.key")
    request = decision_request(world, first, key, value)
    change(request, second)
    error = refusal(world.keys / "reviewer-1", verification, request)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert message in error.details()
    assert dump(where) == before


@pytest.mark.parametrize("signer", ["reviewer-2", "a stranger"])
def test_a_decision_counts_for_the_reviewer_on_the_certificate_alone(
    world, verification, where, signer
):
    """One reviewer cannot hand in another's decision, nor a made-up one."""
    candidate = sealed(world, "a")
    submit(world, verification, candidate)
    before = dump(where)
    key = Ed25519PrivateKey.generate()
    if signer == "reviewer-2":
        key = keys.signing_key(world.keys / "reviewer-2" / "decision.key")
    request = decision_request(world, candidate, key, CONFIRMED)
    error = refusal(world.keys / "reviewer-1", verification, request)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert dump(where) == before


def test_a_reviewer_whose_key_is_not_known_is_refused(world, tmp_path):
    """A certificate alone is no reviewer: the service must know the decision key."""
    copy = worlds.World(tmp_path / "copy")
    shutil.copytree(world.keys, copy.keys)
    (copy.keys / "verification" / "reviewers" / "reviewer-1.pub").unlink()
    with (
        worlds.verification(copy, tmp_path / "s.sqlite3") as address,
        worlds.reviewer(copy, address, 1) as reviewer,
        pytest.raises(VerificationRefused, match="no decision key"),
    ):
        list(reviewer.list(STATE.CANDIDATE_STATE_UNSPECIFIED))


# --- verdicts ---------------------------------------------------------------------------------


def test_verdicts_are_watched_as_they_are_made_and_resumed_without_a_gap(
    world, verification, one, desk
):
    """A watcher that comes back after its last number misses none and gets none twice."""
    names = submit(world, verification, *[sealed(world, f"item {n}") for n in range(6)])
    for name in names[:2]:
        one.decide(name, REJECTED, "a cat")
    watching = desk.watch(ORDER_ID, 0)
    assert [next(watching).sequence for _ in range(2)] == [1, 2]
    late = threading.Timer(0.3, lambda: one.decide(names[2], REJECTED, "a cat"))
    late.start()
    assert next(watching).sequence == 3
    late.join()
    watching.close()
    for name in names[3:]:
        one.decide(name, REJECTED, "a cat")
    again = desk.watch(ORDER_ID, 3)
    found = list(itertools.islice(again, 3))
    again.close()
    assert [v.sequence for v in found] == [4, 5, 6]
    assert [v.subject.candidate_id for v in found] == names[3:]
    assert [v.sequence for v in desk.list(ORDER_ID, 0)] == [1, 2, 3, 4, 5, 6]


def test_a_watcher_with_nothing_new_hears_that_the_stream_is_alive(world, verification):
    """The first answer comes at once, without a verdict."""
    channel = grpc.secure_channel(
        verification, keys.identity(world.keys / "desk").channel_credentials()
    )
    stream = VerdictServiceStub(channel).WatchVerdicts(
        verdict_service_pb2.WatchVerdictsRequest(order_id=ORDER_ID), timeout=10
    )
    first = next(stream)
    assert not first.HasField("verdict")
    assert first.head_sequence == 0
    stream.cancel()
    channel.close()


def test_a_service_that_stops_ends_its_streams(world, tmp_path):
    """Nobody is left waiting on a service that is gone."""
    client = None
    with worlds.verification(world, tmp_path / "s.sqlite3") as address:
        client = VerdictsClient(address, world.keys / "desk")
        found: list[Verdict] = []
        watcher = threading.Thread(target=lambda: found.extend(client.watch(ORDER_ID, 0)))
        watcher.start()
        watcher.join(0.5)
        assert watcher.is_alive()
    watcher.join(20)
    assert not watcher.is_alive()
    client.close()


@pytest.mark.parametrize(
    "request_",
    [
        verdict_service_pb2.ListVerdictsRequest(order_id=b"short"),
        verdict_service_pb2.ListVerdictsRequest(order_id=ORDER_ID, page_size=1_001),
        verdict_service_pb2.ListVerdictsRequest(order_id=ORDER_ID, after_sequence=2**63),
    ],
    ids=["order", "page", "cursor"],
)
def test_a_malformed_question_for_verdicts_is_refused(world, verification, request_):
    """Ids have 16 bytes, pages and cursors are bounded."""
    channel = grpc.secure_channel(
        verification, keys.identity(world.keys / "desk").channel_credentials()
    )
    with pytest.raises(grpc.RpcError) as refused:
        VerdictServiceStub(channel).ListVerdicts(request_, timeout=10)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    channel.close()


def test_the_desk_refuses_verdicts_of_another_service(world, verification, one, tmp_path):
    """What is not signed with the verdict key the desk knows is not acted upon."""
    (name,) = submit(world, verification, sealed(world, "a"))
    one.decide(name, REJECTED, "a cat")
    mixed = tmp_path / "desk"
    shutil.copytree(world.keys / "desk", mixed)
    shutil.copy(world.keys / "centre" / "signing.pub", mixed / "verdict.pub")
    client = VerdictsClient(verification, mixed)
    with pytest.raises(VerificationRefused, match=r"verdict\.pub"):
        list(client.list(ORDER_ID, 0))
    client.close()
    strange = tmp_path / "strange"
    shutil.copytree(world.keys / "desk", strange)
    (strange / "reviewers" / "reviewer-1.pub").unlink()
    client = VerdictsClient(verification, strange)
    with pytest.raises(VerificationRefused, match=r"reviewers/\*\.pub"):
        list(client.list(ORDER_ID, 0))
    client.close()


def test_progress_is_recorded_in_turn(world, verification, one, two, desk):
    """Reported after confirmed, closed after reported; anything else is refused by name."""
    reported, closed = verdict_service_pb2.PROGRESS_REPORTED, verdict_service_pb2.PROGRESS_CLOSED
    (name,) = submit(world, verification, sealed(world, "a"))
    with pytest.raises(VerificationRefused, match="released"):
        desk.record(name, reported, "EU-1")
    one.decide(name, CONFIRMED, "")
    two.decide(name, CONFIRMED, "")
    with pytest.raises(VerificationRefused, match="closed follows"):
        desk.record(name, closed, "done")
    for note in (" ", "EU-1\x1b[2J"):
        with pytest.raises(VerificationRefused, match="with a note"):
            desk.record(name, reported, note)
    desk.record(name, reported, "EU-1")
    desk.record(name, reported, "EU-1")
    desk.record(name, closed, "done")
    assert one.get(name).state == STATE.CANDIDATE_STATE_CLOSED
    with pytest.raises(VerificationRefused, match="no such candidate"):
        desk.record(b"x" * 16, closed, "done")


# --- complaints -------------------------------------------------------------------------------


def test_an_explanation_is_entered_in_the_audit_under_a_number(world, verification, one, where):
    """A look-up without a complaint's number is refused, and so is one with a name in it."""
    (name,) = submit(world, verification, sealed(world, "a"))
    for reference in ("", "Jane Doe", "x" * 65):
        with pytest.raises(VerificationRefused, match="no name"):
            one.explain(name, reference)
    assert one.explain(name, "C-2026/17").candidate.candidate_id == name
    acts = [row for row in dump(where) if row[0] == "audit" and "explain" in row]
    assert len(acts) == 1
    assert "C-2026/17" in repr(acts[0])


# --- the vault over the wire ------------------------------------------------------------------


def confirmed(world, verification, one, two, desk) -> Verdict:
    """A verdict as verification serves it."""
    (name,) = submit(world, verification, sealed(world, "a"))
    one.decide(name, CONFIRMED, "")
    two.decide(name, CONFIRMED, "")
    return next(v for v in desk.list(ORDER_ID, 0) if v.subject.candidate_id == name)


def refused(answer: vault_pb2.ReidentifyResponse) -> str:
    """The name of a refusal."""
    assert answer.outcome == vault_pb2.REIDENTIFY_OUTCOME_REFUSED
    return vault_pb2.Refusal.Name(answer.refusal).removeprefix("REFUSAL_")


def test_the_vault_refuses_by_name_whatever_is_not_a_valid_verdict(
    world, verification, one, two, desk, vault, tmp_path, where
):
    """Rejected, foreign, single-reviewer, altered: nothing is written, here or at verification."""
    good = confirmed(world, verification, one, two, desk)
    (other,) = submit(world, verification, sealed(world, "b"))
    one.decide(other, REJECTED, "a cat")
    rejected = list(desk.list(ORDER_ID, 0))[-1]
    before = dump(where)
    service = keys.signing_key(world.keys / "verification" / "verdict.key")
    stranger = Ed25519PrivateKey.generate()
    foreign = replace(good.subject.context, order_id=b"o" * 16)
    cases = [
        (rejected, "NOT_CONFIRMED"),
        (sign_verdict(stranger, good), "SIGNATURE"),
        (replace(good, sequence=good.sequence + 1), "SIGNATURE"),
        (replace(good, decisions=good.decisions[:1]), "SIGNATURE"),
        (sign_verdict(service, replace(good, decisions=good.decisions[:1])), "REVIEWERS"),
        (sign_verdict(service, replace(good, decisions=good.decisions[:1] * 2)), "REVIEWERS"),
        (sign_verdict(service, replace(good, subject=replace(good.subject, context=foreign))),
         "REVIEWERS"),
        (replace(good, payload=b""), "PAYLOAD"),
        (replace(good, payload=good.payload + b"\0"), "PAYLOAD"),
    ]  # fmt: skip
    for verdict, name in cases:
        assert refused(vault.reidentify(verdict)) == name
    assert list((tmp_path / "identities").iterdir()) == []
    assert dump(where) == before


def test_a_foreign_order_is_refused_by_a_vault_that_does_not_serve_it(
    world, verification, one, two, desk, tmp_path
):
    """The vault acts under the orders it was started with, and no other."""
    good = confirmed(world, verification, one, two, desk)
    others = [worlds.make_order(reference="ANOTHER-1")]
    with worlds.vault(world, tmp_path, orders=others) as address:
        client = VaultClient(address, world.keys / "desk")
        assert refused(client.reidentify(good)) == "ORDER"
        client.close()
    assert list((tmp_path / "identities").iterdir()) == []


def test_a_replayed_verdict_yields_no_second_file(
    world, verification, one, two, desk, vault, tmp_path
):
    """Asked again, the vault says so and writes nothing."""
    good = confirmed(world, verification, one, two, desk)
    assert vault.reidentify(good).outcome == vault_pb2.REIDENTIFY_OUTCOME_HANDED_OVER
    (file,) = (tmp_path / "identities").iterdir()
    file.unlink()
    assert vault.reidentify(good).outcome == vault_pb2.REIDENTIFY_OUTCOME_REPEATED
    assert list((tmp_path / "identities").iterdir()) == []


@pytest.mark.parametrize("party", ["provider", "reviewer-1", "verification", "vault"])
def test_only_the_report_desk_may_ask_the_vault(world, tmp_path, party):
    """Neither the scan, nor reviewers, nor verification."""
    with worlds.vault(world, tmp_path) as address:
        client = VaultClient(address, world.keys / party)
        with pytest.raises(grpc.RpcError) as error:
            client._service.Reidentify(vault_pb2.ReidentifyRequest(), timeout=10)
        client.close()
    # A server's certificate is not even good for a client.
    server = party in {"verification", "vault"}
    expected = grpc.StatusCode.UNAVAILABLE if server else grpc.StatusCode.PERMISSION_DENIED
    assert error.value.code() == expected
    assert list((tmp_path / "identities").iterdir()) == []


def test_nobody_asks_the_vault_without_a_certificate_of_this_authority(world, tmp_path):
    """Neither plain text, nor TLS without a certificate, nor one of another authority."""
    keys.make(tmp_path / "others", hosts=["localhost"], reviewers=2, now=worlds.real_now())
    foreign = tmp_path / "others" / "desk"
    shutil.copy(world.keys / "desk" / "ca.pem", foreign / "ca.pem")
    trusting = grpc.ssl_channel_credentials((world.keys / "desk" / "ca.pem").read_bytes())
    with worlds.vault(world, tmp_path) as address:
        for channel in (
            grpc.secure_channel(address, keys.identity(foreign).channel_credentials()),
            grpc.secure_channel(address, trusting),
            grpc.insecure_channel(address),
        ):
            with pytest.raises(grpc.RpcError) as error:
                ReidentificationServiceStub(channel).Reidentify(
                    vault_pb2.ReidentifyRequest(), timeout=10
                )
            assert error.value.code() == grpc.StatusCode.UNAVAILABLE
            channel.close()


def test_a_vault_whose_folder_is_open_to_others_does_not_start(world, tmp_path):
    """Identities lie there."""
    (tmp_path / "identities").mkdir()
    (tmp_path / "identities").chmod(0o755)
    with pytest.raises(SluisError, match="chmod 700"), worlds.vault(world, tmp_path):
        pass


def test_a_second_vault_on_one_register_does_not_start(world, tmp_path):
    """Two would each think they know what was handed over."""
    with (
        worlds.vault(world, tmp_path),
        pytest.raises(SluisError, match="another vault"),
        worlds.vault(world, tmp_path),
    ):
        pass
    with worlds.vault(world, tmp_path):
        pass


def test_a_second_vault_on_one_folder_does_not_start(world, tmp_path):
    """Also with a register of its own: it would hand over what the first has handed over."""
    other = tmp_path / "other.sqlite3"
    with (
        worlds.vault(world, tmp_path),
        pytest.raises(SluisError, match="identities is in use by another vault"),
        worlds.vault(world, tmp_path, register_path=other),
    ):
        pass
    with worlds.vault(world, tmp_path, register_path=other):
        pass


def test_a_vault_that_cannot_write_says_so_and_hands_nothing_over(world, tmp_path):
    """The caller may ask again; what was refused then is handed over once it can be."""
    verdict = confirmed_by_hand(world, 1)
    with worlds.vault(world, tmp_path) as address:
        client = VaultClient(address, world.keys / "desk")
        identities = tmp_path / "identities"
        identities.rename(tmp_path / "away")
        with pytest.raises(VerificationUnreachable, match="the vault at"):
            client.reidentify(verdict)
        (tmp_path / "away").rename(identities)
        assert client.reidentify(verdict).outcome == vault_pb2.REIDENTIFY_OUTCOME_HANDED_OVER
        client.close()
    assert len(list(identities.iterdir())) == 1


def confirmed_by_hand(world: worlds.World, number: int) -> Verdict:
    """A right verdict, made with everybody's keys."""
    candidate = sealed(world, f"item {number}")
    subject = wire.subject_of(candidate)
    payload = vouchers.open_direct(
        keys.verifier_private_key(world.keys / "reviewer-1"), subject.context, subject.hit_day,
        subject.candidate_id, candidate.direct.ciphertext,
    )  # fmt: skip
    decisions = tuple(
        sign_decision(
            keys.signing_key(world.keys / name / "decision.key"), subject, value=CONFIRMED,
            payload=payload, pair_id=b"", reason="",
        )
        for name in ("reviewer-1", "reviewer-2")
    )  # fmt: skip
    unsigned = Verdict(
        subject=subject, sequence=number, value=CONFIRMED, decided_at=1_800_000_000,
        decisions=decisions, payload=payload,
    )  # fmt: skip
    return sign_verdict(keys.signing_key(world.keys / "verification" / "verdict.key"), unsigned)


def test_a_vault_killed_at_any_moment_loses_nothing_it_has_answered(world, tmp_path):
    """What was handed over before kill -9 is in its file and in the register; the rest follows."""
    verdicts = [confirmed_by_hand(world, number) for number in range(1, 41)]
    (tmp_path / "order.yaml").write_text(yaml.safe_dump(worlds.order_values()))
    identities, register = tmp_path / "identities", tmp_path / "register.sqlite3"
    command = [
        Path(sys.executable).parent / "sluis", "vault", "serve", "--order", tmp_path / "order.yaml",
        "--listen", "127.0.0.1:0", "--keys", world.keys / "vault", "--identities", identities,
        "--register", register,
    ]  # fmt: skip
    answered: set[str] = set()
    for cut in (1, 7, 40):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        client = VaultClient(
            process.stdout.readline().split(" on ")[1].strip(), world.keys / "desk"
        )
        # The call after these is under way, at some point of it, when the process dies.
        killer = threading.Timer(0.004, process.kill)
        try:
            for number, verdict in enumerate(verdicts):
                if number == cut:
                    killer.start()
                client.reidentify(verdict)
                answered.add(verdict.subject.candidate_id.hex())
        except VerificationUnreachable:
            pass
        process.kill()
        process.wait()
        process.stdout.close()
        killer.cancel()
        client.close()
        assert answered <= {path.stem for path in identities.glob("*.json")}
        opened = Register(register)  # refuses a broken chain
        handed = [act[5].hex() for act in opened.acts() if act[3] == "handed_over"]
        opened.close()
        assert answered <= set(handed)
        assert len(set(handed)) == len(handed)
    assert len(answered) == 40


# --- rejections go back -----------------------------------------------------------------------


def test_a_rejected_pair_is_not_sent_again_whoever_uploads_it(
    world, verification, one, desk, tmp_path
):
    """A scan that is given the verdicts skips it by name; another picture still goes."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    for name in ("cat", "coffee"):
        shutil.copy(worlds.PHOTOS / f"{name}.jpg", folder)

    def manifest(account: str) -> Path:
        path = tmp_path / f"{account}.csv"
        lines = [
            f"{account}-{name},{account},{folder}/{name}.jpg,public-gallery,none,ordinary,given,"
            for name in ("cat", "coffee")
        ]
        header = "item_id,account_id,uri,part,encryption,account_class,consent,user_notice"
        path.write_text("\n".join([header, *lines]) + "\n")
        return path

    world.scan(manifest("first"), world.config(verification), tmp_path / "run-1")
    items = list(one.list(STATE.CANDIDATE_STATE_RELEASED))
    (cat,) = [item for item in items if one.open(item.candidate).indicator_id == "cat.jpg"]
    one.decide(cat.candidate.candidate_id, REJECTED, "a cat")
    path = tmp_path / "verdicts.jsonl"
    verdict_file.append(path, desk.list(ORDER_ID, 0))

    config = world.config(verification, suppress=(path,))
    figures = world.scan(manifest("second"), config, tmp_path / "run-2")
    assert figures["tally"]["skipped"] == {"rejected_before": 1}
    assert figures["tally"]["candidate"] == 1
    with pytest.raises(RunRefused, match="rejections sha256"):  # a run keeps what it began with
        world.scan(manifest("second"), world.config(verification), tmp_path / "run-2")
    notified = manifest("third")
    notified.write_text(notified.read_text().replace("given,\n", "given,yes\n"))
    figures = world.scan(notified, config, tmp_path / "run-3")
    assert figures["tally"]["candidate"] == 2  # a user's notice is always looked at
    figures = world.scan(manifest("fourth"), world.config(verification), tmp_path / "run-4")
    assert figures["tally"]["candidate"] == 2  # without the file nothing is suppressed


def test_a_file_of_verdicts_that_was_altered_is_refused(world, verification, one, desk, tmp_path):
    """Nobody but verification can suppress anything; a line may be taken out."""
    names = submit(world, verification, sealed(world, "a"), sealed(world, "b"))
    for name in names:
        one.decide(name, REJECTED, "a cat")
    path = tmp_path / "verdicts.jsonl"
    verdict_file.append(path, desk.list(ORDER_ID, 0))
    signers = keys.signers(world.keys / "provider")
    service = keys.LocalKeyService(world.keys / "provider", worlds.REFERENCE, "account")
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(verdict_file.rejected_pairs([path], signers, ORDER_ID, service.pair_id)) == 2
    assert verdict_file.rejected_pairs([path], signers, b"z" * 16, service.pair_id) == set()
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[1])
    assert len(verdict_file.rejected_pairs([path], signers, ORDER_ID, service.pair_id)) == 1
    for text in (lines[0].replace("a cat", "a dog"), "{}\n", "no JSON\n", f"{lines[0][:50]}\n"):
        path.write_text(text)
        with pytest.raises(verdict_file.VerdictFileRefused, match="line 1"):
            verdict_file.read(path, signers)
    with pytest.raises(verdict_file.VerdictFileRefused, match="verdicts fetch"):
        verdict_file.read(tmp_path / "absent", signers)
