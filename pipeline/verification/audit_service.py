"""Hands the other party signed checkpoints of the audit, to hold the chain against later."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.rpc.sluis.verification.v1 import audit_service_pb2, audit_service_pb2_grpc
from pipeline.verification import audit
from pipeline.verification.store import Store


class AuditService(audit_service_pb2_grpc.AuditServiceServicer):
    """Signs the chain's head."""

    def __init__(self, store: Store, key: Ed25519PrivateKey) -> None:
        """Sign with the service's audit key."""
        self._store = store
        self._key = key

    async def GetCheckpoint(  # noqa: N802 - gRPC's name
        self, request: audit_service_pb2.GetCheckpointRequest, context: Any
    ) -> audit_service_pb2.GetCheckpointResponse:
        """The head as it is now."""
        del request, context
        statement = await asyncio.to_thread(self._sign)
        return audit_service_pb2.GetCheckpointResponse(statement=json.dumps(statement))

    def _sign(self) -> dict[str, Any]:
        with self._store.read() as connection:
            return audit.checkpoint(connection, self._key, self._store.now())
