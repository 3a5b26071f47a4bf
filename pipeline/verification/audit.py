"""What happened, in order and for good: every act is a link of one hash chain.

    hash[n] = SHA-256(enc("sluis/v1/audit", hash[n - 1], n, at, kind, facts))     hash[0] = 32 zeros

A link holds counts and candidate ids; never a name, a pseudonym or a hash of content. The database
refuses to change or remove one; whoever goes around the database breaks the chain.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Final

from pipeline.verification.database import Transaction
from pipeline.vouchers import PREFIX, enc

Fact = str | int | Sequence[str]

FIRST: Final = bytes(32)
"""What the first link is chained to."""


def append(transaction: Transaction, kind: str, facts: Mapping[str, Fact], at: int) -> None:
    """Add one act to the chain, in the transaction of the act itself.

    Args:
        transaction: the writer's; nobody else can append at the same time.
        kind: what was done, one word: batch, release, decision, ...
        facts: about it; candidate ids in hex.
        at: seconds since 1970.
    """
    head = transaction.execute(
        "SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1"
    ).fetchone()
    number, before = head or (0, FIRST)
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    digest = link(before, number + 1, at, kind, text)
    transaction.execute(
        "INSERT INTO audit (number, at, kind, facts, hash) VALUES (?, ?, ?, ?, ?)",
        (number + 1, at, kind, text, digest),
    )


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
