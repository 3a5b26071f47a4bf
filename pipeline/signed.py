"""Signed statements in a file: facts that one party hands to another and cannot deny later.

The signature covers the statement's kind, its facts and the signer's key, as canonical JSON.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pipeline.errors import SluisError

_PREFIX: Final = "sluis/v1/"


class StatementRefused(SluisError):  # noqa: N818 - reads as the outcome it is
    """A statement that is damaged, of another kind, or not signed by whom it should be."""

    exit_status = 4


def sign(kind: str, facts: Mapping[str, str | int], key: Ed25519PrivateKey) -> dict[str, Any]:
    """State `facts`: the statement, ready to be written as JSON."""
    statement: dict[str, Any] = {
        "kind": _PREFIX + kind,
        **facts,
        "signed_by": key_id(key.public_key()),
    }
    signature = base64.b64encode(key.sign(_canonical(statement))).decode()
    return statement | {"signature": signature}


def check(statement: object, kind: str, keys: Iterable[Ed25519PublicKey]) -> dict[str, Any]:
    """The statement, if one of `keys` has signed it.

    Raises:
        StatementRefused: it is no statement of this kind, or none of them has.
    """
    if not isinstance(statement, dict) or statement.get("kind") != _PREFIX + kind:
        raise StatementRefused(f"this is no {kind.replace('-', ' ')} of Sluis")
    claimed = {name: value for name, value in statement.items() if name != "signature"}
    try:
        signature = base64.b64decode(str(statement.get("signature")), validate=True)
        signer = next(key for key in keys if key_id(key) == statement.get("signed_by"))
        signer.verify(signature, _canonical(claimed))
    except (binascii.Error, StopIteration, InvalidSignature):
        raise StatementRefused(
            f"the {kind.replace('-', ' ')} is altered, or signed by a key that is not known here"
        ) from None
    return claimed


def key_id(key: Ed25519PublicKey) -> str:
    """Short name of a signing key: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def _canonical(statement: Mapping[str, Any]) -> bytes:
    return json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
