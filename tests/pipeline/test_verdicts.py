"""Decisions and verdicts: who must agree before anything follows, and what is signed."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from support import rulings
from support.settings import SEEDED

from pipeline.rpc import verdicts as wire
from pipeline.rpc.candidates import Malformed
from pipeline.rpc.sluis.verification.v1 import verdict_pb2
from pipeline.verdicts import (
    CONFIRMED,
    CONFIRMED_ONCE,
    DISPUTED,
    REJECTED,
    RELEASED,
    Refusal,
    VerdictRefused,
    check_confirmed,
    check_signature,
    is_signed,
    payload_digest,
    state_after,
)

ABOUT = rulings.subject()
ONE, OTHER = rulings.payload(ABOUT), rulings.payload(ABOUT, item="other")


def votes(*values: str) -> list:
    """Decisions of reviewers 0, 1, 2, ...: c confirms, d confirms another payload, r rejects."""
    opened = {"c": ONE, "d": OTHER, "r": ONE}
    return [
        rulings.decision(n, ABOUT, opened[value], REJECTED if value == "r" else CONFIRMED)
        for n, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("values", "state", "agreeing"),
    [
        ("", RELEASED, 0),
        ("c", CONFIRMED_ONCE, 0),
        ("cc", CONFIRMED, 2),
        ("r", REJECTED, 1),
        ("cr", DISPUTED, 0),
        ("crc", CONFIRMED, 2),
        ("crr", REJECTED, 2),
        ("cd", DISPUTED, 0),
        ("cdc", CONFIRMED, 2),
        ("cdr", DISPUTED, 0),
        ("crd", DISPUTED, 0),
    ],
)
def test_decisions_add_up_as_the_rule_says(values, state, agreeing):
    """Two confirm the same payload; one rejects unless somebody has confirmed; else a dispute."""
    found, decisions = state_after(votes(*values))
    assert (found, len(decisions)) == (state, agreeing)


@SEEDED
@given(st.lists(st.sampled_from("cdr"), max_size=3))
def test_nothing_is_confirmed_by_fewer_than_two_different_people(values):
    """Whatever is decided in whatever order, a confirmation is two people's, of one payload."""
    found, decisions = state_after(votes(*values))
    if found == CONFIRMED:
        assert len({decision.reviewer_id for decision in decisions}) == 2
        assert len({decision.payload_digest for decision in decisions}) == 1
        assert {decision.value for decision in decisions} == {CONFIRMED}
    assert (found in {CONFIRMED, REJECTED}) == bool(decisions)


def test_one_reviewer_who_confirms_twice_confirms_once():
    """The same person's second opinion is none."""
    one = rulings.decision(0, ABOUT, ONE)
    assert state_after([one, one]) == (DISPUTED, ())


def test_a_decision_holds_for_its_reviewer_candidate_and_text_alone():
    """Another key, candidate, value, payload, pair or reason, and the signature does not hold."""
    made = rulings.decision(0, ABOUT, ONE, REJECTED)
    assert is_signed(made, ABOUT, rulings.PUBLIC)
    assert not is_signed(made, rulings.subject(2), rulings.PUBLIC)
    assert not is_signed(made, ABOUT, {})
    others = [
        replace(made, value=CONFIRMED),
        replace(made, payload_digest=payload_digest(ABOUT, OTHER)),
        replace(made, pair_id=b"q" * 16),
        replace(made, reason="a dog"),
        replace(made, signature=bytes(64)),
        replace(made, signature=b""),
        replace(made, reviewer_id=rulings.decision(1, ABOUT, ONE).reviewer_id),
    ]
    assert not any(is_signed(one, ABOUT, rulings.PUBLIC) for one in others)


def test_the_payload_digest_tells_candidates_apart():
    """The same bytes opened from two candidates are two commitments."""
    assert payload_digest(ABOUT, ONE) != payload_digest(rulings.subject(2), ONE)


# --- verdicts -----------------------------------------------------------------------------------


def refusal(verdict) -> Refusal | None:
    """Why a verdict is refused."""
    try:
        check_confirmed(verdict, rulings.SIGNERS)
    except VerdictRefused as refused:
        return refused.refusal
    return None


def test_two_signed_confirmations_under_the_services_signature_hold():
    """The way it is meant to be."""
    assert refusal(rulings.confirmed().sign()) is None


def test_whatever_the_service_alone_could_make_up_is_refused():
    """Its signature is not enough: the reviewers' own must hold, of two of them, on this payload."""
    good = rulings.confirmed()
    one, two = good.decisions
    rejected = rulings.decision(0, good.subject, good.payload, REJECTED)
    stranger = Ed25519PrivateKey.generate()
    forged = replace(two, signature=stranger.sign(two.signed_bytes(good.subject)))
    foreign = rulings.decision(1, rulings.subject(2), good.payload)
    other = rulings.decision(1, good.subject, rulings.payload(good.subject))
    for decisions in (
        (), (one,), (one, one), (one, forged), (one, foreign), (one, other), (rejected, two),
        (one, replace(one, reviewer_id=two.reviewer_id)), (one, two, one),
    ):  # fmt: skip
        assert refusal(replace(good, decisions=decisions).sign()) == Refusal.REVIEWERS
    assert refusal(replace(good, value=REJECTED).sign()) == Refusal.NOT_CONFIRMED
    assert refusal(replace(good, payload=b"").sign()) == Refusal.PAYLOAD
    assert refusal(good.sign(stranger)) == Refusal.SIGNATURE
    assert refusal(good.sign(rulings.REVIEWERS[0])) == Refusal.SIGNATURE


@pytest.mark.parametrize("field", ["sequence", "decided_at", "value", "subject", "decisions"])
def test_every_part_of_a_verdict_is_signed(field):
    """The payload is signed by its digest, which stands in every decision."""
    good = rulings.confirmed().sign()
    changes = {
        "sequence": 2,
        "decided_at": 1,
        "value": REJECTED,
        "subject": rulings.subject(2),
        "decisions": good.decisions[:1],
    }
    with pytest.raises(VerdictRefused, match="signature"):
        check_signature(replace(good, **{field: changes[field]}), rulings.SERVICE.public_key())


# --- as messages --------------------------------------------------------------------------------


@SEEDED
@given(st.integers(0, 2**64 - 1), st.integers(0, 253_402_300_799), st.text(max_size=50))
def test_a_verdict_survives_the_wire(sequence, seconds, reason):
    """Message and back: the same verdict, whatever it holds."""
    about = rulings.subject()
    opened = rulings.payload(about)
    decisions = tuple(rulings.decision(n, about, opened, reason=reason) for n in (0, 1))
    sent = rulings.Ruling(about, decisions, opened, CONFIRMED, sequence, seconds).sign()
    assert wire.from_message(wire.to_message(sent)) == sent


BREAKS = {
    "no value": lambda m: m.ClearField("value"),
    "an unknown value": lambda m: setattr(m, "value", 7),
    "no decision": lambda m: m.ClearField("decisions"),
    "three decisions": lambda m: m.decisions.append(m.decisions[0]),
    "a short signature": lambda m: setattr(m, "signature", m.signature[1:]),
    "a rejection with a payload": lambda m: setattr(m, "value", verdict_pb2.VERDICT_VALUE_REJECTED),
    "a payload beyond its size": lambda m: setattr(m, "payload", bytes(3_073)),
    "a short candidate id": lambda m: setattr(m, "candidate_id", b"x"),
    "a short order id": lambda m: setattr(m.context, "order_id", b"x"),
    "a fraction of a second": lambda m: setattr(m.verdict_time, "nanos", 1),
    "a time before 1970": lambda m: setattr(m.verdict_time, "seconds", -1),
    "a decision without value": lambda m: m.decisions[0].ClearField("value"),
    "a short digest": lambda m: setattr(m.decisions[0], "payload_digest", b"x"),
    "a long reviewer id": lambda m: setattr(m.decisions[0], "reviewer_id", "x" * 17),
    "a short decision signature": lambda m: setattr(m.decisions[1], "signature", b"x"),
    "a confirmation with a pair": lambda m: setattr(m.decisions[0], "pair_id", b"p" * 16),
    "a reason beyond its size": lambda m: setattr(m.decisions[0], "reason", "x" * 2_001),
}


@pytest.mark.parametrize("change", BREAKS)
def test_a_message_of_another_form_is_malformed(change):
    """What no service of this version can have sent is refused before anything is verified."""
    message = wire.to_message(rulings.confirmed().sign())
    BREAKS[change](message)
    with pytest.raises(Malformed):
        wire.from_message(message)


def test_a_rejection_carries_a_reason_and_at_most_a_whole_pair():
    """Reasons go back; a pair of another length is none."""
    good = wire.decision_message(rulings.decision(0, ABOUT, ONE, REJECTED))
    assert wire.decision_of(good).reason == "a cat"
    for field, value in itertools.product(["reason", "pair_id"], ["", "x"]):
        changed = type(good)()
        changed.CopyFrom(good)
        setattr(changed, field, value if field == "reason" else value.encode())
        if (field, value) in {("reason", "x"), ("pair_id", "")}:
            wire.decision_of(changed)
        else:
            with pytest.raises(Malformed):
                wire.decision_of(changed)
