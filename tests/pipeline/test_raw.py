"""Serialized messages, looked over without making objects of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import hits
from support.settings import SEEDED

from pipeline.rpc import raw
from pipeline.rpc.sluis.verification.v1 import candidate_pb2, candidate_service_pb2
from pipeline.verification import candidate_service


def test_fields_are_where_protobuf_puts_them():
    """Numbers, lengths and bytes of a real candidate, as its own parser has them."""
    one = hits.sealed("x", "1")
    data = one.SerializeToString()
    found = [(number, data[start:end]) for number, start, end in raw.fields(data)]
    assert [number for number, _ in found] == [field.number for field, _ in one.ListFields()]
    assert dict(found)[1] == one.candidate_id
    context, again = dict(found)[2], candidate_pb2.Context()
    assert again.MergeFromString(context) == len(context)
    assert again == one.context
    assert [number for number, _, _ in raw.fields(context)] == [
        field.number for field, _ in one.context.ListFields()
    ]


@SEEDED
@given(st.binary(max_size=200))
def test_any_bytes_are_fields_inside_them_or_no_message(data):
    """Hostile bytes end in one named error, and never beyond their end."""
    try:
        for _, start, end in raw.fields(data):
            assert 0 <= start <= end <= len(data)
    except raw.NoMessage:
        pass


@pytest.mark.parametrize("data", [b"\xff" * 11, b"\x0a\x05ab", b"\x0b", b"\x09\x00", b"\x80"])
def test_what_is_cut_or_of_an_unknown_kind_is_no_message(data):
    """Varints without end, lengths beyond the end, groups, short numbers."""
    with pytest.raises(raw.NoMessage):
        list(raw.fields(data))


def test_every_batch_that_a_scan_makes_passes():
    """The largest honest batch, of both seals, is within all limits."""
    batch = [hits.sealed("x", "1"), hits.sealed("y", "1", at_once=True)] * 500
    streamed = candidate_service_pb2.StreamCandidatesRequest(batch_number=7, candidates=batch)
    candidate_service.check_streamed(streamed.SerializeToString())
    submitted = candidate_service_pb2.SubmitCandidatesRequest(candidates=batch)
    candidate_service.check_submitted(submitted.SerializeToString())
