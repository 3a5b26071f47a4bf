"""Uploads on the wire: every row that a manifest may hold comes through as it was."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.settings import SEEDED

from pipeline.items import ITEM_VALUES
from pipeline.rpc import uploads
from pipeline.rpc.sluis.ingest.v1 import ingest_service_pb2 as messages

NAMES = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\x7f"),
    min_size=1,
    max_size=200,
)
MOMENTS = st.datetimes(timezones=st.just(dt.UTC))


@st.composite
def rows(draw: st.DrawFn) -> tuple[dict, bytes | None]:
    """A valid row of a manifest, and its bytes or None."""
    kind = draw(st.none() | st.sampled_from(ITEM_VALUES["kind"]))
    row = {
        "item_id": draw(NAMES),
        "account_id": draw(st.none() | NAMES),
        "kind": kind,
        "part": draw(NAMES),
        "uploaded_at": draw(st.none() | MOMENTS),
        "encryption": draw(st.sampled_from(ITEM_VALUES["encryption"])),
        "account_class": draw(st.sampled_from(ITEM_VALUES["account_class"])),
        "consent": draw(st.sampled_from(ITEM_VALUES["consent"])),
        "user_notice": draw(st.sampled_from([None, "yes"])),
        "uri": None if kind == "url" else "/" + draw(NAMES),
        "url": draw(NAMES) if kind == "url" else None,
    }
    return row, None if kind == "url" else draw(st.none() | st.binary(max_size=50))


@SEEDED
@given(rows())
def test_a_row_comes_through_the_wire_as_it_was(given_row):
    """With its bytes the place of the file stays at home; else the place goes."""
    row, content = given_row
    sent = uploads.to_message(row, content).SerializeToString()
    came = uploads.to_row(messages.Upload.FromString(sent))
    expected = row | {"content": content}
    if content is not None:
        expected["uri"] = None
    assert came == expected


@SEEDED
@given(st.binary(max_size=200))
def test_any_message_is_a_row_or_is_refused_by_a_field_that_an_upload_has(data):
    """Nothing that parses can break the front door."""
    try:
        upload = messages.Upload.FromString(data)
    except Exception:  # noqa: BLE001 - not a message: refused before
        return
    field = "item_id"
    try:
        uploads.to_row(upload)
    except uploads.Malformed as error:
        field = str(error)
    assert field in messages.Upload.DESCRIPTOR.fields_by_name


@pytest.mark.parametrize("names", [("kind", "KIND_"), ("encryption", "ENCRYPTION_")])
def test_every_value_of_a_closed_column_has_its_own_number(names):
    """No two mean the same on the wire."""
    column, prefix = names
    usual = {"item_id": "x", "uri": "/x", "url": None, "part": "p"}
    usual |= dict.fromkeys(
        ("account_id", "kind", "uploaded_at", "encryption", "account_class", "consent")
    )
    usual["user_notice"] = None
    numbers = [
        getattr(uploads.to_message(usual | {column: value}, None), column)
        for value in ITEM_VALUES[column]
    ]
    assert len(set(numbers)) == len(ITEM_VALUES[column])
    known = [name for name in dir(messages) if name.startswith(prefix)]
    assert len(known) == len({*numbers, 0})
