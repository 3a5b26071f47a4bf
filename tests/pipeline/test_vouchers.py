"""Seals, tokens and idempotency keys: known answers, and what must never open."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from support.settings import SEEDED

from pipeline import vouchers
from pipeline.rpc.sluis.verification.v1 import candidate_pb2
from pipeline.vouchers import (
    NAME_PAD_BYTES,
    PAYLOAD_PAD_BYTES,
    SEALED_BYTES,
    Context,
    Policy,
    Unsealable,
    candidate_id,
    enc,
    hit_day,
    make_token,
    open_direct,
    open_token,
    order_id,
    seal_direct,
)

EPOCH_KEY = bytes(range(32))
TOKEN_KEY = bytes(range(64))
VERIFIER = X25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
CONTEXT = Context(b"o" * 16, 3, 7, b"p" * 16)
OTHER_CONTEXTS = (
    Context(b"O" * 16, 3, 7, b"p" * 16),
    Context(b"o" * 16, 4, 7, b"p" * 16),
    Context(b"o" * 16, 3, 8, b"p" * 16),
    Context(b"o" * 16, 3, 7, b"P" * 16),
    Context(b"o" * 16, 7, 3, b"p" * 16),
    Context(b"p" * 16, 3, 7, b"o" * 16),
)
CANDIDATE = b"c" * 16
DAY = 20_600
UNITS = {"content": b"\x11" * 32, "indicator": b"set/row-1"}


def part(data: bytes) -> bytes:
    """One part of `enc`, by hand."""
    return len(data).to_bytes(4, "big") + data


def flipped(data: bytes, position: int, bit: int = 0) -> bytes:
    """The data with one bit changed."""
    changed = bytearray(data)
    changed[position] ^= 1 << bit
    return bytes(changed)


# --- encoding ---------------------------------------------------------------------------------


def test_enc_is_length_and_bytes_of_each_part():
    """The encoding is the one that the derivations describe, to the byte."""
    assert enc() == b""
    assert enc(b"") == b"\0\0\0\0"
    assert enc(b"ab", b"", b"c") == b"\0\0\0\x02ab\0\0\0\0\0\0\0\x01c"
    assert enc(b"x" * 258) == b"\0\0\x01\x02" + b"x" * 258


@SEEDED
@given(st.lists(st.binary(max_size=20), max_size=6))
def test_enc_can_be_undone(parts):
    """The parts can be read back, so no two lists of parts have the same encoding."""
    encoded = enc(*parts)
    found = []
    while encoded:
        length = int.from_bytes(encoded[:4], "big")
        found.append(encoded[4 : 4 + length])
        encoded = encoded[4 + length :]
    assert found == parts


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data cut at these places."""
    ends = sorted(min(place, len(data)) for place in places)
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


PLACES = st.lists(st.integers(0, 8), max_size=3)


@SEEDED
@given(st.binary(max_size=8), PLACES, PLACES)
def test_enc_keeps_where_one_part_ends(data, some, others):
    """The same bytes cut in two ways have two encodings, and nesting has a third."""
    one, other = cut(data, some), cut(data, others)
    assert (enc(*one) == enc(*other)) == (one == other)
    assert enc(enc(*one)) != enc(*one)


def test_context_is_encoded_as_described():
    """Order and policy are 16 bytes, epoch and key version big-endian 32-bit numbers."""
    assert CONTEXT.encode() == (
        part(b"o" * 16) + part(b"\0\0\0\x03") + part(b"\0\0\0\x07") + part(b"p" * 16)
    )
    assert len({CONTEXT.encode(), *(other.encode() for other in OTHER_CONTEXTS)}) == 7


# --- names on the wire ------------------------------------------------------------------------


@pytest.mark.parametrize("reference", ["EXAMPLE-2026-0001", "é", ""])
def test_order_id_known_answer(reference):
    """An order's name on the wire is SHA-256 of label and reference, cut to 16 bytes."""
    name = reference.encode("utf-8")
    by_hand = hashlib.sha256(b"\0\0\0\x0esluis/v1/order" + part(name)).digest()[:16]
    assert order_id(reference) == by_hand
    assert len(order_id(reference)) == 16


def test_order_ids_of_the_example_stay_what_they_are():
    """The id of the example order is frozen: another value would orphan what is stored."""
    assert order_id("EXAMPLE-2026-0001").hex() == "9563383d6ea5c0f23a89819bc6db2fc6"
    assert Policy().policy_id.hex() == "445f3e41ce0035d08af37cf2fd04bfd7"


def policy_by_hand(
    k: int, streams: tuple[bytes, ...], group_by: bytes, epoch_days: int, cluster_map: bytes
) -> bytes:
    """A policy's name, from its description."""
    return hashlib.sha256(
        part(b"sluis/v1/policy")
        + part(k.to_bytes(4, "big"))
        + part(b"".join(part(stream) for stream in streams))
        + part(group_by)
        + part(epoch_days.to_bytes(4, "big"))
        + part(cluster_map)
    ).digest()[:16]


def test_policy_id_known_answer():
    """A policy's name on the wire is SHA-256 over all that it says, cut to 16 bytes."""
    both = (b"content", b"indicator")
    assert Policy().policy_id == policy_by_hand(2, both, b"account", 0, b"indicator")
    other = Policy(k=3, streams=("content",), group_by="material", epoch_days=30, cluster_map="r70")
    assert other.policy_id == policy_by_hand(3, (b"content",), b"material", 30, b"r70")


def test_no_two_policies_share_a_name():
    """Whatever a policy changes, and above all k, its name on the wire changes too."""
    policies = [
        Policy(),
        Policy(k=1),
        Policy(k=3),
        Policy(streams=("content",)),
        Policy(streams=("indicator", "content")),
        Policy(streams=("contentindicator",)),
        Policy(group_by="material"),
        Policy(epoch_days=1),
        Policy(cluster_map="none"),
    ]
    assert len({policy.policy_id for policy in policies}) == len(policies)
    assert {len(policy.policy_id) for policy in policies} == {16}


@pytest.mark.parametrize(
    ("uploaded", "start", "effective", "day"),
    [
        (None, "1970-01-01", "1970-01-01", 0),
        ("1970-01-02", "1970-01-01", "1970-01-01", 1),
        (None, "2026-01-10", "2025-12-01", 20_463),
        ("2026-01-09", "2026-01-10", "2025-12-01", 20_463),
        ("2026-01-10", "2026-01-10", "2026-01-10", 20_463),
        ("2026-01-11", "2026-01-10", "2025-12-01", 20_464),
        ("2026-01-11", "2026-01-10", "2026-01-12", 20_465),
        (None, "2026-01-10", "2026-01-12", 20_465),
    ],
)
def test_hit_day_is_the_latest_of_three(uploaded, start, effective, day):
    """A hit's day is its upload, the order's first or the set's first day, whichever is last."""
    days = [dt.date.fromisoformat(text) if text else None for text in (uploaded, start, effective)]
    assert hit_day(*days) == day


# --- candidate ids ----------------------------------------------------------------------------


def test_candidate_id_known_answer():
    """The idempotency key is two HMACs over the described parts, cut to 16 bytes."""
    account = hmac.new(
        EPOCH_KEY,
        part(b"sluis/v1/account") + part(CONTEXT.encode()) + part(b"account-1"),
        hashlib.sha256,
    ).digest()
    by_hand = hmac.new(
        account,
        part(b"sluis/v1/cid")
        + part(part(b"content") + part(b"\x11" * 32))
        + part(part(b"indicator") + part(b"set/row-1")),
        hashlib.sha256,
    ).digest()[:16]
    assert candidate_id(EPOCH_KEY, CONTEXT, b"account-1", UNITS) == by_hand
    turned = dict(reversed(UNITS.items()))
    assert candidate_id(EPOCH_KEY, CONTEXT, b"account-1", turned) == by_hand


INPUTS = st.tuples(
    st.binary(min_size=32, max_size=32),
    st.tuples(st.binary(min_size=16, max_size=16), st.integers(0, 9), st.integers(0, 9)),
    st.binary(max_size=8),
    st.binary(max_size=8),
    st.binary(max_size=8),
)


def from_inputs(inputs: tuple) -> bytes:
    """The candidate id of one draw of `INPUTS`."""
    key, (order, epoch, version), unit, content, indicator = inputs
    context = Context(order, epoch, version, b"p" * 16)
    return candidate_id(key, context, unit, {"content": content, "indicator": indicator})


@settings(SEEDED, max_examples=150)
@given(INPUTS, INPUTS, st.integers(0, 4))
def test_each_input_changes_the_candidate_id(one, other, changed):
    """Equal inputs give equal ids; one other key, context, account, content or indicator does not."""
    mixed = (*one[:changed], other[changed], *one[changed + 1 :])
    assert len(from_inputs(one)) == vouchers.CANDIDATE_ID_BYTES
    assert from_inputs(one) == from_inputs(one)
    assert (from_inputs(one) == from_inputs(mixed)) == (one == mixed)


# --- direct seals -----------------------------------------------------------------------------


@SEEDED
@given(st.binary(max_size=600) | st.binary(max_size=8).map(lambda b: b * 300))
def test_a_seal_opens_to_what_was_sealed(payload):
    """Whatever the payload, its seal has one size and opens to it."""
    sealed = seal_direct(VERIFIER.public_key(), CONTEXT, DAY, CANDIDATE, payload)
    assert len(sealed) == SEALED_BYTES
    assert open_direct(VERIFIER, CONTEXT, DAY, CANDIDATE, sealed) == payload


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0",
        b"\x80",
        b"\x80\0\0",
        b"x" * (PAYLOAD_PAD_BYTES - 1),
        b"\0" * (PAYLOAD_PAD_BYTES - 1),
    ],
    ids=["empty", "zero", "mark", "like padding", "longest", "longest of zeros"],
)
def test_padding_is_taken_off_exactly(payload):
    """Payloads that look like padding, and the longest ones, come back as they were."""
    sealed = seal_direct(VERIFIER.public_key(), CONTEXT, DAY, CANDIDATE, payload)
    assert len(sealed) == SEALED_BYTES == 32 + PAYLOAD_PAD_BYTES + 16
    assert open_direct(VERIFIER, CONTEXT, DAY, CANDIDATE, sealed) == payload


@pytest.mark.parametrize("length", [PAYLOAD_PAD_BYTES, PAYLOAD_PAD_BYTES + 1, 100_000])
def test_a_payload_too_long_for_a_record_is_refused(length):
    """A longer payload is refused, not sealed at a size that would tell it apart."""
    with pytest.raises(ValueError, match=str(PAYLOAD_PAD_BYTES)):
        seal_direct(VERIFIER.public_key(), CONTEXT, DAY, CANDIDATE, bytes(length))


def test_no_two_seals_are_alike():
    """The same payload sealed twice gives unrelated bytes."""
    one, two = (
        seal_direct(VERIFIER.public_key(), CONTEXT, DAY, CANDIDATE, b"payload") for _ in range(2)
    )
    assert one[:32] != two[:32]
    assert one[32:] != two[32:]


def test_a_seal_does_not_open_with_another_key():
    """Only the verifier it was sealed for can open it."""
    sealed = seal_direct(VERIFIER.public_key(), CONTEXT, DAY, CANDIDATE, b"payload")
    with pytest.raises(Unsealable):
        open_direct(X25519PrivateKey.generate(), CONTEXT, DAY, CANDIDATE, sealed)


@pytest.mark.parametrize("context", OTHER_CONTEXTS)
def test_a_seal_does_not_open_in_another_context(context):
    """Order, epoch, key version and policy are bound to the seal."""
    sealed = seal_direct(VERIFIER.public_key(), CONTEXT, DAY, CANDIDATE, b"payload")
    with pytest.raises(Unsealable):
        open_direct(VERIFIER, context, DAY, CANDIDATE, sealed)


@pytest.mark.parametrize(
    ("day", "candidate"),
    [(DAY + 1, CANDIDATE), (0, CANDIDATE), (DAY, b"d" * 16), (DAY, b"c" * 15), (DAY, b"")],
)
def test_a_seal_does_not_open_for_another_day_or_candidate(day, candidate):
    """The hit's day and the candidate's id are bound to the seal."""
    sealed = seal_direct(VERIFIER.public_key(), CONTEXT, DAY, CANDIDATE, b"payload")
    with pytest.raises(Unsealable):
        open_direct(VERIFIER, CONTEXT, day, candidate, sealed)


POSITIONS = (0, 15, 31, 32, 33, 700, SEALED_BYTES // 2, SEALED_BYTES - 17, SEALED_BYTES - 16, -1)


@pytest.mark.parametrize("bit", [0, 7])
@pytest.mark.parametrize("position", POSITIONS)
def test_a_seal_with_a_flipped_bit_does_not_open(position, bit):
    """A change in the encapsulated key, the payload, its padding or the tag is found."""
    sealed = seal_direct(VERIFIER.public_key(), CONTEXT, DAY, CANDIDATE, b"payload")
    with pytest.raises(Unsealable):
        open_direct(VERIFIER, CONTEXT, DAY, CANDIDATE, flipped(sealed, position, bit))


@pytest.mark.parametrize("length", [0, 1, 31, 32, 48, SEALED_BYTES - 1])
def test_a_seal_cut_short_does_not_open(length):
    """A part of a seal is no seal, and neither is a run of zeros."""
    sealed = seal_direct(VERIFIER.public_key(), CONTEXT, DAY, CANDIDATE, b"payload")
    for damaged in (sealed[:length], bytes(length), sealed + b"\0"):
        with pytest.raises(Unsealable):
            open_direct(VERIFIER, CONTEXT, DAY, CANDIDATE, damaged)


def test_the_message_of_a_seal_that_does_not_open_holds_nothing_of_it():
    """An error about a seal repeats neither its bytes nor the candidate's id."""
    with pytest.raises(Unsealable) as caught:
        open_direct(VERIFIER, CONTEXT, DAY, CANDIDATE, b"sentinel" * 400)
    assert "sentinel" not in str(caught.value)
    assert CANDIDATE.decode() not in str(caught.value)


# --- tokens -----------------------------------------------------------------------------------

TOKEN_BYTES = 16 + 16 + NAME_PAD_BYTES
"""Nonce, synthetic IV (RFC 5297), padded name."""


@SEEDED
@given(st.text(max_size=200), st.sampled_from(["account", "content"]))
def test_a_token_opens_to_its_name(name, label):
    """Whatever the name, its token has one size, differs each time, and opens to it."""
    one, two = (make_token(TOKEN_KEY, label, CONTEXT, CANDIDATE, name) for _ in range(2))
    assert one != two
    assert len(one) == len(two) == TOKEN_BYTES
    assert open_token(TOKEN_KEY, label, CONTEXT, CANDIDATE, one) == name
    assert open_token(TOKEN_KEY, label, CONTEXT, CANDIDATE, two) == name


def test_tokens_of_one_name_have_nothing_in_common():
    """Two tokens of one account share neither nonce nor ciphertext, so they cannot be linked."""
    tokens = [make_token(TOKEN_KEY, "account", CONTEXT, CANDIDATE, "account-1") for _ in range(20)]
    assert len({token[:16] for token in tokens}) == 20
    assert len({token[16:32] for token in tokens}) == 20
    assert len({token[32:64] for token in tokens}) == 20
    assert not any(b"account-1" in token for token in tokens)


@pytest.mark.parametrize("name", ["", "x" * 1024, "é" * 512, "\0" * 1024, "a\0"])
def test_names_of_every_length_have_tokens_of_one_size(name):
    """From none to 1,024 bytes, with or without zeros, a name cannot be told by its token's size."""
    token = make_token(TOKEN_KEY, "content", CONTEXT, CANDIDATE, name)
    assert len(token) == TOKEN_BYTES
    assert open_token(TOKEN_KEY, "content", CONTEXT, CANDIDATE, token) == name


@pytest.mark.parametrize("name", ["x" * 1025, "é" * 513])
def test_a_name_too_long_for_a_token_is_refused(name):
    """A longer name is refused, not given a token of another size."""
    with pytest.raises(ValueError, match=str(NAME_PAD_BYTES)):
        make_token(TOKEN_KEY, "content", CONTEXT, CANDIDATE, name)


@pytest.mark.parametrize("label", ["content", "Account", "", "account-"])
def test_a_token_does_not_open_under_another_label(label):
    """An account's token is no item's."""
    token = make_token(TOKEN_KEY, "account", CONTEXT, CANDIDATE, "account-1")
    with pytest.raises(Unsealable):
        open_token(TOKEN_KEY, label, CONTEXT, CANDIDATE, token)


@pytest.mark.parametrize("context", OTHER_CONTEXTS)
def test_a_token_means_nothing_in_another_context(context):
    """A token of one order, epoch, key version or policy does not open in another."""
    token = make_token(TOKEN_KEY, "account", CONTEXT, CANDIDATE, "account-1")
    with pytest.raises(Unsealable):
        open_token(TOKEN_KEY, "account", context, CANDIDATE, token)


@pytest.mark.parametrize("position", [0, 31, 32, 63])
def test_a_token_does_not_open_with_another_key(position):
    """Both halves of the key are needed."""
    token = make_token(TOKEN_KEY, "account", CONTEXT, CANDIDATE, "account-1")
    with pytest.raises(Unsealable):
        open_token(flipped(TOKEN_KEY, position), "account", CONTEXT, CANDIDATE, token)


@pytest.mark.parametrize("bit", [0, 7])
@pytest.mark.parametrize("position", [0, 15, 16, 31, 32, 40, 500, TOKEN_BYTES - 1])
def test_a_token_with_a_flipped_bit_does_not_open(position, bit):
    """A change in nonce, synthetic IV, name or padding is found."""
    token = make_token(TOKEN_KEY, "account", CONTEXT, CANDIDATE, "account-1")
    with pytest.raises(Unsealable):
        open_token(TOKEN_KEY, "account", CONTEXT, CANDIDATE, flipped(token, position, bit))


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 31, 32, TOKEN_BYTES - 1])
def test_a_token_cut_short_does_not_open(length):
    """A part of a token is no token."""
    token = make_token(TOKEN_KEY, "account", CONTEXT, CANDIDATE, "account-1")
    with pytest.raises(Unsealable):
        open_token(TOKEN_KEY, "account", CONTEXT, CANDIDATE, token[:length])


# --- room -------------------------------------------------------------------------------------


def test_the_largest_payload_fits_its_record():
    """Two tokens of 1,024-byte names, the longest set id and a 200-byte indicator id fit."""
    payload = candidate_pb2.CandidatePayload(
        content_token=make_token(TOKEN_KEY, "content", CONTEXT, CANDIDATE, "x" * 1024),
        account_token=make_token(TOKEN_KEY, "account", CONTEXT, CANDIDATE, "y" * 1024),
        set_id="s" * 63,
        set_version=2**32 - 1,
        kind=candidate_pb2.INDICATOR_KIND_URL,
        indicator_id="i" * 200,
        method="sha256",
        distance_bits=256,
        radius_bits=64,
        quality=100,
    ).SerializeToString()
    sealed = seal_direct(VERIFIER.public_key(), CONTEXT, DAY, CANDIDATE, payload)
    assert open_direct(VERIFIER, CONTEXT, DAY, CANDIDATE, sealed) == payload
