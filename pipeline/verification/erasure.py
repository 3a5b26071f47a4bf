"""Erasure of candidates within a transaction, and what it leaves of their groups.

A sweep asks for it, the closing of an epoch, and the intake: what is due of a group is gone before
a newcomer meets it, so that no outcome depends on when a sweep last came.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from pipeline.rpc.sluis.verification.v1 import candidate_pb2
from pipeline.verification import audit
from pipeline.verification.database import Transaction, marks
from pipeline.verification.release import points, release

WAITING: Final = ("held", "quarantined")
"""States of a candidate that waits; those of one that is released follow from decisions."""


def due(
    transaction: Transaction, ids: Sequence[bytes], tags: Sequence[bytes], today: int
) -> list[bytes]:
    """Ids of those among these candidates, and in these groups, whose last day is over."""
    rows = transaction.execute(
        f"SELECT candidate_id FROM candidate WHERE candidate_id IN ({marks(len(ids))}) "
        "AND delete_after < ?",
        (*ids, today),
    ).fetchall()
    if tags:
        rows += transaction.execute(
            f"SELECT candidate_id FROM candidate WHERE group_tag IN ({marks(len(tags))}) "
            "AND delete_after < ?",
            (*tags, today),
        ).fetchall()
    return sorted({candidate_id for (candidate_id,) in rows})


def erase(
    transaction: Transaction, *, ids: Sequence[bytes], before: int | None, now: int, kind: str
) -> Counter[str]:
    """Delete those that wait and erase the others, unless things have changed since.

    Args:
        transaction: the writer's.
        ids: chosen before, by a reader.
        before: the day before which retention must have ended; None: whatever waits, and no other.
        now: for the audit.
        kind: of the act.
    """
    due, values = (
        ("state IN (?, ?)", WAITING) if before is None else ("delete_after < ?", (before,))
    )
    rows = transaction.execute(
        "SELECT candidate_id, state, group_tag, released FROM candidate "
        f"WHERE candidate_id IN ({marks(len(ids))}) AND {due}",
        (*ids, *values),
    ).fetchall()
    waiting = [row[0] for row in rows if row[1] in WAITING]
    old = [(row[0], row[3]) for row in rows if row[1] not in WAITING]
    if waiting:
        transaction.execute(
            f"DELETE FROM candidate WHERE candidate_id IN ({marks(len(waiting))})", waiting
        )
    for candidate_id, message in old:
        transaction.execute(
            "UPDATE candidate SET group_tag = NULL, waiting = NULL, released = ?, "
            "delete_after = NULL WHERE candidate_id = ?",
            (_without_seal(message), candidate_id),
        )
        transaction.execute("DELETE FROM opened WHERE candidate_id = ?", (candidate_id,))
    for tag in sorted({row[2] for row in rows if row[2] is not None}):
        _keep_shares_of_the_rest(transaction, tag)
        _keep_a_pair_of_the_rest(transaction, tag)
    counts = Counter(row[1] for row in rows if row[1] in WAITING)
    if old:
        counts["erased"] = len(old)
    gone = sorted([*waiting, *(candidate_id for candidate_id, _ in old)])
    if gone:
        digest = hashlib.sha256(b"".join(gone)).hexdigest()
        audit.append(transaction, kind, {**counts, "ids_sha256": digest}, now)
    return counts


def _keep_shares_of_the_rest(transaction: Transaction, tag: bytes) -> None:
    """A group's points are those of the candidates that are still there."""
    rest = transaction.execute(
        "SELECT waiting FROM candidate WHERE group_tag = ? AND waiting IS NOT NULL", (tag,)
    ).fetchall()
    transaction.execute("DELETE FROM share WHERE group_tag = ?", (tag,))
    kept = _rows(tag, [message for (message,) in rest])
    if kept:
        transaction.executemany("INSERT INTO share VALUES (?, ?, ?, ?)", kept)


def _keep_a_pair_of_the_rest(transaction: Transaction, tag: bytes) -> None:
    """An open group opens again by two that are still there, if any two of them open it.

    If none do, the group is as one that was never open: the next newcomer may open it.
    """
    rows = transaction.execute(
        "SELECT candidate_id, state, waiting FROM candidate "
        "WHERE group_tag = ? AND waiting IS NOT NULL ORDER BY candidate_id",
        (tag,),
    ).fetchall()
    if not rows:
        transaction.execute("DELETE FROM hit_group WHERE group_tag = ?", (tag,))
        return
    pair = transaction.execute(
        "SELECT one, two FROM hit_group WHERE group_tag = ?", (tag,)
    ).fetchone()
    if pair is None or {*pair} <= {row[0] for row in rows}:
        return
    # Those that were released are right: with them first, the first two that differ will do.
    proven = {row[0] for row in rows if row[1] not in WAITING}
    rows.sort(key=lambda row: row[0] not in proven)
    opened = release([row[2] for row in rows], proven) if proven else None
    if opened is not None:
        transaction.execute(
            "UPDATE hit_group SET one = ?, two = ? WHERE group_tag = ?", (*opened.pair, tag)
        )


def _rows(tag: bytes, messages: Iterable[bytes]) -> list[tuple[bytes, str, bytes, bytes]]:
    found = {
        (tag, *point)
        for message in messages
        for point in points(candidate_pb2.Candidate.FromString(message))
    }
    return sorted(found)


def _without_seal(message: bytes) -> bytes:
    candidate = candidate_pb2.Candidate.FromString(message)
    candidate.ClearField("direct")
    return candidate.SerializeToString()
