"""Decisions and verdicts for tests: reviewers, a verification service and a provider, made up."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline import vouchers
from pipeline.rpc.sluis.verification.v1 import candidate_pb2
from pipeline.verdicts import (
    CONFIRMED,
    Decision,
    Signers,
    Subject,
    Verdict,
    reviewer_id,
    sign_decision,
    sign_verdict,
)
from pipeline.verification.decisions import Case, Decisions

ORDER_ID = vouchers.order_id("TEST-2026-0001")
POLICY_ID = vouchers.release_policy("account").policy_id
CONTEXT = vouchers.Context(ORDER_ID, 0, 1, POLICY_ID)
TOKEN_KEY = bytes(range(64))
SERVICE = Ed25519PrivateKey.from_private_bytes(b"s" * 32)
REVIEWERS = tuple(Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in range(1, 9))
PUBLIC = {reviewer_id(key.public_key()): key.public_key() for key in REVIEWERS}

SIGNERS = Signers(SERVICE.public_key(), PUBLIC)


def subject(number: int = 1, context: vouchers.Context = CONTEXT) -> Subject:
    """A candidate by number."""
    return Subject(context, 20_000, number.to_bytes(16, "big"))


def payload(about: Subject, account: str | None = "account-1", item: str = "item-1") -> bytes:
    """What the provider's key service seals for a candidate: its tokens open with no other."""

    def token(label: str, name: str) -> bytes:
        return vouchers.make_token(TOKEN_KEY, label, about.context, about.candidate_id, name)

    return candidate_pb2.CandidatePayload(
        content_token=token("content", item),
        account_token=token("account", account) if account else b"",
        set_id="demo",
        set_version=3,
        kind=candidate_pb2.INDICATOR_KIND_NEW,
        indicator_id="cat",
        method="pdq",
        distance_bits=12,
        radius_bits=31,
        quality=90,
        pair_id=b"p" * 16,
    ).SerializeToString()


def decision(
    reviewer: int, about: Subject, opened: bytes, value: str = CONFIRMED, reason: str = ""
) -> Decision:
    """A reviewer's decision, by the reviewer's number from 0."""
    rejected = value != CONFIRMED
    made = sign_decision(
        REVIEWERS[reviewer],
        about,
        value=value,
        payload=opened,
        pair_id=b"p" * 16 if rejected else b"",
        reason=reason or ("a cat" if rejected else ""),
    )
    return replace(made, decided_at=1_800_000_000 + reviewer)


@dataclass(frozen=True)
class Ruling:
    """What goes into a verdict; `sign` makes it, right or wrong."""

    subject: Subject
    decisions: tuple[Decision, ...]
    payload: bytes
    value: str = CONFIRMED
    sequence: int = 1
    decided_at: int = 1_800_000_100

    def sign(self, key: Ed25519PrivateKey = SERVICE) -> Verdict:
        """Signed by the verification service, or by whoever holds `key`."""
        return sign_verdict(
            key,
            Verdict(
                subject=self.subject,
                sequence=self.sequence,
                value=self.value,
                decided_at=self.decided_at,
                decisions=self.decisions,
                payload=self.payload,
            ),
        )


def confirmed(number: int = 1, account: str | None = "account-1") -> Ruling:
    """Two reviewers confirm a candidate."""
    about = subject(number)
    opened = payload(about, account)
    decisions = (decision(0, about, opened), decision(1, about, opened))
    return Ruling(about, decisions, opened)


def decide(
    decisions: Decisions, number: int, reviewer: int, value: str = CONFIRMED, reason: str = ""
) -> Case:
    """Have a reviewer (by number from 0) decide on a candidate, and wait until it is durable."""
    about = subject(number)
    opened = b"payload of %d" % number
    made = replace(decision(reviewer, about, opened, value, reason), decided_at=0)
    kept = opened if value == CONFIRMED else b""
    return decisions.decide(about, made, kept).result(30)
