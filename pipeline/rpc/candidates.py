"""Candidates as messages and as values: the one place that knows both."""

from __future__ import annotations

from typing import Final

from pipeline import threshold, vouchers
from pipeline.rpc.sluis.verification.v1 import candidate_pb2
from pipeline.threshold import FIELD, Record, Share
from pipeline.vouchers import Context

_STREAMS: Final = {
    "content": candidate_pb2.SHARE_STREAM_CONTENT,
    "indicator": candidate_pb2.SHARE_STREAM_INDICATOR,
    "account": candidate_pb2.SHARE_STREAM_ACCOUNT,
}
_SHARES: Final = 2
_STREAM_NAMES: Final = {number: name for name, number in _STREAMS.items()}


class Malformed(ValueError):  # noqa: N818 - reads as the outcome it is
    """A candidate that no scan of this version can have made."""


def to_message(
    candidate_id: bytes, context: Context, day: int, key_id: str, seal: bytes | Record
) -> candidate_pb2.Candidate:
    """A sealed hit as it goes over the wire."""
    message = candidate_pb2.Candidate(
        candidate_id=candidate_id,
        context=candidate_pb2.Context(
            order_id=context.order_id,
            epoch=context.epoch,
            key_version=context.key_version,
            policy_id=context.policy_id,
            hit_day=day,
        ),
        verifier_key_id=key_id,
    )
    if isinstance(seal, bytes):
        message.direct.ciphertext = seal
        return message
    message.threshold.group_tag = seal.tag
    message.threshold.nonce = seal.nonce
    message.threshold.ciphertext = seal.ciphertext
    for share in seal.shares:
        message.threshold.shares.add(
            stream=_STREAMS[share.stream],
            x=share.x.to_bytes(threshold.COORDINATE_BYTES, "big"),
            y=share.y.to_bytes(threshold.COORDINATE_BYTES, "big"),
        )
    return message


def context_of(message: candidate_pb2.Candidate) -> Context:
    """The candidate's context.

    Raises:
        Malformed: an id of the wrong length.
    """
    context = message.context
    if (
        len(message.candidate_id) != vouchers.CANDIDATE_ID_BYTES
        or len(context.order_id) != 16
        or len(context.policy_id) != 16
    ):
        raise Malformed("ids have 16 bytes")
    return Context(context.order_id, context.epoch, context.key_version, context.policy_id)


def seal_of(message: candidate_pb2.Candidate) -> bytes | Record:
    """The candidate's seal: a direct one as bytes, a threshold one as a record.

    Raises:
        Malformed: no seal, a wrong length, a coordinate outside the field, x = 0, or streams that
            are not exactly one share each.
    """
    if message.WhichOneof("seal") == "direct":
        if len(message.direct.ciphertext) != vouchers.SEALED_BYTES:
            raise Malformed("a direct seal of another length")
        return message.direct.ciphertext
    if message.WhichOneof("seal") != "threshold":
        raise Malformed("no seal")
    sealed = message.threshold
    if (
        len(sealed.group_tag) != threshold.TAG_BYTES
        or len(sealed.nonce) != threshold.NONCE_BYTES
        or len(sealed.ciphertext) != threshold.THRESHOLD_BYTES
    ):
        raise Malformed("a threshold seal of another length")
    shares = tuple(sorted((_share(share) for share in sealed.shares), key=lambda s: s.stream))
    if len(shares) != _SHARES or len({share.stream for share in shares}) != _SHARES:
        raise Malformed("not one share in each of two streams")
    return Record(
        message.candidate_id,
        message.context.hit_day,
        sealed.group_tag,
        shares,
        sealed.nonce,
        sealed.ciphertext,
    )


def _share(share: candidate_pb2.Share) -> Share:
    stream = _STREAM_NAMES.get(share.stream)
    if stream is None or {len(share.x), len(share.y)} != {threshold.COORDINATE_BYTES}:
        raise Malformed("a share of no stream, or of another length")
    x, y = int.from_bytes(share.x, "big"), int.from_bytes(share.y, "big")
    if not 1 <= x < FIELD or not 0 <= y < FIELD:
        raise Malformed("a share outside the field")
    return Share(stream, x, y)
