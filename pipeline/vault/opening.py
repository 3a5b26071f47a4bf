"""What the vault opens, and for which verdicts. Pure.

The vault trusts nobody on the way. It holds the verification service's public key and every
reviewer's, and checks all of their signatures itself; the tokens themselves are bound to their
candidate by the provider's own key service.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from pipeline import vouchers
from pipeline.identity import RETENTION_DAYS, Identity
from pipeline.rpc import verdicts as wire
from pipeline.rpc.candidates import Malformed
from pipeline.rpc.sluis.verification.v1 import candidate_pb2, verdict_pb2
from pipeline.verdicts import Refusal, Signers, Verdict, VerdictRefused, check_confirmed


@dataclass(frozen=True)
class Trust(Signers):
    """What a vault holds a verdict against.

    Attributes:
        policies: release policy id of each order this vault serves, by order id.
    """

    policies: Mapping[bytes, bytes]


def check(message: verdict_pb2.Verdict, trust: Trust, now: dt.datetime) -> Verdict:
    """Hold a verdict: form, service's signature, value, reviewers, payload, order, age; in turn.

    Raises:
        VerdictRefused: naming the first thing that does not hold.
    """
    try:
        verdict = wire.from_message(message)
    except Malformed:
        raise VerdictRefused(Refusal.MALFORMED) from None
    check_confirmed(verdict, trust)
    context = verdict.subject.context
    if trust.policies.get(context.order_id) != context.policy_id:
        raise VerdictRefused(Refusal.ORDER)
    decided = dt.datetime.fromtimestamp(verdict.decided_at, dt.UTC)
    if (now - decided).days > RETENTION_DAYS:
        raise VerdictRefused(Refusal.EXPIRED)
    return verdict


def identify(verdict: Verdict, token_key: bytes, now: dt.datetime) -> Identity:
    """Open a checked verdict's tokens.

    Raises:
        VerdictRefused: the payload is none, or a token belongs to another candidate or order.
    """
    subject = verdict.subject

    def opened(label: str, token: bytes) -> str:
        return vouchers.open_token(token_key, label, subject.context, subject.candidate_id, token)

    try:
        payload = candidate_pb2.CandidatePayload.FromString(verdict.payload)
        return Identity(
            candidate_id=subject.candidate_id.hex(),
            order_id=subject.context.order_id.hex(),
            item_id=opened("content", payload.content_token),
            account_id=opened("account", payload.account_token) if payload.account_token else None,
            verdict_sequence=verdict.sequence,
            verdict_digest=verdict.digest.hex(),
            handed_over_at=now,
            delete_after=now.date() + dt.timedelta(days=RETENTION_DAYS),
        )
    except DecodeError:
        raise VerdictRefused(Refusal.PAYLOAD) from None
    except vouchers.Unsealable:
        raise VerdictRefused(Refusal.TOKEN) from None
