"""The other party's side of the audit: fetch a checkpoint, check it, keep it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from pipeline import keys, signed
from pipeline.rpc.sluis.verification.v1 import audit_service_pb2
from pipeline.rpc.sluis.verification.v1.audit_service_pb2_grpc import AuditServiceStub
from pipeline.rpc.status import wrapped
from pipeline.verification.audit import CHECKPOINT, AuditBroken

_DEADLINE_SECONDS: Final = 30.0


def fetch(address: str, key_folder: Path) -> dict[str, Any]:
    """The checkpoint that a verification service signs now.

    Raises:
        KeysRefused: the folder is not a party's.
        VerificationUnreachable, VerificationRefused: it did not answer, or said no.
    """
    channel = keys.identity(key_folder).channel(address, "verification")
    try:
        reply = AuditServiceStub(channel).GetCheckpoint(
            audit_service_pb2.GetCheckpointRequest(), timeout=_DEADLINE_SECONDS
        )
    except grpc.RpcError as error:
        raise wrapped(error, address) from None
    finally:
        channel.close()
    try:
        statement = json.loads(reply.statement)
    except ValueError:
        statement = None
    return statement if isinstance(statement, dict) else {}


def check(statement: object, key: Ed25519PublicKey) -> dict[str, Any]:
    """The facts of a checkpoint: links, hash, at.

    Raises:
        StatementRefused: altered, or not signed by the verification service.
    """
    facts = signed.check(statement, CHECKPOINT, [key])
    if not isinstance(facts.get("links"), int) or len(str(facts.get("hash"))) != 64:
        raise signed.StatementRefused("the checkpoint names no link: fetch another")
    return facts


def follows(before: Mapping[str, Any] | None, facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """The newer checkpoint, if it can come after the older one.

    Raises:
        AuditBroken: the chain is shorter than it was, or has another head at the same length.
    """
    if before is not None and (
        facts["links"] < before["links"]
        or (facts["links"] == before["links"] and facts["hash"] != before["hash"])
    ):
        raise AuditBroken(
            f"the audit had {before['links']} links and now has {facts['links']}: it was cut off "
            "or written anew. Keep the older checkpoint, it is the evidence"
        )
    return facts
