"""Shows released candidates to reviewers and keeps their decisions.

Holds no private key of the verifier: a seal is opened on the reviewer's side only.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from pipeline import vouchers
from pipeline.rpc import verdicts as wire
from pipeline.rpc.candidates import Malformed
from pipeline.rpc.pages import PAGE_BYTES, within
from pipeline.rpc.sluis.verification.v1 import (
    candidate_pb2,
    review_service_pb2,
    review_service_pb2_grpc,
)
from pipeline.rpc.tls import peer_name
from pipeline.text import has_control
from pipeline.verdicts import CONFIRMED, RELEASED, Decision, is_signed, payload_digest, reviewer_id
from pipeline.verification.decisions import AlreadyDecided, Case, Decisions
from pipeline.verification.store import NotFound
from pipeline.verification.writes import Writes

_STATES: Final = {
    name.removeprefix("CANDIDATE_STATE_").lower(): value
    for name, value in review_service_pb2.CandidateState.items()
    if value != review_service_pb2.CANDIDATE_STATE_UNSPECIFIED
}
_REFERENCE: Final = re.compile(r"[A-Za-z0-9./_-]{1,64}")
"""A case number: it stands in the audit, which holds no names."""


class ReviewService(review_service_pb2_grpc.ReviewServiceServicer):
    """Shows released candidates to reviewers and keeps their decisions."""

    def __init__(
        self, decisions: Decisions, writes: Writes, reviewers: Mapping[str, Ed25519PublicKey]
    ) -> None:
        """Serve over `decisions`; `reviewers` has their keys by the name on the certificate."""
        self._decisions = decisions
        self._writes = writes
        self._reviewers = reviewers

    async def ListCandidates(  # noqa: N802
        self, request: review_service_pb2.ListCandidatesRequest, context: Any
    ) -> review_service_pb2.ListCandidatesResponse:
        """A page in order of arrival."""
        size = request.page_size or 100
        if size > 1000 or request.after_sequence >= 2**63:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "page_size is 1 to 1000, after_sequence < 2**63"
            )
        if request.state not in review_service_pb2.CandidateState.values():
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"there is no state {request.state}"
            )
        own = reviewer_id(await self._key(context))
        state = next((name for name, value in _STATES.items() if value == request.state), None)
        cases, total = await asyncio.to_thread(
            self._decisions.page, request.after_sequence, size, state, own
        )
        items = within(PAGE_BYTES, (_item(case, own) for case in cases))
        return review_service_pb2.ListCandidatesResponse(items=items, total_count=total)

    async def GetCandidate(  # noqa: N802
        self, request: review_service_pb2.GetCandidateRequest, context: Any
    ) -> review_service_pb2.GetCandidateResponse:
        """One candidate with its seal."""
        own = reviewer_id(await self._key(context))
        case = await self._case(request.candidate_id, context)
        return review_service_pb2.GetCandidateResponse(item=_item(case, own))

    async def RecordDecision(  # noqa: N802
        self, request: review_service_pb2.RecordDecisionRequest, context: Any
    ) -> review_service_pb2.RecordDecisionResponse:
        """Keep a decision that the reviewer on the certificate has signed."""
        key = await self._key(context)
        own = reviewer_id(key)
        decision = await _decision(request, context)
        case = await self._case(request.candidate_id, context)
        subject = wire.subject_of(candidate_pb2.Candidate.FromString(case.stored.message))
        if not is_signed(decision, subject, {own: key}):
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                "the decision is not signed, for this candidate, with the decision key of the "
                "reviewer on the certificate",
            )
        if decision.value == CONFIRMED and decision.payload_digest != payload_digest(
            subject, request.payload
        ):
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "the payload is not the one the decision names"
            )
        try:
            case = await self._writes(self._decisions.decide, subject, decision, request.payload)
        except NotFound as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except AlreadyDecided as error:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, str(error))
        return review_service_pb2.RecordDecisionResponse(item=_item(case, own))

    async def ExplainCandidate(  # noqa: N802
        self, request: review_service_pb2.ExplainCandidateRequest, context: Any
    ) -> review_service_pb2.ExplainCandidateResponse:
        """One candidate with everything decided on it; the look-up is entered in the audit."""
        if not _REFERENCE.fullmatch(request.reference):
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                "reference is the complaint's number: 1 to 64 letters, digits, and ./_- ; no name",
            )
        own = reviewer_id(await self._key(context))
        try:
            case = await self._writes(
                self._decisions.explain, request.candidate_id, own, request.reference
            )
        except NotFound as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        return review_service_pb2.ExplainCandidateResponse(item=_item(case, own))

    async def _key(self, context: Any) -> Ed25519PublicKey:
        """The decision key of the reviewer on the certificate."""
        key = self._reviewers.get(peer_name(context).rpartition("/")[2])
        if key is None:
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED,
                "no decision key of this reviewer is known here: put it into reviewers/NAME.pub",
            )
            raise AssertionError("abort does not return")  # pragma: no cover
        return key

    async def _case(self, candidate_id: bytes, context: Any) -> Case:
        try:
            return await asyncio.to_thread(self._decisions.get, candidate_id)
        except NotFound as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
            raise


async def _decision(request: review_service_pb2.RecordDecisionRequest, context: Any) -> Decision:
    """The decision in a request, held to its form."""
    decision = request.decision
    problem = ""
    if decision.value not in wire.VALUES.values():
        problem = "value is CONFIRMED or REJECTED"
    elif decision.value == wire.VALUES[CONFIRMED] and not (
        0 < len(request.payload) <= vouchers.PAYLOAD_PAD_BYTES
    ):
        problem = "a confirmation comes with the payload that was opened"
    elif decision.value != wire.VALUES[CONFIRMED] and request.payload:
        problem = "a rejection comes without the payload: nobody needs it"
    elif decision.value != wire.VALUES[CONFIRMED] and not decision.reason.strip():
        problem = "a rejection needs a reason: it goes back as one"
    elif has_control(decision.reason):
        problem = "a reason is one line of text, without control characters"
    elif len(decision.reason) > wire.MOST_REASON_CHARACTERS:
        problem = f"at most {wire.MOST_REASON_CHARACTERS} characters of a reason are kept"
    if not problem:
        try:
            return wire.decision_of(decision)
        except Malformed as error:
            problem = str(error)
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, problem)
    raise AssertionError("abort does not return")  # pragma: no cover


def _item(case: Case, own: str) -> review_service_pb2.ReviewItem:
    """A case as a reviewer sees it.

    Others' decisions, and that there are any, only once a verdict stands or one's own is made:
    whoever knows that somebody has confirmed does not look as if nobody had.
    """
    stored = case.stored
    knows = case.verdict is not None or any(one.reviewer_id == own for one in case.decisions)
    item = review_service_pb2.ReviewItem(
        sequence=stored.sequence,
        candidate=candidate_pb2.Candidate.FromString(stored.message),
        state=_STATES[stored.state if knows else RELEASED],
        group_ref=stored.group_ref,
        decisions=[
            wire.decision_message(decision)
            for decision in case.decisions
            if case.verdict is not None or decision.reviewer_id == own
        ],
    )
    item.receive_time.FromSeconds(stored.received_at)
    if case.verdict is not None:
        item.verdict.CopyFrom(wire.to_message(case.verdict))
    return item
