"""What was found out about an item once -> what examining it now would find out. Pure.

Codes and digests do not change while indicator sets do. So what an item was reduced to can be asked
again without its bytes, as far as it goes: a part of which more is wanted now than was found out
then says `needs_decoding`.
"""

from __future__ import annotations

from dataclasses import replace

from matchers.examine import NEEDS_DECODING, Part, Wanted, wants
from matchers.views import PROFILES


def recalled(parts: tuple[Part, ...], held: Wanted, wanted: Wanted) -> tuple[Part, ...]:
    """The parts of an item, as `examine.examine` would give them for `wanted`.

    How images were hashed (`Wanted.pdq_mode`) stays as it was. A part of which not all is known
    keeps what is: a match in that counts.

    Args:
        parts: what examining gave, the item first.
        held: what was asked for then.
        wanted: what is asked for now.
    """
    if held == wanted:
        return parts
    now = tuple(_recalled(part, held, wanted) for part in parts)
    shut = {part.locator for part in now if part.reason == "media_out_of_scope"}
    if () in shut:
        return now[:1]
    return tuple(part for part in now if not part.locator or part.locator[:-1] not in shut)


def _recalled(part: Part, held: Wanted, wanted: Wanted) -> Part:
    if part.medium is None:
        return part
    if not wants(wanted, part.medium):
        return Part(part.locator, part.medium, b"", reason="media_out_of_scope")
    if part.reason == "media_out_of_scope":
        return replace(part, reason=NEEDS_DECODING)
    # What has no content has no bytes: it was never digested, nor would it be now.
    digests = {name: _digest(part, name) for name in wanted.digests} if part.content else {}
    known = {name: value for name, value in digests.items() if value is not None}
    lacks = len(known) < len(digests) or part.reason == NEEDS_DECODING
    if part.medium == "container":
        return replace(part, digests=known, reason=NEEDS_DECODING if lacks else part.reason)
    if wanted.profile is None:
        reason = NEEDS_DECODING if lacks else None
        return replace(part, digests=known, fingerprints=None, reason=reason)
    # Neither codes nor a reason for having none: it was not decoded, as a digest said enough.
    lacks |= part.fingerprints is None and part.reason is None
    lacks |= held.profile is None or PROFILES.index(held.profile) < PROFILES.index(wanted.profile)
    return replace(part, digests=known, reason=NEEDS_DECODING if lacks else part.reason)


def _digest(part: Part, algorithm: str) -> bytes | None:
    return part.content if algorithm == "sha256" else part.digests.get(algorithm)
