"""A reviewer's side: list, open and decide. The seal is opened here, with the verifier's key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import grpc
from google.protobuf.message import DecodeError

from pipeline import keys, vouchers
from pipeline.errors import SluisError
from pipeline.rpc.sluis.verification.v1 import candidate_pb2, review_service_pb2
from pipeline.rpc.sluis.verification.v1.review_service_pb2_grpc import ReviewServiceStub
from pipeline.rpc.status import wrapped

DEADLINE_SECONDS: Final = 30.0
_PAGE: Final = 500


class Reviewer:
    """One reviewer's connection to a verification service."""

    def __init__(self, address: str, key_folder: Path) -> None:
        """Connect lazily with the reviewer's certificate and key.

        Raises:
            KeysRefused: the folder is not a reviewer's.
        """
        self._address = address
        self._verifier = keys.verifier_private_key(key_folder)
        self._channel = grpc.secure_channel(
            address, keys.identity(key_folder).channel_credentials()
        )
        self._service = ReviewServiceStub(self._channel)

    def list(
        self, state: review_service_pb2.CandidateState.ValueType
    ) -> Iterator[review_service_pb2.ReviewItem]:
        """Every candidate of a state (UNSPECIFIED: all), in order of arrival.

        Raises:
            VerificationUnreachable, VerificationRefused: the service did not answer, or said no.
        """
        after = 0
        while True:
            request = review_service_pb2.ListCandidatesRequest(
                after_sequence=after, page_size=_PAGE, state=state
            )
            try:
                reply = self._service.ListCandidates(request, timeout=DEADLINE_SECONDS)
            except grpc.RpcError as error:
                raise wrapped(error, self._address) from None
            yield from reply.items
            if len(reply.items) < _PAGE:
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
        context = vouchers.Context(
            candidate.context.order_id,
            candidate.context.epoch,
            candidate.context.key_version,
            candidate.context.policy_id,
        )
        try:
            opened = vouchers.open_direct(
                self._verifier,
                context,
                candidate.context.hit_day,
                candidate.candidate_id,
                candidate.direct.ciphertext,
            )
            return candidate_pb2.CandidatePayload.FromString(opened)
        except (vouchers.Unsealable, DecodeError) as error:
            raise SluisError(f"candidate {candidate.candidate_id.hex()}: {error}") from error

    def decide(
        self,
        candidate_id: bytes,
        value: review_service_pb2.VerdictValue.ValueType,
        reason: str,
    ) -> review_service_pb2.ReviewItem:
        """Record this reviewer's verdict.

        Raises:
            VerificationUnreachable, VerificationRefused: as `list`; another verdict that stands
                is a refusal.
        """
        request = review_service_pb2.RecordVerdictRequest(
            candidate_id=candidate_id, value=value, reason=reason
        )
        try:
            return self._service.RecordVerdict(request, timeout=DEADLINE_SECONDS).item
        except grpc.RpcError as error:
            raise wrapped(error, self._address) from None

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()
