"""The two-hit rule as mathematics: the properties that the specification asks to keep."""

from __future__ import annotations

import collections
import dataclasses
import itertools

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from support.settings import SEEDED

from pipeline import threshold, vouchers
from pipeline.threshold import FIELD, Inconsistent, NotOpen, Record, evaluate, interpolate
from pipeline.vouchers import Context, Policy, Unsealable

VERIFIER = X25519PrivateKey.generate()
POLICY = Policy()
CONTEXT = Context(b"o" * 16, 0, 1, POLICY.policy_id)
KEY = b"k" * 32
ACCOUNT = b"account-1"


def sealed(
    content: bytes,
    indicator: bytes,
    *,
    account: bytes = ACCOUNT,
    key: bytes = KEY,
    context: Context = CONTEXT,
    payload: bytes = b"payload",
) -> Record:
    """A hit, sealed as the key service does it."""
    units = {"content": content, "indicator": indicator}
    secret = vouchers.account_secret(key, context, account)
    candidate = vouchers.candidate_id(key, context, account, units)
    inner = vouchers.seal_direct(VERIFIER.public_key(), context, 20_000, candidate, payload)
    return threshold.seal(secret, POLICY, context, 20_000, candidate, units, inner)


def opened(*records: Record) -> threshold.Opened:
    """The group of these records."""
    return threshold.open_group(POLICY, CONTEXT, records)


@pytest.mark.parametrize("x", range(1, 13))
def test_one_share_is_consistent_with_every_secret(x):
    """Exhaustive over a small field: each share fits every intercept, each equally often."""
    field = 13
    fits = collections.Counter(
        (evaluate((intercept, slope), x, field), intercept)
        for intercept, slope in itertools.product(range(field), repeat=2)
    )
    assert len(fits) == field * field
    assert set(fits.values()) == {1}


@settings(SEEDED, max_examples=60)
@given(
    line=st.tuples(st.integers(0, FIELD - 1), st.integers(0, FIELD - 1)),
    xs=st.lists(st.integers(1, FIELD - 1), min_size=2, max_size=2, unique=True),
)
def test_two_points_give_the_line(line, xs):
    """Interpolation finds the line again from any two of its points."""
    one, two = ((x, evaluate(line, x)) for x in xs)
    assert interpolate(one, two) == line


def test_a_repeat_gives_the_same_tag_id_and_shares_and_never_opens():
    """Retries and nightly runs are one hit, however often they come."""
    first, again = sealed(b"c", b"i"), sealed(b"c", b"i")
    assert (first.tag, first.candidate_id, first.shares) == (
        again.tag,
        again.candidate_id,
        again.shares,
    )
    assert first.ciphertext != again.ciphertext
    with pytest.raises(NotOpen):
        opened(first, again, first)


HITS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6)


@settings(SEEDED, max_examples=80)
@given(hits=HITS)
def test_a_group_opens_if_and_only_if_some_pair_differs_in_both_streams(hits):
    """In any order and with any repeats; and then every record of the group opens."""
    records = [sealed(bytes([c]), bytes([i]), payload=b"%d %d" % (c, i)) for c, i in hits]
    distinct = any(a[0] != b[0] and a[1] != b[1] for a, b in itertools.combinations(hits, 2))
    if not distinct:
        with pytest.raises(NotOpen):
            opened(*records)
        return
    result = opened(*records)
    assert result.bad == ()
    for record, (content, indicator) in zip(records, hits, strict=True):
        inner = result.inners[record.candidate_id]
        assert vouchers.open_direct(
            VERIFIER, CONTEXT, 20_000, record.candidate_id, inner
        ) == b"%d %d" % (content, indicator)


OTHERS = {
    "epoch": {"context": dataclasses.replace(CONTEXT, epoch=1)},
    "key version": {"context": dataclasses.replace(CONTEXT, key_version=2)},
    "order": {"context": dataclasses.replace(CONTEXT, order_id=b"q" * 16)},
    "policy": {"context": dataclasses.replace(CONTEXT, policy_id=Policy(k=1).policy_id)},
    "key": {"key": b"z" * 32},
    "account": {"account": b"account-2"},
}


@pytest.mark.parametrize("other", OTHERS)
def test_hits_of_another_domain_never_combine_even_when_forced(other):
    """Another epoch, key, version, order, policy or account: other tag, other x, no opening."""
    here, there = sealed(b"1", b"1"), sealed(b"2", b"2", **OTHERS[other])
    same_hit = sealed(b"1", b"1", **OTHERS[other])
    assert here.tag != there.tag
    assert here.candidate_id != same_hit.candidate_id
    assert {s.x for s in here.shares}.isdisjoint(s.x for s in same_hit.shares)
    with pytest.raises(Inconsistent):
        opened(here, dataclasses.replace(there, tag=here.tag))


@settings(SEEDED, max_examples=60)
@given(
    what=st.sampled_from(["y", "ciphertext", "candidate id", "day", "nonce"]),
    place=st.integers(0, 3_000),
    bit=st.integers(0, 7),
)
def test_a_flipped_bit_makes_that_record_bad_and_the_others_open(what, place, bit):
    """Damage or forgery is isolated; one good and one bad record open nothing."""
    good = [sealed(bytes([n]), bytes([n])) for n in range(3)]
    one = good[0]

    def flip(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[place % len(data)] ^= 1 << bit
        return bytes(changed)

    match what:
        case "y":
            share = dataclasses.replace(one.shares[0], y=(one.shares[0].y + 1 + place) % FIELD)
            bad = dataclasses.replace(one, shares=(share, one.shares[1]))
        case "ciphertext":
            bad = dataclasses.replace(one, ciphertext=flip(one.ciphertext))
        case "candidate id":
            bad = dataclasses.replace(one, candidate_id=flip(one.candidate_id))
        case "day":
            bad = dataclasses.replace(one, hit_day=one.hit_day ^ 1)
        case _:
            bad = dataclasses.replace(one, nonce=flip(one.nonce))
    result = opened(bad, good[1], good[2])
    assert result.bad == (bad.candidate_id,)
    assert set(result.inners) == {good[1].candidate_id, good[2].candidate_id}
    if what == "y":
        with pytest.raises(Inconsistent):
            opened(bad, good[1])


@settings(SEEDED, max_examples=60)
@given(hits=HITS, data=st.data())
def test_pairs_with_newcomers_find_all_that_every_pair_finds(hits, data):
    """As long as what was there before had not opened by itself."""
    cut = data.draw(st.integers(0, len(hits)))
    records = [sealed(bytes([c]), bytes([i])) for c, i in hits]
    pairs = itertools.combinations(hits[:cut], 2)
    if any(a[0] != b[0] and a[1] != b[1] for a, b in pairs):
        return
    newcomers = {record.candidate_id for record in records[cut:]}

    def outcome(*which) -> set[bytes] | None:
        try:
            return set(threshold.open_group(POLICY, CONTEXT, records, *which).inners)
        except NotOpen:
            return None

    assert outcome(newcomers) == outcome()


def test_an_opened_group_reveals_nothing_without_the_verifiers_key():
    """Escrow and mathematics give a direct seal, which still needs the reviewers' key."""
    one, two = sealed(b"1", b"1"), sealed(b"2", b"2")
    inner = opened(one, two).inners[one.candidate_id]
    assert b"payload" not in inner
    with pytest.raises(Unsealable):
        vouchers.open_direct(X25519PrivateKey.generate(), CONTEXT, 20_000, one.candidate_id, inner)


@settings(SEEDED, max_examples=30)
@given(payload=st.binary(max_size=vouchers.PAYLOAD_PAD_BYTES - 1))
def test_every_record_has_the_same_size(payload):
    """A record's size says nothing about what it holds."""
    assert len(sealed(b"c", b"i", payload=payload).ciphertext) == threshold.THRESHOLD_BYTES


@settings(SEEDED, max_examples=60)
@given(unit=st.binary(max_size=40))
def test_coordinates_lie_in_the_field_and_x_is_never_zero(unit):
    """X = 0 would be the secret itself."""
    for share in sealed(unit, unit).shares:
        assert 1 <= share.x < FIELD
        assert 0 <= share.y < FIELD


def test_a_weaker_policy_has_another_name():
    """A policy of one hit, or of one stream, never passes as the rule of two."""
    policies = [
        Policy(),
        Policy(k=1),
        Policy(k=3),
        Policy(streams=("content",)),
        Policy(streams=("indicator",)),
        Policy(group_by="material"),
        Policy(epoch_days=30),
        Policy(cluster_map="other"),
    ]
    assert len({policy.policy_id for policy in policies}) == len(policies)


def test_only_one_tag_and_two_hits_are_opened():
    """A mix of groups, or a policy of another k, is a mistake of the caller."""
    one, other = sealed(b"1", b"1"), sealed(b"2", b"2", account=b"b")
    with pytest.raises(ValueError, match="one tag"):
        opened(one, other)
    with pytest.raises(ValueError, match="k = 2"):
        threshold.open_group(Policy(k=1), CONTEXT, [one])
