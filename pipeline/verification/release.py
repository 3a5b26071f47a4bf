"""Release: which waiting candidates of a group may now be read. Pure.

Needs no key: two hits that differ in content and in indicator open their whole group by
themselves, and nothing else does.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pipeline.rpc import candidates
from pipeline.rpc.sluis.verification.v1 import candidate_pb2
from pipeline.threshold import COORDINATE_BYTES, Inconsistent, NotOpen, Opened, Record, open_group
from pipeline.vouchers import Context, Policy


@dataclass(frozen=True)
class Released:
    """What a group's opening gives.

    Attributes:
        messages: by candidate id, the candidate with its direct seal, as reviewers get it.
        bad: ids whose share, context or ciphertext is not what was sealed.
        pair: ids of two candidates that alone open the group again.
    """

    messages: dict[bytes, bytes]
    bad: tuple[bytes, ...]
    pair: tuple[bytes, bytes]


def release(
    messages: Sequence[bytes], newcomers: Collection[bytes] | None = None
) -> Released | None:
    """Open a group if it can be opened. The outcome does not depend on the messages' order.

    Args:
        messages: every kept candidate of one group, serialized, as it arrived.
        newcomers: ids of those that have not been tried with the others yet; None: all.

    Returns:
        None while no two hits differ in every stream, or no pair certifies the group.
    """
    parsed = [candidate_pb2.Candidate.FromString(message) for message in messages]
    contexts = [candidates.context_of(one) for one in parsed]
    # The tag commits to one context: records that name another are not what was sealed.
    for context in dict.fromkeys(contexts):
        seals = [
            candidates.seal_of(one)
            for one, its in zip(parsed, contexts, strict=True)
            if its == context
        ]
        opened = _open(context, [seal for seal in seals if isinstance(seal, Record)], newcomers)
        if opened is None:
            continue
        for one in parsed:
            if one.candidate_id in opened.inners:
                one.direct.ciphertext = opened.inners[one.candidate_id]
        return Released(
            {
                one.candidate_id: one.SerializeToString()
                for one in parsed
                if one.candidate_id in opened.inners
            },
            tuple(one.candidate_id for one in parsed if one.candidate_id not in opened.inners),
            opened.pair,
        )
    return None


def _open(
    context: Context, records: Sequence[Record], newcomers: Collection[bytes] | None
) -> Opened | None:
    """Open under whichever two streams certify the tag: the policy's id is bound into it."""
    for streams in dict.fromkeys(tuple(s.stream for s in one.shares) for one in records):
        try:
            return open_group(Policy(k=2, streams=streams), context, records, newcomers)
        except (NotOpen, Inconsistent):
            continue
    return None


def points(candidate: candidate_pb2.Candidate) -> tuple[tuple[str, bytes, bytes], ...]:
    """A candidate's shares as the store keeps them: stream, x, y. None with a direct seal."""
    seal = candidates.seal_of(candidate)
    if not isinstance(seal, Record):
        return ()
    return tuple(
        (
            share.stream,
            share.x.to_bytes(COORDINATE_BYTES, "big"),
            share.y.to_bytes(COORDINATE_BYTES, "big"),
        )
        for share in seal.shares
    )


def contested(messages: Sequence[bytes]) -> set[bytes]:
    """Ids of a group's candidates that contradict another: the same x with another y.

    One of the two is forged or damaged. Which, nobody can say before the group opens.
    """
    seen: dict[tuple[str, bytes], dict[bytes, set[bytes]]] = {}
    for message in messages:
        one = candidate_pb2.Candidate.FromString(message)
        for stream, x, y in points(one):
            seen.setdefault((stream, x), {}).setdefault(y, set()).add(one.candidate_id)
    return {
        candidate_id
        for by_y in seen.values()
        if len(by_y) > 1
        for ids in by_y.values()
        for candidate_id in ids
    }
