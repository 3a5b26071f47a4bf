"""The orders that a service takes candidates for: the same files that the provider scans under."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline import vouchers
from pipeline.errors import OrderRefused
from pipeline.order import Order
from pipeline.vouchers import Epochs


@dataclass(frozen=True)
class ServedOrder:
    """What a candidate of an order must agree with.

    Attributes:
        policy_id: of the only release policy it may be sealed under. A weaker one (k = 1) has
            another id and is never accepted.
        streams: that policy's.
        epochs: its period.
    """

    policy_id: bytes
    streams: frozenset[str]
    epochs: Epochs


def served(orders: Sequence[Order]) -> Mapping[bytes, ServedOrder]:
    """The orders by their id on the wire.

    Raises:
        OrderRefused: none is given, or one twice.
    """
    if not orders:
        raise OrderRefused(
            "no order is given: candidates are taken under a detection order only. Give the file "
            "that the provider scans under"
        )
    known: dict[bytes, ServedOrder] = {}
    for one in orders:
        order_id = vouchers.order_id(one.reference)
        if order_id in known:
            raise OrderRefused(f"order {one.reference} is given twice: give its one valid file")
        policy = vouchers.release_policy(one.group_hits_by, one.epoch_days)
        known[order_id] = ServedOrder(
            policy.policy_id,
            frozenset(policy.streams),
            Epochs.of(one.valid_from, one.valid_until, one.epoch_days),
        )
    return known
