"""What is deleted, and when: hits that wait past their retention, and the contents of old ones.

A hit that waited in vain disappears with its shares. A released one keeps its id, state, decisions
and verdict, so that a repeat is known as one and a complaint can be answered; what it was sealed
with and what reviewers opened is erased. Every act is counted in the audit.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pipeline.errors import SluisError
from pipeline.verification import audit
from pipeline.verification.database import Transaction, marks
from pipeline.verification.erasure import WAITING, erase
from pipeline.verification.store import Store

_BATCH: Final = 500
"""Candidates in one transaction: those that arrive meanwhile wait for no more than this."""


class NotServed(SluisError):  # noqa: N818 - reads as the outcome it is
    """A receipt for something that cannot be closed here."""

    exit_status = 2


@dataclass(frozen=True)
class Deleted:
    """How much was deleted.

    Attributes:
        held: hits that waited for a second one, in vain.
        quarantined: hits that had been put aside.
        erased: released candidates whose contents are gone.
    """

    held: int = 0
    quarantined: int = 0
    erased: int = 0


@dataclass(frozen=True)
class Standing:
    """What a store knows of an epoch.

    Attributes:
        holds_order: any candidate of its order is here.
        is_closed: it has been closed here.
    """

    holds_order: bool
    is_closed: bool


def sweep(store: Store) -> Deleted:
    """Delete all whose last day of retention is over.

    Raises:
        StoreFault: the database did not answer; what was deleted before stays so.
    """
    today = store.today()
    counts: Counter[str] = Counter()
    while True:
        with store.read() as connection:
            rows = connection.execute(
                "SELECT candidate_id FROM candidate WHERE delete_after < ? LIMIT ?",
                (today, _BATCH),
            ).fetchall()
        if not rows:
            break
        work = functools.partial(
            erase, ids=[one for (one,) in rows], before=today, now=store.now(), kind="sweep"
        )
        counts += store.submit(work).result()
    if counts:
        store.purge()
    return Deleted(**counts)


def standing(store: Store, receipt: Mapping[str, Any]) -> Standing:
    """What a store knows of the epoch that a receipt names.

    Raises:
        NotServed, StoreFault: as `close_epoch`.
    """
    order_id, epoch = _named(receipt)
    with store.read() as connection:
        held = connection.execute(
            "SELECT 1 FROM candidate WHERE order_id = ? LIMIT 1", (order_id,)
        ).fetchone()
        closed = connection.execute(
            "SELECT 1 FROM closed_epoch WHERE order_id = ? AND epoch = ?", (order_id, epoch)
        ).fetchone()
    return Standing(holds_order=held is not None, is_closed=closed is not None)


def _named(receipt: Mapping[str, Any]) -> tuple[bytes, int]:
    """The order's id and the epoch that a receipt names."""
    try:
        return bytes.fromhex(receipt["order_id"]), int(receipt["epoch"])
    except (KeyError, TypeError, ValueError) as error:
        raise NotServed("the receipt names no order and epoch: ask the provider") from error


def close_epoch(store: Store, receipt: Mapping[str, Any]) -> Deleted:
    """Record that an epoch's key is destroyed: nothing new is of it, and its singles are deleted.

    Args:
        store: the store.
        receipt: the provider's, its signature checked.

    Raises:
        NotServed: the receipt does not name an order and epoch.
        StoreFault: as `sweep`.
    """
    order_id, epoch = _named(receipt)

    def record(transaction: Transaction) -> None:
        now = store.now()
        changed = transaction.execute(
            "INSERT INTO closed_epoch (order_id, epoch, closed_at, receipt) VALUES (?, ?, ?, ?) "
            "ON CONFLICT DO NOTHING",
            (order_id, epoch, now, json.dumps(receipt, sort_keys=True)),
        ).rowcount
        if changed:
            facts: dict[str, audit.Fact] = {"order_id": order_id.hex(), "epoch": epoch}
            audit.append(transaction, "epoch_closed", facts, now)

    store.submit(record).result()
    counts: Counter[str] = Counter()
    while True:
        with store.read() as connection:
            rows = connection.execute(
                "SELECT candidate_id FROM candidate WHERE order_id = ? AND epoch = ? "
                f"AND state IN ({marks(len(WAITING))}) LIMIT ?",
                (order_id, epoch, *WAITING, _BATCH),
            ).fetchall()
        if not rows:
            break
        work = functools.partial(
            erase, ids=[one for (one,) in rows], before=None, now=store.now(), kind="epoch_erased"
        )
        counts += store.submit(work).result()
    if counts:
        store.purge()
    return Deleted(**counts)
