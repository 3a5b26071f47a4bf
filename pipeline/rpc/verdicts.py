"""Decisions and verdicts as messages, and back. What comes in is held to its form here."""

from __future__ import annotations

from typing import Final

from pipeline import vouchers
from pipeline.rpc.candidates import Malformed
from pipeline.rpc.sluis.verification.v1 import candidate_pb2, verdict_pb2
from pipeline.verdicts import (
    CONFIRMED,
    DIGEST_BYTES,
    REJECTED,
    SIGNATURE_BYTES,
    Decision,
    Subject,
    Verdict,
)

MOST_REASON_CHARACTERS: Final = 2_000
_MOST_DECISIONS: Final = 2
_REVIEWER_ID_LENGTH: Final = 16
_LAST_SECOND: Final = 253_402_300_799  # of year 9999: the last a Timestamp holds

VALUES: Final = {
    CONFIRMED: verdict_pb2.VERDICT_VALUE_CONFIRMED,
    REJECTED: verdict_pb2.VERDICT_VALUE_REJECTED,
}
_WORDS: Final = {number: word for word, number in VALUES.items()}


def subject_of(message: candidate_pb2.Candidate | verdict_pb2.Verdict) -> Subject:
    """The candidate that a message is about.

    Raises:
        Malformed: an id of the wrong length.
    """
    context = message.context
    if (
        len(message.candidate_id) != vouchers.CANDIDATE_ID_BYTES
        or len(context.order_id) != 16
        or len(context.policy_id) != 16
    ):
        raise Malformed("ids have 16 bytes")
    return Subject(
        vouchers.Context(context.order_id, context.epoch, context.key_version, context.policy_id),
        context.hit_day,
        message.candidate_id,
    )


def decision_message(decision: Decision) -> verdict_pb2.Decision:
    """A decision as it goes over the wire."""
    message = verdict_pb2.Decision(
        value=VALUES[decision.value],
        reviewer_id=decision.reviewer_id,
        payload_digest=decision.payload_digest,
        pair_id=decision.pair_id,
        reason=decision.reason,
        signature=decision.signature,
    )
    if decision.decided_at:
        message.decide_time.FromSeconds(decision.decided_at)
    return message


def decision_of(message: verdict_pb2.Decision) -> Decision:
    """The decision in a message.

    Raises:
        Malformed: a wrong length, no value, a rejection without a reason, or a time that is none.
    """
    value = _WORDS.get(message.value)
    if (
        value is None
        or len(message.reviewer_id) != _REVIEWER_ID_LENGTH
        or len(message.payload_digest) != DIGEST_BYTES
        or len(message.signature) != SIGNATURE_BYTES
        or len(message.pair_id) not in {0, vouchers.PAIR_ID_BYTES}
        or (value == CONFIRMED and message.pair_id)
        or (value == REJECTED and not message.reason.strip())
        or len(message.reason) > MOST_REASON_CHARACTERS
    ):
        raise Malformed("a decision of another form")
    return Decision(
        value=value,
        reviewer_id=message.reviewer_id,
        payload_digest=message.payload_digest,
        pair_id=message.pair_id,
        reason=message.reason,
        signature=message.signature,
        decided_at=_seconds(message.decide_time.seconds, message.decide_time.nanos),
    )


def to_message(verdict: Verdict) -> verdict_pb2.Verdict:
    """A verdict as it goes over the wire."""
    context = verdict.subject.context
    message = verdict_pb2.Verdict(
        sequence=verdict.sequence,
        candidate_id=verdict.subject.candidate_id,
        context=candidate_pb2.Context(
            order_id=context.order_id,
            epoch=context.epoch,
            key_version=context.key_version,
            policy_id=context.policy_id,
            hit_day=verdict.subject.hit_day,
        ),
        value=VALUES[verdict.value],
        decisions=[decision_message(decision) for decision in verdict.decisions],
        payload=verdict.payload,
        signature=verdict.signature,
    )
    message.verdict_time.FromSeconds(verdict.decided_at)
    return message


def from_message(message: verdict_pb2.Verdict) -> Verdict:
    """The verdict in a message.

    Raises:
        Malformed: what no verification service of this version can have sent.
    """
    value = _WORDS.get(message.value)
    if (
        value is None
        or not 1 <= len(message.decisions) <= _MOST_DECISIONS
        or len(message.signature) != SIGNATURE_BYTES
        or len(message.payload) > vouchers.PAYLOAD_PAD_BYTES
        or (message.payload and value != CONFIRMED)
    ):
        raise Malformed("a verdict of another form")
    return Verdict(
        subject=subject_of(message),
        sequence=message.sequence,
        value=value,
        decided_at=_seconds(message.verdict_time.seconds, message.verdict_time.nanos),
        decisions=tuple(decision_of(decision) for decision in message.decisions),
        payload=message.payload,
        signature=message.signature,
    )


def _seconds(seconds: int, nanos: int) -> int:
    """Whole seconds since 1970: all that is signed, so a fraction would not be."""
    if nanos or not 0 <= seconds <= _LAST_SECOND:
        raise Malformed("a time with a fraction, or before 1970")
    return seconds
