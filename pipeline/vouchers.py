"""Seals, pseudonyms and idempotency keys: pure functions over keys that others hold.

A hit leaves the scan as a candidate that nobody on the way can read or name. Derivations:

    enc(parts)    each part as u32 big-endian length and bytes: injective
    order_id      SHA-256(enc("sluis/v1/order", reference))[:16]
    policy        SHA-256(enc("sluis/v1/policy", k, enc(streams), group_by, epoch_days,
                  cluster_map))[:16]
    ctx           enc(order_id, epoch u32, key_version u32, policy)
    A             HMAC-SHA-256(K_e, enc("sluis/v1/account", ctx, group unit))
    candidate_id  HMAC-SHA-256(A, enc("sluis/v1/cid", enc(stream, unit), …))[:16]
    direct seal   HPKE-Base.Seal(pk_verifier, info, pad(payload)) with
                  info = enc("sluis/v1/inner", ctx, hit_day, empty tag, candidate_id)
    token         nonce 16 B || AES-SIV-512(pad(name), [label, ctx, candidate_id, nonce])
    pair_id       HMAC-SHA-256(K_e, enc("sluis/v1/pair", ctx, indicator unit, content))[:16]
    pair_token    pair_id XOR HMAC-SHA-256(K_t, enc("sluis/v1/pair-token", ctx, candidate_id))[:16]

Sources: RFC 9180 (HPKE), RFC 5297 (AES-SIV), RFC 2104 (HMAC).
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import hmac
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

PREFIX: Final = b"sluis/v1/"
_u32: Final = struct.Struct(">I").pack
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_EPOCH_DAY: Final = dt.date(1970, 1, 1)

EPOCH_KEY_BYTES: Final = 32
TOKEN_KEY_BYTES: Final = 64
CANDIDATE_ID_BYTES: Final = 16
PAIR_ID_BYTES: Final = 16

PAYLOAD_PAD_BYTES: Final = 3_072
"""Every payload is padded to this length, so that a candidate's size says nothing. It holds two
tokens of the longest names, the set's and indicator's ids, and where in the item the match is."""

NAME_PAD_BYTES: Final = 1_025
"""Every item and account id is padded to this length inside its token (1,024 bytes and a mark)."""

SEALED_BYTES: Final = 32 + PAYLOAD_PAD_BYTES + 16
"""Length of a direct seal: encapsulated key, padded payload, tag."""


class Unsealable(ValueError):  # noqa: N818 - reads as the outcome it is
    """The seal or token was not made with this key, in this context, or was altered."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The release policy that candidates are sealed under.

    Attributes:
        k: hits on new material before any of them can be read.
        streams: what two hits must differ in.
        group_by: account or material.
        epoch_days: length of an epoch; 0 = the whole order.
        cluster_map: names the map from indicators to clusters of near-duplicates.
    """

    k: int = 2
    streams: tuple[str, ...] = ("content", "indicator")
    group_by: str = "account"
    epoch_days: int = 0
    cluster_map: str = "indicator"

    @property
    def policy_id(self) -> bytes:
        """16 bytes that name the policy on the wire."""
        encoded = enc(
            PREFIX + b"policy",
            _u32(self.k),
            enc(*(stream.encode() for stream in self.streams)),
            self.group_by.encode(),
            _u32(self.epoch_days),
            self.cluster_map.encode(),
        )
        return hashlib.sha256(encoded).digest()[:16]


@dataclass(frozen=True)
class Context:
    """Where a candidate belongs; bound to every seal and token."""

    order_id: bytes
    epoch: int
    key_version: int
    policy_id: bytes

    def encode(self) -> bytes:
        """`ctx` of the derivations."""
        return self._encoded

    @functools.cached_property
    def _encoded(self) -> bytes:  # asked for some ten times in every seal
        return enc(self.order_id, _u32(self.epoch), _u32(self.key_version), self.policy_id)


@dataclass(frozen=True)
class Epochs:
    """An order's period, cut into epochs: two hits count together only within one.

    Attributes:
        first_day: of the order, days since 1970.
        last_day: of the order.
        epoch_days: length of an epoch; 0 = the whole order.
    """

    first_day: int
    last_day: int
    epoch_days: int = 0

    @classmethod
    def of(cls, first: dt.date, last: dt.date, epoch_days: int) -> Epochs:
        """The epochs of an order's period."""
        return cls(day_number(first), day_number(last), epoch_days)

    def epoch(self, day: int) -> int | None:
        """The epoch that a hit's day lies in; None outside the order's period."""
        if not self.first_day <= day <= self.last_day:
            return None
        return (day - self.first_day) // self.epoch_days if self.epoch_days else 0

    def days(self, epoch: int) -> tuple[int, int]:
        """First and last day of an epoch."""
        if not self.epoch_days:
            return self.first_day, self.last_day
        first = self.first_day + epoch * self.epoch_days
        return first, min(first + self.epoch_days - 1, self.last_day)


def release_policy(group_by: str, epoch_days: int = 0) -> Policy:
    """The rule of two hits, grouped as the order says.

    By account: two contents near two indicators. By material (an indicator cluster, whoever
    uploads it): two contents of two accounts.
    """
    other = "account" if group_by == "material" else "indicator"
    return Policy(streams=("content", other), group_by=group_by, epoch_days=epoch_days)


def enc(*parts: bytes) -> bytes:
    """Injective encoding of a list of byte strings."""
    return b"".join([_u32(len(part)) + part for part in parts])


def order_id(reference: str) -> bytes:
    """16 bytes that name an order on the wire."""
    return hashlib.sha256(enc(PREFIX + b"order", reference.encode())).digest()[:16]


def day(number: int) -> dt.date:
    """The date of a day number."""
    return _EPOCH_DAY + dt.timedelta(days=number)


def day_number(date: dt.date) -> int:
    """Days since 1970."""
    return (date - _EPOCH_DAY).days


def hit_day(uploaded: dt.date | None, order_start: dt.date, effective: dt.date) -> int:
    """Days since 1970 of the hit: never the time of processing, so that repeats agree."""
    return day_number(max(uploaded or order_start, order_start, effective))


def account_secret(epoch_key: bytes, context: Context, group_unit: bytes) -> bytes:
    """A: the secret of one group under one order, never handed out by a key service.

    Args:
        epoch_key: K_e, `EPOCH_KEY_BYTES` long.
        context: of the order.
        group_unit: the account id as bytes (or what stands for it).
    """
    return hmac.digest(
        epoch_key, enc(PREFIX + b"account", context.encode(), group_unit), hashlib.sha256
    )


def candidate_id(
    epoch_key: bytes, context: Context, group_unit: bytes, units: Mapping[str, bytes]
) -> bytes:
    """The idempotency key: the same item, content and indicator always give the same.

    Args:
        epoch_key: as for `account_secret`.
        context: as for `account_secret`.
        group_unit: as for `account_secret`.
        units: for each stream what makes a hit distinct: content digest, indicator.
    """
    account = account_secret(epoch_key, context, group_unit)
    pairs = [enc(name.encode(), units[name]) for name in sorted(units)]
    return hmac.digest(account, enc(PREFIX + b"cid", *pairs), hashlib.sha256)[:CANDIDATE_ID_BYTES]


def seal_direct(
    verifier: X25519PublicKey, context: Context, day: int, candidate: bytes, payload: bytes
) -> bytes:
    """Seal a payload to the verifier: `SEALED_BYTES` long, whatever it holds.

    Raises:
        ValueError: if the payload is longer than `PAYLOAD_PAD_BYTES` - 1.
    """
    return _SUITE.encrypt(
        _pad(payload, PAYLOAD_PAD_BYTES), verifier, info=_inner_info(context, day, candidate)
    )


def open_direct(
    verifier: X25519PrivateKey, context: Context, day: int, candidate: bytes, sealed: bytes
) -> bytes:
    """Open what `seal_direct` made.

    Raises:
        Unsealable: another key or context, or altered.
    """
    try:
        return _unpad(_SUITE.decrypt(sealed, verifier, info=_inner_info(context, day, candidate)))
    except (InvalidTag, ValueError):
        raise Unsealable(
            "the seal does not open: it was made for another verifier key or context, or altered"
        ) from None


def pair_id(epoch_key: bytes, context: Context, indicator: bytes, content: bytes) -> bytes:
    """Names an indicator on a content, whoever uploads it; says nothing without the epoch key.

    It never leaves the provider: the payload holds its `pair_token`. It means nothing once the
    epoch key is destroyed.

    Args:
        epoch_key: as for `account_secret`.
        context: as for `account_secret`.
        indicator: the indicator unit: set and cluster.
        content: SHA-256 of the content.
    """
    encoded = enc(PREFIX + b"pair", context.encode(), indicator, content)
    return hmac.digest(epoch_key, encoded, hashlib.sha256)[:PAIR_ID_BYTES]


def pair_token(token_key: bytes, context: Context, candidate: bytes, pair: bytes) -> bytes:
    """A pair as it is sealed in one candidate's payload; the same turns it back into the pair.

    A reviewer who rejects the candidate hands it back, so that the pair is not shown again
    (docs/review.md). Beside another candidate's id it gives bytes at random, which are no pair: a
    rejection can name only the pair of the candidate that it rejects.

    Args:
        token_key: as for `make_token`.
        context: of the candidate.
        candidate: its id.
        pair: as `pair_id` makes it, or its token.
    """
    mask = hmac.digest(
        token_key, enc(PREFIX + b"pair-token", context.encode(), candidate), hashlib.sha256
    )
    return bytes(one ^ other for one, other in zip(pair, mask[:PAIR_ID_BYTES], strict=True))


def make_token(
    token_key: bytes, label: str, context: Context, candidate: bytes, name: str
) -> bytes:
    """An opaque token of an account or item id: unlinkable, and reversible only by the key.

    Args:
        token_key: AES-SIV key, `TOKEN_KEY_BYTES` long.
        label: account or content.
        context: of the order; a token of one order means nothing in another.
        candidate: id of the candidate it belongs to; with any other it does not open.
        name: at most 1,024 bytes of UTF-8.
    """
    nonce = os.urandom(16)
    sealed = AESSIV(token_key).encrypt(
        _pad(name.encode(), NAME_PAD_BYTES), _token_data(label, context, candidate, nonce)
    )
    return nonce + sealed


def open_token(
    token_key: bytes, label: str, context: Context, candidate: bytes, token: bytes
) -> str:
    """The name in a token; for the provider's vault, after a confirmed verdict.

    Raises:
        Unsealable: another key, label, context or candidate, or altered.
    """
    nonce = token[:16]
    data = _token_data(label, context, candidate, nonce)
    try:
        return _unpad(AESSIV(token_key).decrypt(token[16:], data)).decode()
    except (InvalidTag, ValueError):
        raise Unsealable(
            "the token does not open: another key, order, candidate or kind, or altered"
        ) from None


def _inner_info(context: Context, day: int, candidate: bytes) -> bytes:
    tag = b""  # left out: the candidate id already binds the seal to its group (docs/adr/0006)
    return enc(PREFIX + b"inner", context.encode(), _u32(day), tag, candidate)


def _token_data(
    label: str, context: Context, candidate: bytes, nonce: bytes
) -> list[bytes | bytearray | memoryview]:
    return [PREFIX + label.encode() + b"-token", context.encode(), candidate, nonce]


def _pad(data: bytes, length: int) -> bytes:
    if len(data) + 1 > length:
        raise ValueError(f"{len(data)} bytes do not fit a record of {length}")
    return data + b"\x80" + bytes(length - len(data) - 1)


def _unpad(data: bytes) -> bytes:
    stripped = data.rstrip(b"\0")
    if stripped[-1:] != b"\x80":
        raise ValueError("bad padding")
    return stripped[:-1]
