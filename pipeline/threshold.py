"""The two-hit rule as mathematics: a hit on new material that nobody can read until a second.

Every hit of a group (an account under one order) is a point on a secret line in each of two
streams: *content* and *indicator*. One point says nothing about a line; two distinct points give
it, and with it the key. Derivations, with A and ctx as in `vouchers`:

    a[s, j]   HMAC-SHA-512(A, enc("sluis/v1/coef", s, j)) mod L                  j < k
    x[s]      1 + HMAC-SHA-512(A, enc("sluis/v1/x", s, unit_s)) mod (L - 1)      never 0
    y[s]      sum over j of a[s, j] x[s]^j mod L
    G         HMAC-SHA-256("sluis/v1/group", enc(ctx, every coefficient as 32 B, streams sorted))
    tag       HMAC-SHA-256(G, enc("sluis/v1/tag"))
    KEK       HMAC-SHA-256(G, enc("sluis/v1/kek"))
    sealed    AES-256-GCM(KEK, nonce, direct seal, enc("sluis/v1/outer", ctx, hit_day, tag,
              candidate_id, shares))

The tag commits to the whole key, so it proves a reconstruction right. A pair opens only if it
differs in *both* streams: content alone would count one re-encoded picture twice, indicator alone
one picture near two listed codes. For k = 2 "two distinct contents and two distinct indicators"
and "some pair differs in both" are the same (star lemma).

Sources: Shamir 1979 (secret sharing); RFC 2104; SP 800-38D (GCM); field of ristretto255, RFC 9496.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pipeline.vouchers import PREFIX, SEALED_BYTES, Context, Policy, enc

FIELD: Final = 2**252 + 27742317777372353535851937790883648493
"""L, the order of the ristretto255 group (RFC 9496)."""

TAG_BYTES: Final = 32
NONCE_BYTES: Final = 12
COORDINATE_BYTES: Final = 32
THRESHOLD_BYTES: Final = SEALED_BYTES + 16
"""Length of a threshold seal: a direct seal and GCM's tag."""


class NotOpen(Exception):  # noqa: N818 - reads as the outcome it is
    """There are not yet two hits that differ in every stream: nobody can read any of them."""


class Inconsistent(Exception):  # noqa: N818
    """No pair of shares certifies the group's tag: some of them are not what was sealed."""


@dataclass(frozen=True)
class Share:
    """A point of one stream's line: 1 <= x < FIELD, 0 <= y < FIELD."""

    stream: str
    x: int
    y: int


@dataclass(frozen=True)
class Record:
    """A sealed hit, as anyone may see it; `shares` are sorted by stream."""

    candidate_id: bytes
    hit_day: int
    tag: bytes
    shares: tuple[Share, ...]
    nonce: bytes
    ciphertext: bytes


@dataclass(frozen=True)
class Opened:
    """An opened group.

    Attributes:
        inners: direct seals by candidate id, readable by the verifier.
        bad: ids of records whose share or ciphertext is not what was sealed.
        pair: ids of two records whose shares alone open the group again.
    """

    inners: dict[bytes, bytes]
    bad: tuple[bytes, ...]
    pair: tuple[bytes, bytes]


def seal(
    account: bytes,
    policy: Policy,
    context: Context,
    day: int,
    candidate_id: bytes,
    units: Mapping[str, bytes],
    inner: bytes,
) -> Record:
    """Put a direct seal behind the group's key, and give out this hit's shares of it.

    Args:
        account: A, from `vouchers.account_secret`.
        policy: its streams are the keys of `units`.
        context: of the order.
        day: the hit's day.
        candidate_id: of the hit.
        units: what makes hits distinct in each stream.
        inner: the direct seal, `SEALED_BYTES` long.
    """
    lines = {stream: _line(account, stream, policy.k) for stream in policy.streams}
    tag, key = _group(context, lines)
    shares = []
    for stream in sorted(policy.streams):
        x = 1 + _scalar(account, FIELD - 1, "x", stream.encode(), units[stream])
        shares.append(Share(stream, x, evaluate(lines[stream], x)))
    unsealed = Record(candidate_id, day, tag, tuple(shares), os.urandom(NONCE_BYTES), b"")
    ciphertext = AESGCM(key).encrypt(unsealed.nonce, inner, _associated(context, unsealed))
    return Record(candidate_id, day, tag, unsealed.shares, unsealed.nonce, ciphertext)


def open_group(
    policy: Policy,
    context: Context,
    records: Sequence[Record],
    newcomers: Collection[bytes] | None = None,
) -> Opened:
    """Open every record of one group, if two of them differ in every stream. Needs no key.

    A record with a wrong share or ciphertext is named as bad and stops no other, however many come
    first; one good and one bad record open nothing.

    Args:
        policy: of the order; only k = 2 is opened.
        context: of the order.
        records: of one tag.
        newcomers: ids of records; only pairs with one of them are tried. All pairs of the others
            have been tried before, so each arrival costs as many tries as the group has records.
            None: every pair.

    Raises:
        NotOpen: no two records differ in every stream.
        Inconsistent: pairs do, but none certifies the tag.
        ValueError: records of several tags, or another k.
    """
    if policy.k != 2 or len({record.tag for record in records}) != 1:
        raise ValueError("open_group takes the records of one tag under a policy of k = 2")
    lines, key, pair = _reconstruct(policy, context, records, newcomers)
    inners: dict[bytes, bytes] = {}
    bad: list[bytes] = []
    for record in records:
        inner = _open(record, lines, key, context)
        if inner is None:
            bad.append(record.candidate_id)
        else:
            inners[record.candidate_id] = inner
    return Opened(inners, tuple(bad), pair)


def evaluate(line: Sequence[int], x: int, field: int = FIELD) -> int:
    """The polynomial with these coefficients, lowest first, at x."""
    y = 0
    for coefficient in reversed(line):
        y = (y * x + coefficient) % field
    return y


def interpolate(one: tuple[int, int], two: tuple[int, int], field: int = FIELD) -> tuple[int, int]:
    """The line through two points with distinct x: (intercept, slope)."""
    slope = (two[1] - one[1]) * pow(two[0] - one[0], -1, field) % field
    return (one[1] - slope * one[0]) % field, slope


def _open(
    record: Record, lines: Mapping[str, tuple[int, int]], key: bytes, context: Context
) -> bytes | None:
    """The record's direct seal; None if its shares or its ciphertext are not what was sealed."""
    if _streams(record) != tuple(sorted(lines)):
        return None
    if any(evaluate(lines[share.stream], share.x) != share.y for share in record.shares):
        return None
    try:
        return AESGCM(key).decrypt(record.nonce, record.ciphertext, _associated(context, record))
    except InvalidTag:
        return None


def _reconstruct(
    policy: Policy,
    context: Context,
    records: Sequence[Record],
    newcomers: Collection[bytes] | None,
) -> tuple[dict[str, tuple[int, int]], bytes, tuple[bytes, bytes]]:
    """Lines and key of the group, proven by its tag; and the ids of the pair that gave them."""
    streams = tuple(sorted(policy.streams))
    differ = False
    for one, two in _pairs(records, newcomers):
        if _streams(one) != streams or _streams(two) != streams:
            continue
        if any(a.x == b.x for a, b in zip(one.shares, two.shares, strict=True)):
            continue
        lines = {
            a.stream: interpolate((a.x, a.y), (b.x, b.y))
            for a, b in zip(one.shares, two.shares, strict=True)
        }
        tag, key = _group(context, lines)
        if hmac.compare_digest(tag, one.tag):
            return lines, key, (one.candidate_id, two.candidate_id)
        differ = True
    if differ:
        raise Inconsistent("no pair of shares certifies the group's tag")
    raise NotOpen("no two hits differ in every stream")


def _pairs(
    records: Sequence[Record], newcomers: Collection[bytes] | None
) -> Iterator[tuple[Record, Record]]:
    """Each pair once; with newcomers only those that one of them is in."""
    if newcomers is None:
        yield from itertools.combinations(records, 2)
        return
    old = [record for record in records if record.candidate_id not in newcomers]
    new = [record for record in records if record.candidate_id in newcomers]
    for number, record in enumerate(new):
        for other in (*old, *new[:number]):
            yield other, record


def _streams(record: Record) -> tuple[str, ...]:
    return tuple(share.stream for share in record.shares)


def _line(account: bytes, stream: str, k: int) -> tuple[int, ...]:
    return tuple(_scalar(account, FIELD, "coef", stream.encode(), bytes([j])) for j in range(k))


def _scalar(account: bytes, modulus: int, label: str, *parts: bytes) -> int:
    """512 bits reduced: uniform to within 2**-259."""
    digest = hmac.digest(account, enc(PREFIX + label.encode(), *parts), hashlib.sha512)
    return int.from_bytes(digest, "big") % modulus


def _group(context: Context, lines: Mapping[str, Sequence[int]]) -> tuple[bytes, bytes]:
    """Tag and key of a group, from every coefficient of every stream."""
    encoded = [
        enc(stream.encode(), *(_coordinate(coefficient) for coefficient in line))
        for stream, line in sorted(lines.items())
    ]
    secret = hmac.digest(PREFIX + b"group", enc(context.encode(), *encoded), hashlib.sha256)
    return (
        hmac.digest(secret, enc(PREFIX + b"tag"), hashlib.sha256),
        hmac.digest(secret, enc(PREFIX + b"kek"), hashlib.sha256),
    )


def _associated(context: Context, record: Record) -> bytes:
    shares = [
        enc(share.stream.encode(), _coordinate(share.x), _coordinate(share.y))
        for share in record.shares
    ]
    return enc(
        PREFIX + b"outer",
        context.encode(),
        record.hit_day.to_bytes(4, "big"),
        record.tag,
        record.candidate_id,
        *shares,
    )


def _coordinate(value: int) -> bytes:
    return value.to_bytes(COORDINATE_BYTES, "big")
