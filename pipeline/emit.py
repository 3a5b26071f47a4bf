"""Sealed candidates -> the verification service: batches, deadlines, bounded retries, idempotent.

A repeat is harmless (`candidate_id`), so a candidate is sent again whenever it is not certain that
it arrived. Only UNAVAILABLE is retried: everything else would fail the same way again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from pipeline import keys
from pipeline.errors import VerificationRefused, VerificationUnreachable
from pipeline.rpc.sluis.verification.v1 import candidate_pb2, candidate_service_pb2
from pipeline.rpc.sluis.verification.v1.candidate_service_pb2_grpc import CandidateServiceStub
from pipeline.rpc.status import wrapped

MAX_BATCH: Final = 500
"""Candidates in a call: about 1.4 MB, well under gRPC's default limit of 4 MiB."""

DEADLINE_SECONDS: Final = 30.0

_RECONNECT_SECONDS: Final = 5
"""Longest pause before a lost connection is tried again; gRPC's own is two minutes."""

_SERVICE_CONFIG: Final = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.5s",
                    "maxBackoff": "5s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)


class Emitter:
    """One channel to a verification service. Made after process start, never pickled."""

    def __init__(self, address: str, key_folder: Path) -> None:
        """Connect lazily to `address` (host:port) with the provider's certificate."""
        self._address = address
        self._channel = keys.identity(key_folder).channel(
            address,
            "verification",
            options=[
                ("grpc.service_config", _SERVICE_CONFIG),
                ("grpc.enable_retries", 1),
                ("grpc.max_reconnect_backoff_ms", _RECONNECT_SECONDS * 1000),
            ],
        )
        self._service = CandidateServiceStub(self._channel)

    def check(self) -> None:
        """Ask whether the service is healthy and takes candidates from here.

        Raises:
            VerificationUnreachable: no answer, or not serving.
            VerificationRefused: it does not accept this caller.
        """
        try:
            health: Any = health_pb2_grpc.HealthStub(self._channel)
            reply = health.Check(health_pb2.HealthCheckRequest(), timeout=DEADLINE_SECONDS)
        except grpc.RpcError as error:
            raise wrapped(error, self._address) from None
        if reply.status != health_pb2.HealthCheckResponse.SERVING:
            raise VerificationUnreachable(f"verification at {self._address} is not serving")
        try:  # an empty call: does this certificate's role reach the intake?
            self._service.SubmitCandidates(
                candidate_service_pb2.SubmitCandidatesRequest(), timeout=DEADLINE_SECONDS
            )
        except grpc.RpcError as error:
            raise wrapped(error, self._address) from None

    def send(
        self, candidates: Sequence[candidate_pb2.Candidate]
    ) -> list[candidate_service_pb2.CandidateResult]:
        """Submit candidates; each result that comes back is durable over there.

        Raises:
            VerificationUnreachable: after bounded retries; nothing is lost, send again later.
            VerificationRefused: the service answered, and does not accept the call.
        """
        results: list[candidate_service_pb2.CandidateResult] = []
        for first in range(0, len(candidates), MAX_BATCH):
            part = candidates[first : first + MAX_BATCH]
            request = candidate_service_pb2.SubmitCandidatesRequest(candidates=part)
            try:
                reply = self._service.SubmitCandidates(request, timeout=DEADLINE_SECONDS)
            except grpc.RpcError as error:
                raise wrapped(error, self._address) from None
            if len(reply.results) != len(part):
                raise VerificationRefused(
                    f"verification at {self._address} answered {len(reply.results)} results for "
                    f"{len(part)} candidates: it is no verification service of this version"
                )
            results.extend(reply.results)
        return results

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()
