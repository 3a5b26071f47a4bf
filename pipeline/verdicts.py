"""Decisions and verdicts: what is signed, by whom, and when decisions add up. Pure.

A *decision* is one reviewer's, signed by that reviewer over the candidate and a commitment to the
payload that was opened. A *verdict* is what decisions add up to, signed by the verification
service. With `enc`, `ctx` as in `vouchers`, integers big-endian:

    subject         enc(ctx, hit_day u32, candidate_id)
    payload_digest  SHA-256(enc("sluis/v1/payload", subject, payload))
    decision        Ed25519(reviewer, enc("sluis/v1/decision", subject, value, payload_digest,
                    pair_id, reason))
    verdict         Ed25519(service, enc("sluis/v1/verdict", subject, sequence u64, value,
                    decided_at u64, enc(each decision that agrees, with its signature)))
    reviewer_id     first 16 hex digits of SHA-256(the reviewer's public key)

Both signatures are needed before a vault opens anything: the service alone cannot confirm, and
reviewers alone cannot either (docs/adr/0010). Source: RFC 8032 (Ed25519).
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pipeline.vouchers import PREFIX, Context, enc

CONFIRMED: Final = "confirmed"
REJECTED: Final = "rejected"

RELEASED: Final = "released"
CONFIRMED_ONCE: Final = "confirmed_once"
DISPUTED: Final = "disputed"

DIGEST_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64


class Refusal(StrEnum):
    """Why a verdict opens nothing."""

    MALFORMED = "malformed"
    SIGNATURE = "signature"
    ORDER = "order"
    NOT_CONFIRMED = "not_confirmed"
    REVIEWERS = "reviewers"
    PAYLOAD = "payload"
    TOKEN = "token"  # noqa: S105 - a word, no secret
    SECOND_VERDICT = "second_verdict"
    EXPIRED = "expired"


class VerdictRefused(Exception):  # noqa: N818 - reads as the outcome it is
    """A verdict that is not to be acted upon; `refusal` says why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal


@dataclass(frozen=True)
class Signers:
    """Whose signatures a verdict needs: all that its reader has to trust.

    Attributes:
        verdict_key: the verification service's.
        reviewers: every reviewer's key, by reviewer id.
    """

    verdict_key: Ed25519PublicKey
    reviewers: Mapping[str, Ed25519PublicKey]


@dataclass(frozen=True)
class Subject:
    """The candidate that is decided on."""

    context: Context
    hit_day: int
    candidate_id: bytes

    def encode(self) -> bytes:
        """`subject` of the derivations."""
        return enc(self.context.encode(), self.hit_day.to_bytes(4, "big"), self.candidate_id)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One reviewer's decision.

    Attributes:
        value: `CONFIRMED` or `REJECTED`.
        reviewer_id: names the reviewer's key, and so the reviewer, without a name.
        payload_digest: commits to what the reviewer has opened.
        pair_id: of the payload, on a rejection; empty otherwise.
        reason: in the reviewer's words.
        signature: by the reviewer.
        decided_at: seconds since 1970, written by the service and not signed by the reviewer.
    """

    value: str
    reviewer_id: str
    payload_digest: bytes
    pair_id: bytes
    reason: str
    signature: bytes = b""
    decided_at: int = 0

    def signed_bytes(self, subject: Subject) -> bytes:
        """What the reviewer signs."""
        return enc(
            PREFIX + b"decision",
            subject.encode(),
            self.value.encode(),
            self.payload_digest,
            self.pair_id,
            self.reason.encode(),
        )


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What decisions add up to.

    Attributes:
        subject: the candidate.
        sequence: counts from 1 without gaps in each order.
        value: `CONFIRMED` or `REJECTED`.
        decided_at: seconds since 1970.
        decisions: those that agree: two where it is confirmed.
        payload: the opened payload where it is confirmed; empty otherwise.
        signature: by the verification service.
    """

    subject: Subject
    sequence: int
    value: str
    decided_at: int
    decisions: tuple[Decision, ...]
    payload: bytes
    signature: bytes = b""

    @property
    def digest(self) -> bytes:
        """Names the verdict: SHA-256 of what the service has signed."""
        return hashlib.sha256(self.signed_bytes()).digest()

    def signed_bytes(self) -> bytes:
        """What the service signs; the payload is in it by its digest, in every decision."""
        decisions = [
            enc(
                decision.value.encode(),
                decision.reviewer_id.encode(),
                decision.payload_digest,
                decision.pair_id,
                decision.reason.encode(),
                decision.signature,
                decision.decided_at.to_bytes(8, "big"),
            )
            for decision in self.decisions
        ]
        return enc(
            PREFIX + b"verdict",
            self.subject.encode(),
            self.sequence.to_bytes(8, "big"),
            self.value.encode(),
            self.decided_at.to_bytes(8, "big"),
            enc(*decisions),
        )


def reviewer_id(key: Ed25519PublicKey) -> str:
    """Pseudonymous name of a reviewer: the first 16 hex digits of the SHA-256 of their key."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def payload_digest(subject: Subject, payload: bytes) -> bytes:
    """Commits to a candidate's opened payload."""
    return hashlib.sha256(enc(PREFIX + b"payload", subject.encode(), payload)).digest()


def sign_decision(
    key: Ed25519PrivateKey,
    subject: Subject,
    *,
    value: str,
    payload: bytes,
    pair_id: bytes,
    reason: str,
) -> Decision:
    """A reviewer's decision on what they have opened.

    Args:
        key: the reviewer's decision key.
        subject: the candidate.
        value: `CONFIRMED` or `REJECTED`.
        payload: as opened; empty for a candidate that does not open, which can only be rejected.
        pair_id: of the payload, on a rejection.
        reason: in the reviewer's words.
    """
    unsigned = Decision(
        value=value,
        reviewer_id=reviewer_id(key.public_key()),
        payload_digest=payload_digest(subject, payload),
        pair_id=pair_id,
        reason=reason,
    )
    return replace(unsigned, signature=key.sign(unsigned.signed_bytes(subject)))


def is_signed(
    decision: Decision, subject: Subject, reviewers: Mapping[str, Ed25519PublicKey]
) -> bool:
    """Whether one of these reviewers has signed this decision on this candidate."""
    key = reviewers.get(decision.reviewer_id)
    return key is not None and _verifies(key, decision.signature, decision.signed_bytes(subject))


def state_after(decisions: Sequence[Decision]) -> tuple[str, tuple[Decision, ...]]:
    """Where a candidate stands after these decisions, and those that agree on it.

    Two different reviewers confirm, of the same opened payload. One rejects, if nobody has
    confirmed before: what is manifestly unfounded is so to anyone, it discloses nothing, and it
    spares the person concerned a further look. If somebody has, it is not manifest: the candidate
    is disputed until two agree.

    Args:
        decisions: at most one of each reviewer, in order.

    Returns:
        `RELEASED`, `CONFIRMED_ONCE` or `DISPUTED` with no decision; `CONFIRMED` with two;
        `REJECTED` with one or two.
    """
    if not decisions:
        return RELEASED, ()
    if decisions[0].value == REJECTED:
        return REJECTED, (decisions[0],)
    for one, two in itertools.combinations(decisions, 2):
        if _agree(one, two):
            return one.value, (one, two)
    return (CONFIRMED_ONCE if len(decisions) == 1 else DISPUTED), ()


def sign_verdict(key: Ed25519PrivateKey, unsigned: Verdict) -> Verdict:
    """Sign a verdict with the verification service's key."""
    return replace(unsigned, signature=key.sign(unsigned.signed_bytes()))


def check_signature(verdict: Verdict, key: Ed25519PublicKey) -> None:
    """Hold a verdict's signature.

    Raises:
        VerdictRefused: the verification service has not signed this.
    """
    if not _verifies(key, verdict.signature, verdict.signed_bytes()):
        raise VerdictRefused(Refusal.SIGNATURE)


def check(verdict: Verdict, signers: Signers) -> None:
    """Hold that the service and the reviewers have said this, of this candidate and this payload.

    Two different reviewers where it confirms, at least one where it rejects. The payload may be
    empty, since its retention ends; one that is there is the one that was opened.

    Raises:
        VerdictRefused: naming the first thing that does not hold.
    """
    check_signature(verdict, signers.verdict_key)
    decisions = verdict.decisions
    if (
        not (2 if verdict.value == CONFIRMED else 1) <= len(decisions) <= 2
        or any(decision.value != verdict.value for decision in decisions)
        or not all(_agree(one, two) for one, two in itertools.combinations(decisions, 2))
        or not all(is_signed(one, verdict.subject, signers.reviewers) for one in decisions)
    ):
        raise VerdictRefused(Refusal.REVIEWERS)
    digest = payload_digest(verdict.subject, verdict.payload)
    if verdict.payload and not hmac.compare_digest(digest, decisions[0].payload_digest):
        raise VerdictRefused(Refusal.PAYLOAD)


def check_confirmed(verdict: Verdict, signers: Signers) -> None:
    """Hold that the service and two different reviewers confirm this candidate and this payload.

    Raises:
        VerdictRefused: naming the first thing that does not hold.
    """
    check_signature(verdict, signers.verdict_key)
    if verdict.value != CONFIRMED:
        raise VerdictRefused(Refusal.NOT_CONFIRMED)
    check(verdict, signers)
    if not verdict.payload:
        raise VerdictRefused(Refusal.PAYLOAD)


def _agree(one: Decision, two: Decision) -> bool:
    return (
        one.reviewer_id != two.reviewer_id
        and one.value == two.value
        and (one.value == REJECTED or one.payload_digest == two.payload_digest)
    )


def _verifies(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True
