"""Sealed hits as candidates and as the store takes them, from keys made for the tests."""

from __future__ import annotations

import datetime as dt
import functools
import tempfile
from pathlib import Path
from typing import Any

from pipeline import keys
from pipeline.rpc import candidates
from pipeline.rpc.sluis.verification.v1 import candidate_pb2
from pipeline.verification.release import points
from pipeline.verification.store import HELD, QUARANTINED, Arrival, Store

REFERENCE = "HITS-2026-0001"
DAY = 20_600
"""The day of every hit, unless a test says otherwise."""


@functools.cache
def provider() -> Path:
    """A provider's key folder, made once; removed with the process's other temporary files."""
    folder = tempfile.TemporaryDirectory(prefix="sluis-hits-")
    provider.__dict__["kept"] = folder  # removed when the process ends
    made = Path(folder.name) / "keys"
    keys.make(made, hosts=["localhost"], reviewers=2, now=dt.datetime(2026, 6, 1, tzinfo=dt.UTC))
    return made / "provider"


@functools.cache
def sealed(
    content: str,
    indicator: str,
    account: str = "a",
    *,
    at_once: bool = False,
    day: int = DAY,
    copy: int = 0,
    folder: Path | None = None,
    reference: str = REFERENCE,
) -> candidate_pb2.Candidate:
    """A hit; the same arguments give the very same message, another `copy` a fresh seal of it.

    Callers must not change it: see `altered`.
    """
    del copy
    service = keys.LocalKeyService(folder or provider(), reference, "account")
    hit = keys.Sealable(
        item_id=content, account_id=account, content=content.encode().ljust(32),
        indicator=indicator.encode(), hit_day=day, released_at_once=at_once,
    )  # fmt: skip
    done = service.seal(hit, candidate_pb2.CandidatePayload(set_id="s").SerializeToString())
    return candidates.to_message(
        done.candidate_id, done.context, done.hit_day, done.verifier_key_id, done.seal
    )


def altered(
    candidate: candidate_pb2.Candidate, how: str, number: int = 1
) -> candidate_pb2.Candidate:
    """A damaged copy under an id of its own: a wrong y in a stream, or a flipped ciphertext."""
    copy = candidate_pb2.Candidate()
    copy.CopyFrom(candidate)
    copy.candidate_id = f"{how[:2]}{number}".encode() + candidate.candidate_id[3:]
    if how == "ciphertext":
        first, rest = copy.threshold.ciphertext[:1], copy.threshold.ciphertext[1:]
        copy.threshold.ciphertext = bytes([first[0] ^ 1]) + rest
    else:
        stream = {"content": 0, "indicator": 1}[how]
        copy.threshold.shares[stream].y = bytes(31) + bytes([number])
    return copy


def arrival(candidate: candidate_pb2.Candidate) -> Arrival:
    """The candidate as the store takes it."""
    return Arrival(
        candidate.candidate_id,
        candidate.SerializeToString(),
        candidate.context.order_id,
        candidate.context.epoch,
        candidate.context.hit_day,
        candidate.threshold.group_tag,
        points(candidate),
    )


def end_state(store: Store) -> dict[str, Any]:
    """All that must not depend on the order of deliveries.

    Seals made anew differ, and so do the order of arrival, random references and the audit.
    """
    with store.read() as connection:

        def rows(statement: str) -> set[tuple[Any, ...]]:
            return {tuple(row) for row in connection.execute(statement).fetchall()}

        return {
            "candidates": rows(
                "SELECT candidate_id, order_id, epoch, state, group_tag, waiting IS NULL, "
                "released IS NULL FROM candidate"
            ),
            "shares": rows("SELECT group_tag, stream, x, y FROM share"),
            "groups": rows("SELECT group_tag FROM hit_group"),
        }


def everything(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of the store, the audit's included."""
    tables = (
        "candidate", "share", "hit_group", "closed_epoch", "decision", "opened", "verdict",
        "progress", "audit",
    )  # fmt: skip
    with store.read() as connection:
        return {
            table: sorted(
                (tuple(row) for row in connection.execute(f"SELECT * FROM {table}").fetchall()),
                key=repr,
            )
            for table in tables
        }


def states(store: Store) -> dict[bytes, str]:
    """The state of every candidate, held ones included."""
    with store.read() as connection:
        return dict(connection.execute("SELECT candidate_id, state FROM candidate").fetchall())


def readable(store: Store) -> set[bytes]:
    """Ids of those that reviewers may see."""
    return {one for one, state in states(store).items() if state not in (HELD, QUARANTINED)}
