"""A reviewer's side: list, open and decide. The seal is opened here, with the verifier's key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import grpc
from google.protobuf.message import DecodeError

from pipeline import keys, vouchers
from pipeline.errors import SluisError
from pipeline.rpc import verdicts as wire
from pipeline.rpc.sluis.verification.v1 import candidate_pb2, review_service_pb2
from pipeline.rpc.sluis.verification.v1.review_service_pb2_grpc import ReviewServiceStub
from pipeline.rpc.status import wrapped
from pipeline.verdicts import CONFIRMED, REJECTED, reviewer_id, sign_decision

DEADLINE_SECONDS: Final = 30.0
_PAGE: Final = 500


class Reviewer:
    """One reviewer's connection to a verification service.

    Attributes:
        reviewer_id: of the key that signs; it stands in decisions and verdicts.
    """

    def __init__(self, address: str, key_folder: Path) -> None:
        """Connect lazily with the reviewer's certificate and keys.

        Raises:
            KeysRefused: the folder is not a reviewer's.
        """
        self._address = address
        self._verifier = keys.verifier_private_key(key_folder)
        self._decider = keys.signing_key(key_folder / "decision.key")
        self.reviewer_id = reviewer_id(self._decider.public_key())
        self._channel = keys.identity(key_folder).channel(address, "verification")
        self._service = ReviewServiceStub(self._channel)

    def list(
        self, state: review_service_pb2.CandidateState.ValueType, after: int = 0
    ) -> Iterator[review_service_pb2.ReviewItem]:
        """Every candidate of a state (UNSPECIFIED: all), in order of arrival.

        Args:
            state: of the candidates.
            after: the sequence of the last one that is known already.

        Raises:
            VerificationUnreachable, VerificationRefused: the service did not answer, or said no.
        """
        while True:
            request = review_service_pb2.ListCandidatesRequest(
                after_sequence=after, page_size=_PAGE, state=state
            )
            try:
                reply = self._service.ListCandidates(request, timeout=DEADLINE_SECONDS)
            except grpc.RpcError as error:
                raise wrapped(error, self._address) from None
            yield from reply.items
            if not reply.items:  # a page may be shorter than was asked for: it is cut by size
                return
            after = reply.items[-1].sequence

    def get(self, candidate_id: bytes) -> review_service_pb2.ReviewItem:
        """One candidate.

        Raises:
            VerificationUnreachable, VerificationRefused: as `list`; not found is a refusal.
        """
        request = review_service_pb2.GetCandidateRequest(candidate_id=candidate_id)
        try:
            return self._service.GetCandidate(request, timeout=DEADLINE_SECONDS).item
        except grpc.RpcError as error:
            raise wrapped(error, self._address) from None

    def open(self, candidate: candidate_pb2.Candidate) -> candidate_pb2.CandidatePayload:
        """Open a released candidate's seal.

        Raises:
            SluisError: it was sealed for another key, or altered.
        """
        try:
            return candidate_pb2.CandidatePayload.FromString(self._open(candidate))
        except (vouchers.Unsealable, DecodeError) as error:
            raise SluisError(f"candidate {candidate.candidate_id.hex()}: {error}") from error

    def decide(self, candidate_id: bytes, value: str, reason: str) -> review_service_pb2.ReviewItem:
        """Open a candidate and sign this reviewer's decision on what it holds.

        Args:
            candidate_id: of the candidate.
            value: confirmed or rejected.
            reason: needed for a rejection.

        Raises:
            VerificationUnreachable, VerificationRefused: as `list`; a decision that stands is a
                refusal.
            SluisError: the seal does not open; then it can only be rejected.
        """
        candidate = self.get(candidate_id).candidate
        try:
            payload = self._open(candidate)
            pair_id = candidate_pb2.CandidatePayload.FromString(payload).pair_id
        except (vouchers.Unsealable, DecodeError) as error:
            if value != REJECTED:
                raise SluisError(f"candidate {candidate_id.hex()}: {error}") from error
            payload, pair_id = b"", b""
        decision = sign_decision(
            self._decider,
            wire.subject_of(candidate),
            value=value,
            payload=payload,
            pair_id=pair_id if value == REJECTED else b"",
            reason=reason.strip(),
        )
        request = review_service_pb2.RecordDecisionRequest(
            candidate_id=candidate_id,
            decision=wire.decision_message(decision),
            payload=payload if value == CONFIRMED else b"",
        )
        try:
            return self._service.RecordDecision(request, timeout=DEADLINE_SECONDS).item
        except grpc.RpcError as error:
            raise wrapped(error, self._address) from None

    def explain(self, candidate_id: bytes, reference: str) -> review_service_pb2.ReviewItem:
        """One candidate with everything decided on it, for an answer to a complaint.

        Raises:
            VerificationUnreachable, VerificationRefused: as `list`.
        """
        request = review_service_pb2.ExplainCandidateRequest(
            candidate_id=candidate_id, reference=reference
        )
        try:
            return self._service.ExplainCandidate(request, timeout=DEADLINE_SECONDS).item
        except grpc.RpcError as error:
            raise wrapped(error, self._address) from None

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def _open(self, candidate: candidate_pb2.Candidate) -> bytes:
        """The bytes that were sealed."""
        subject = wire.subject_of(candidate)
        return vouchers.open_direct(
            self._verifier,
            subject.context,
            subject.hit_day,
            subject.candidate_id,
            candidate.direct.ciphertext,
        )
