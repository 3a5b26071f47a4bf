"""The gate: which rows of a batch may be opened, and why not. Pure; before any byte is read.

Default deny: a row passes only if every question below has the answer that lets it pass; a missing
answer does not. The questions are asked in this order, and the first that fails is the reason:

0. the account is not one of the State's (national security, law and order, military);
1. the item is not end-to-end encrypted;
2. its part of the service is covered;
3. its account is targeted;
4. today and its upload lie in the order's period;
5. its medium is covered, and there are indicators for it;
6. its uploader has consented, where the order's legal basis asks for that.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Set as AbstractSet
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from matchers.media import Medium
from pipeline.items import GATED, ITEMS
from pipeline.order import Order

REASONS: Final = (
    "state_account",
    "account_class_unknown",
    "e2ee",
    "encryption_unknown",
    "part_not_covered",
    "account_not_targeted",
    "outside_period",
    "media_out_of_scope",
    "no_indicators",
    "consent_missing",
)
"""Every reason, in the order in which they are given."""


def gate(
    rows: pa.RecordBatch, order: Order, scannable: AbstractSet[str], now: dt.datetime
) -> pa.RecordBatch:
    """Decide for each row whether it may be opened.

    Args:
        rows: of schema `ITEMS`.
        order: the order in whose name the scan runs.
        scannable: the media (image, video, container, url) that the loaded indicator sets can
            match.
        now: with a time zone.

    Returns:
        The rows with `skip_reason` (schema `GATED`): null where the row may be opened.

    Raises:
        ValueError: for another schema or a `now` without a time zone.
    """
    if rows.schema != ITEMS:
        raise ValueError("gate takes batches of schema ITEMS")
    if now.tzinfo is None:
        raise ValueError("now needs a time zone")
    today = now.astimezone(dt.UTC).date()
    # A kind left open is told by the item's own bytes once it is read, and the scanner opens only
    # what is covered; like a container it may turn out to be anything visual.
    kind = pc.fill_null(rows["kind"], "container")
    covered = media_covered(order)
    parts = list(order.service.parts)

    denied: dict[str, npt.NDArray[np.bool_]] = {
        "state_account": _is(rows["account_class"], ["state"]),
        "account_class_unknown": ~_is(rows["account_class"], ["ordinary"]),
        "e2ee": _is(rows["encryption"], ["e2ee"]),
        "encryption_unknown": ~_is(rows["encryption"], ["none"]),
        "part_not_covered": ~_is(rows["part"], parts),
        "account_not_targeted": _nowhere(rows)
        if order.accounts == "all"
        else ~_is(rows["account_id"], list(order.accounts)),
        "outside_period": _outside_period(rows["uploaded_at"], order, today),
        "media_out_of_scope": ~_is(kind, sorted(covered)),
        "no_indicators": ~_is(kind, sorted(scannable)),
        "consent_missing": ~_is(rows["consent"], ["given"])
        if order.consent_required
        else _nowhere(rows),
    }
    reason = np.full(rows.num_rows, None, dtype=object)
    for name in reversed(REASONS):  # the first of REASONS has the last word
        reason[denied[name]] = name
    return pa.RecordBatch.from_arrays(
        [*rows.columns, pa.array(reason.tolist(), pa.string())], schema=GATED
    )


def media_covered(order: Order) -> frozenset[Medium]:
    """The media that an order covers: its own, and containers where it covers what they hold."""
    covered: frozenset[Medium] = frozenset(order.media)
    return covered | {"container"} if covered & {"image", "video"} else covered


def _is(column: pa.Array, values: list[str]) -> npt.NDArray[np.bool_]:
    """Where the column holds one of `values`; null is none of them."""
    found = pc.is_in(column, value_set=pa.array(values, pa.string()), skip_nulls=True)
    return _mask(found)


def _nowhere(rows: pa.RecordBatch) -> npt.NDArray[np.bool_]:
    return np.zeros(rows.num_rows, bool)


def _outside_period(uploaded_at: pa.Array, order: Order, today: dt.date) -> npt.NDArray[np.bool_]:
    """Where the order does not hold today, or the upload falls outside it.

    What was uploaded before the order began is hosted content and covered, unless the order says
    from which day on; an unknown upload time then falls outside.
    """
    if not order.is_in_force(today):
        return np.ones(len(uploaded_at), bool)
    after_end = dt.datetime.combine(order.valid_until + dt.timedelta(days=1), dt.time(), dt.UTC)
    late = pc.fill_null(pc.greater_equal(uploaded_at, _instant(after_end)), False)
    outside = _mask(late)
    if order.uploaded_from is not None:
        start = dt.datetime.combine(order.uploaded_from, dt.time(), dt.UTC)
        early = pc.fill_null(pc.less(uploaded_at, _instant(start)), True)
        outside |= _mask(early)
    return outside


def _mask(array: pa.BooleanArray) -> npt.NDArray[np.bool_]:
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.bool_)


def _instant(value: dt.datetime) -> pa.Scalar:
    return pa.scalar(value, ITEMS.field("uploaded_at").type)
