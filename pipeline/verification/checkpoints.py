"""The other party's side of the audit: fetch checkpoints, check them, keep them all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from matchers.files import write_text
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


def read(path: Path, key: Ed25519PublicKey) -> list[dict[str, Any]]:
    """The facts of every checkpoint in a file, in the order in which they were fetched.

    Raises:
        StatementRefused: one is altered, or the file holds anything else.
    """
    text, decoder = path.read_text(encoding="utf-8").strip(), json.JSONDecoder()
    found: list[dict[str, Any]] = []
    while text:
        try:
            statement, end = decoder.raw_decode(text)
        except ValueError as error:
            raise signed.StatementRefused(
                f"{path} is not JSON after {len(found)} checkpoints: give the file as it was "
                "written, and keep the damaged one"
            ) from error
        found.append(check(statement, key))
        text = text[end:].lstrip()
    return found


def append(path: Path, statement: Mapping[str, Any]) -> None:
    """Add a checkpoint to a file, durably: after a crash it holds the old ones, or all."""
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    if before and not before.endswith("\n"):
        before += "\n"
    write_text(path, before + json.dumps(statement, sort_keys=True) + "\n")


def follows(before: Iterable[Mapping[str, Any]], facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """The newer checkpoint, if it can come after all the older ones.

    Raises:
        AuditBroken: the chain is shorter than it was, or has another head at the same length.
    """
    for one in before:
        if facts["links"] < one["links"] or (
            facts["links"] == one["links"] and facts["hash"] != one["hash"]
        ):
            raise AuditBroken(
                f"the audit had {one['links']} links and now has {facts['links']}: it was cut off "
                "or written anew. Keep the older checkpoints, they are the evidence"
            )
    return facts
