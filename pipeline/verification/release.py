"""Release: which waiting candidates of a group may now be read. Pure.

Needs no key: two hits that differ in content and in indicator open their whole group by
themselves, and nothing else does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.rpc import candidates
from pipeline.rpc.sluis.verification.v1 import candidate_pb2
from pipeline.threshold import Inconsistent, NotOpen, Record, open_group
from pipeline.vouchers import release_policy

ACCEPTED_POLICIES: Final = {
    policy.policy_id: policy for policy in map(release_policy, ("account", "material"))
}
"""Policies this service opens under: two hits, in both streams. A weaker one (k = 1) has another
id and is never accepted."""


@dataclass(frozen=True)
class Released:
    """What a group's opening gives.

    Attributes:
        messages: by candidate id, the candidate with its direct seal, as reviewers get it.
        bad: ids whose share or ciphertext is not what was sealed.
    """

    messages: dict[bytes, bytes]
    bad: tuple[bytes, ...]


def release(messages: Sequence[bytes]) -> Released | None:
    """Open a group if it can be opened.

    Args:
        messages: every kept candidate of one group, serialized, as it arrived.

    Returns:
        None while no two hits differ in every stream, or no pair certifies the group.
    """
    parsed = [candidate_pb2.Candidate.FromString(message) for message in messages]
    records = [candidates.seal_of(one) for one in parsed]
    context = candidates.context_of(parsed[0])
    policy = ACCEPTED_POLICIES[context.policy_id]
    try:
        opened = open_group(policy, context, [r for r in records if isinstance(r, Record)])
    except (NotOpen, Inconsistent):
        return None
    ready = {}
    for one in parsed:
        inner = opened.inners.get(one.candidate_id)
        if inner is not None:
            one.direct.ciphertext = inner
            ready[one.candidate_id] = one.SerializeToString()
    return Released(ready, opened.bad)
