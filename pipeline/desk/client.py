"""The report desk's calls: verdicts from verification, identities from the vault."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import grpc

from pipeline import keys
from pipeline.errors import VerificationRefused
from pipeline.rpc import verdicts as wire
from pipeline.rpc.candidates import Malformed
from pipeline.rpc.sluis.vault.v1 import reidentification_service_pb2
from pipeline.rpc.sluis.vault.v1.reidentification_service_pb2_grpc import (
    ReidentificationServiceStub,
)
from pipeline.rpc.sluis.verification.v1 import verdict_pb2, verdict_service_pb2
from pipeline.rpc.sluis.verification.v1.verdict_service_pb2_grpc import VerdictServiceStub
from pipeline.rpc.status import wrapped
from pipeline.verdicts import Verdict, VerdictRefused, check

DEADLINE_SECONDS: Final = 30.0
_PAGE: Final = 500


class VerdictsClient:
    """The report desk's connection to a verification service."""

    def __init__(self, address: str, key_folder: Path) -> None:
        """Connect lazily with the report desk's certificate.

        Raises:
            KeysRefused: the folder is not a report desk's.
        """
        self._address = address
        self._signers = keys.signers(key_folder)
        self._channel = keys.identity(key_folder).channel(address, "verification")
        self._service = VerdictServiceStub(self._channel)

    def list(self, order_id: bytes, after: int) -> Iterator[Verdict]:
        """An order's verdicts after a sequence, checked: signed by all, and none left out.

        Raises:
            VerificationUnreachable, VerificationRefused: the service did not answer, said no, or
                sent what does not hold.
        """
        while True:
            request = verdict_service_pb2.ListVerdictsRequest(
                order_id=order_id, after_sequence=after, page_size=_PAGE
            )
            try:
                reply = self._service.ListVerdicts(request, timeout=DEADLINE_SECONDS)
            except grpc.RpcError as error:
                raise wrapped(error, self._address) from None
            for message in reply.verdicts:
                yield self._checked(message, order_id, after + 1)
                after += 1
            if after >= reply.head_sequence:  # a page may be shorter: it is cut by size
                return
            if not reply.verdicts:
                raise VerificationRefused(
                    f"verification at {self._address} has {reply.head_sequence} verdicts and left "
                    f"out number {after + 1}: ask its operator; do not go on"
                )

    def watch(self, order_id: bytes, after: int) -> Iterator[Verdict]:
        """The same, and then every further verdict as it is made, until the caller stops.

        Raises:
            VerificationUnreachable, VerificationRefused: as `list`.
        """
        request = verdict_service_pb2.WatchVerdictsRequest(order_id=order_id, after_sequence=after)
        stream = self._service.WatchVerdicts(request)
        try:
            for reply in stream:
                if reply.HasField("verdict"):
                    yield self._checked(reply.verdict, order_id, after + 1)
                    after += 1
        except grpc.RpcError as error:
            raise wrapped(error, self._address) from None
        finally:
            stream.cancel()

    def record(
        self, candidate_id: bytes, progress: verdict_service_pb2.Progress.ValueType, note: str
    ) -> None:
        """Record what became of a candidate after its verdict.

        Raises:
            VerificationUnreachable, VerificationRefused: as `list`; a step that does not follow is
                a refusal.
        """
        request = verdict_service_pb2.RecordProgressRequest(
            candidate_id=candidate_id, progress=progress, note=note
        )
        try:
            self._service.RecordProgress(request, timeout=DEADLINE_SECONDS)
        except grpc.RpcError as error:
            raise wrapped(error, self._address) from None

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def _checked(self, message: verdict_pb2.Verdict, order_id: bytes, expected: int) -> Verdict:
        try:
            verdict = wire.from_message(message)
            check(verdict, self._signers)
        except (Malformed, VerdictRefused):
            raise VerificationRefused(
                f"verification at {self._address} sent a verdict that is not signed with its "
                "verdict key and by its reviewers: check that verdict.pub and reviewers/*.pub are "
                "theirs, and do not act on it"
            ) from None
        if verdict.subject.context.order_id != order_id or verdict.sequence != expected:
            raise VerificationRefused(
                f"verification at {self._address} left a verdict out, or sent another order's: "
                f"number {expected} was to come. Ask its operator; do not go on"
            )
        return verdict


class VaultClient:
    """The report desk's connection to the provider's vault."""

    def __init__(self, address: str, key_folder: Path) -> None:
        """Connect lazily with the report desk's certificate.

        Raises:
            KeysRefused: the folder is not a report desk's.
        """
        self._address = address
        self._channel = keys.identity(key_folder).channel(address, "vault")
        self._service = ReidentificationServiceStub(self._channel)

    def reidentify(self, verdict: Verdict) -> reidentification_service_pb2.ReidentifyResponse:
        """Ask the vault to hand over who is behind a confirmed verdict.

        Raises:
            VerificationUnreachable, VerificationRefused: the vault did not answer, or this
                certificate may not ask.
        """
        request = reidentification_service_pb2.ReidentifyRequest(verdict=wire.to_message(verdict))
        try:
            return self._service.Reidentify(request, timeout=DEADLINE_SECONDS)
        except grpc.RpcError as error:
            raise wrapped(error, self._address, "the vault") from None

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()
