"""What happened, in order and for good: every act is a link of one hash chain.

    hash[n] = SHA-256(enc("sluis/v1/audit", hash[n - 1], n, at, kind, facts))     hash[0] = 32 zeros

A link holds counts, candidate ids, reviewers' key ids and complaint numbers; never a name, an
account's pseudonym or a hash of content. The database refuses to change or remove one; whoever goes
around the database breaks the chain. Whoever writes the whole chain anew is found by a checkpoint:
the chain's head, signed by the service and kept by the other party.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline import signed
from pipeline.errors import SluisError
from pipeline.verification.database import Transaction
from pipeline.vouchers import PREFIX, enc

Fact = str | int | Sequence[str]

FIRST: Final = bytes(32)
"""What the first link is chained to."""

CHECKPOINT: Final = "audit-checkpoint"
_PAGE: Final = 10_000


class AuditBroken(SluisError):  # noqa: N818 - reads as the outcome it is
    """The chain is not what it was when its links were made."""

    exit_status = 5


def append(transaction: Transaction, kind: str, facts: Mapping[str, Fact], at: int) -> None:
    """Add one act to the chain, in the transaction of the act itself.

    Args:
        transaction: the writer's; nobody else can append at the same time.
        kind: what was done, one word: batch, release, decision, ...
        facts: about it; candidate ids in hex.
        at: seconds since 1970.
    """
    number, before = head(transaction)
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    digest = link(before, number + 1, at, kind, text)
    transaction.execute(
        "INSERT INTO audit (number, at, kind, facts, hash) VALUES (?, ?, ?, ?, ?)",
        (number + 1, at, kind, text, digest),
    )


def head(transaction: Transaction) -> tuple[int, bytes]:
    """Number and hash of the last link; 0 and `FIRST` of an empty chain."""
    row = transaction.execute(
        "SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1"
    ).fetchone()
    return row or (0, FIRST)


def checkpoint(transaction: Transaction, key: Ed25519PrivateKey, at: int) -> dict[str, Any]:
    """The chain's head, signed: for the other party to keep."""
    number, digest = head(transaction)
    return signed.sign(CHECKPOINT, {"links": number, "hash": digest.hex(), "at": at}, key)


def verify(transaction: Transaction, checkpoints: Sequence[Mapping[str, Any]] = ()) -> int:
    """Walk the chain from its first link, and hold it against checkpoints.

    Args:
        transaction: to read with.
        checkpoints: their signatures checked.

    Returns:
        The number of links.

    Raises:
        AuditBroken: naming the first link that is not what it was.
    """
    expected = _heads(checkpoints)
    number, before = 0, FIRST
    read = -(2**62)  # from the very start: nothing may stand before the first link
    while True:
        rows = transaction.execute(
            "SELECT number, at, kind, facts, hash FROM audit WHERE number > ? "
            "ORDER BY number LIMIT ?",
            (read, _PAGE),
        ).fetchall()
        for found, at, kind, facts, digest in rows:
            if found != number + 1:
                raise AuditBroken(f"link {number + 1} is missing: {found} follows {number}")
            if _link(before, found, at, kind, facts) != digest:
                raise AuditBroken(f"link {found} was changed, or put in another's place")
            if expected.pop(found, digest) != digest:
                raise AuditBroken(
                    f"link {found} is not the one that the checkpoint was signed for: the chain "
                    "was written anew up to there"
                )
            read = number = found
            before = digest
        if not rows:
            break
    if expected.pop(0, FIRST) != FIRST or expected:
        raise AuditBroken(
            f"the chain ends after {number} links, but a checkpoint was signed for "
            f"{max(expected, default=0)}: its end was cut off"
        )
    return number


def _heads(checkpoints: Sequence[Mapping[str, Any]]) -> dict[int, bytes]:
    """Number of links -> the hash that was signed for it."""
    heads: dict[int, bytes] = {}
    for one in checkpoints:
        links, digest = int(one["links"]), bytes.fromhex(str(one["hash"]))
        if heads.setdefault(links, digest) != digest:
            raise AuditBroken(
                f"the service has signed two different heads after {links} links: the chain was "
                "written anew in between"
            )
    return heads


def _link(before: bytes, number: int, at: int, kind: str, facts: str) -> bytes | None:
    """The hash of a link as it was found; None of what no link can be: `append` never made it."""
    try:
        return link(before, number, at, kind, facts)
    except (ValueError, OverflowError, TypeError, AttributeError):
        return None


def link(before: bytes, number: int, at: int, kind: str, facts: str) -> bytes:
    """The hash of one link."""
    encoded = enc(
        PREFIX + b"audit",
        before,
        number.to_bytes(8, "big"),
        at.to_bytes(8, "big"),
        kind.encode(),
        facts.encode(),
    )
    return hashlib.sha256(encoded).digest()
