"""The gate, one row at a time, in the order in which its docstring asks its questions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from typing import Any

from pipeline.order import Order


def reason_not_to_open(  # noqa: C901, PLR0911, PLR0912 - one question after the other
    row: Mapping[str, Any], order: Order, scannable: Collection[str], now: dt.datetime
) -> str | None:
    """Why the row may not be opened; None if it may."""
    # 0. State accounts are left alone, and nothing but "ordinary" says that it is none.
    if row["account_class"] == "state":
        return "state_account"
    if row["account_class"] != "ordinary":
        return "account_class_unknown"

    # 1. End-to-end encrypted items are left alone, and nothing but "none" says that it is none.
    if row["encryption"] == "e2ee":
        return "e2ee"
    if row["encryption"] != "none":
        return "encryption_unknown"

    # 2. Only the parts of the service that the order names.
    if row["part"] not in order.service.parts:
        return "part_not_covered"

    # 3. Only the accounts that the order targets.
    if order.accounts != "all" and row["account_id"] not in order.accounts:
        return "account_not_targeted"

    # 4. Only while the order runs; nothing uploaded after it, nor before the day it may name.
    today = now.astimezone(dt.UTC).date()
    if today < order.valid_from or today > order.valid_until:
        return "outside_period"
    uploaded = row["uploaded_at"]
    if uploaded is not None and uploaded.astimezone(dt.UTC).date() > order.valid_until:
        return "outside_period"
    if order.uploaded_from is not None:
        if uploaded is None:
            return "outside_period"
        if uploaded.astimezone(dt.UTC).date() < order.uploaded_from:
            return "outside_period"

    # 5. Only the media that the order names, and only those that some indicator can match.
    # A container, and an item that only its bytes will name, may hold anything visual.
    kind = "container" if row["kind"] is None else row["kind"]
    visual = "image" in order.media or "video" in order.media
    if kind not in order.media and not (kind == "container" and visual):
        return "media_out_of_scope"
    if kind not in scannable:
        return "no_indicators"

    # 6. Consent, under the legal bases that ask for it.
    if order.legal_profile == "be2024" and row["consent"] != "given":
        return "consent_missing"
    return None
