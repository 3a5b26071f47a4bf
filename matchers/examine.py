"""One item's bytes -> what lookup needs of it and of everything inside it. Pure.

No set is asked here: all that goes in is the bytes and which facts are wanted, and all that comes
out is digests and fingerprints. So it can run where nothing is trusted (`pipeline.sandbox`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from matchers import containers, digests, fingerprints, media, motion, patience, pdq
from matchers.errors import DecodeError
from matchers.fingerprints import Fingerprints
from matchers.media import Medium, Visual
from matchers.pictures import pictures
from matchers.views import Profile

_NO_DIGESTS: Final[Mapping[str, bytes]] = MappingProxyType({})

NEEDS_DECODING: Final = "needs_decoding"
"""Reason of a part that was examined before (`matchers.recall`), and not for all that is wanted."""

SKIP_REASONS: Final = frozenset(
    {"encrypted", "not_visual", "media_out_of_scope", "no_video_track", NEEDS_DECODING}
)
"""Reasons for which something is left shut (a sound recording has no video track); every other
reason is a failure."""


@dataclass(frozen=True)
class Wanted:
    """What the loaded sets and the order ask for: plain values, they cross a process border.

    Attributes:
        media: what may be examined; a container is opened if anything visual may.
        digests: algorithms of the exact sets.
        profile: views of a picture to look at; None where no set is perceptual.
        pdq_mode: how closely codes follow the reference.
        digest_item: whether the item itself is digested, or only what is inside it: whoever asks
            may have done that already, and trusts its own digest more.
    """

    media: frozenset[Medium]
    digests: tuple[str, ...] = ()
    profile: Profile | None = "standard"
    pdq_mode: pdq.Mode = "exact"
    digest_item: bool = True


@dataclass(frozen=True, slots=True)
class Part:
    """An item, or something inside it.

    Attributes:
        locator: () for the item itself; the numbers of the entries that lead to it, counted from 1
            (the clip of a motion photo is its entry 1).
        medium: what its bytes claim to be.
        content: SHA-256 of its bytes; of a URL, of its canonical form. Empty where it has no bytes.
        digests: by algorithm, as wanted.
        fingerprints: of its pictures.
        reason: why it could not be examined, or not to its end.
    """

    locator: tuple[int, ...]
    medium: Medium | None
    content: bytes
    digests: Mapping[str, bytes] = field(default_factory=lambda: _NO_DIGESTS)
    fingerprints: Fingerprints | None = None
    reason: str | None = None


def examine(blob: bytes | memoryview, wanted: Wanted) -> tuple[Part, ...]:
    """Examine one item; the first part is the item itself.

    Never raises for what the bytes are: each part says why it could not be examined.
    """
    medium = media.claimed(blob)
    if medium is None:
        return (Part((), None, b"", reason="unrecognised_format" if blob else "empty"),)
    if not wants(wanted, medium):
        return (Part((), medium, b"", reason="media_out_of_scope"),)
    if medium == "container":
        return opened(blob, wanted)
    return tuple(_shown((), medium, blob, wanted))


def opened(blob: bytes | memoryview, wanted: Wanted) -> tuple[Part, ...]:
    """A container, and everything inside it that could be reached."""
    inside: list[Part] = []
    reason = None
    try:
        for locator, entry in containers.walk(blob, containers.Budget(len(blob))):
            inside += _inner(locator, entry, wanted)
            patience.check()
    except DecodeError as error:
        reason = error.reason
    content, exact = b"", dict[str, bytes]()
    if wanted.digest_item:
        content, exact = digests_of(blob, wanted.digests)
    return (Part((), "container", content, exact, reason=reason), *inside)


def _inner(locator: tuple[int, ...], entry: containers.Entry, wanted: Wanted) -> Iterator[Part]:
    """Something inside a container; what is inside that again comes by itself."""
    medium = None if entry.content is None else media.claimed(entry.content)
    if entry.content is None or medium is None:
        yield Part(locator, None, b"", reason=entry.reason or "not_visual")
    elif medium == "container":
        content, exact = digests_of(entry.content, wanted.digests)
        yield Part(locator, medium, content, exact, reason=entry.reason)
    else:
        yield from _shown(locator, medium, entry.content, wanted)


def _shown(
    locator: tuple[int, ...], medium: Visual, blob: bytes | memoryview, wanted: Wanted
) -> Iterator[Part]:
    """An image or a video; a motion photo is both, and its clip is a part of its own."""
    if not wants(wanted, medium):
        yield Part(locator, medium, b"", reason="media_out_of_scope")
        return
    yield visual(locator, medium, blob, wanted)
    clip = motion.clip_behind(blob) if medium == "image" else None
    if clip is not None:
        yield from _shown((*locator, 1), "video", clip, wanted)


def wants(wanted: Wanted, medium: Medium) -> bool:
    """Whether something of this medium may be opened."""
    if medium == "container":
        return bool(wanted.media & {"image", "video"})
    return medium in wanted.media


def visual(
    locator: tuple[int, ...], medium: Visual, blob: bytes | memoryview, wanted: Wanted
) -> Part:
    """Digests and fingerprints of one image or video."""
    content, exact = b"", dict[str, bytes]()
    if locator or wanted.digest_item:
        content, exact = digests_of(blob, wanted.digests)
    if wanted.profile is None:
        return Part(locator, medium, content, exact)
    if medium == "image":
        still = bytes(blob)
        found, reason = fingerprints.of_image(
            still, pictures(still, medium), wanted.profile, wanted.pdq_mode
        )
    else:
        found, reason = fingerprints.of_pictures(pictures(blob, medium), wanted.profile)
    return Part(locator, medium, content, exact, found, reason)


def digests_of(
    blob: bytes | memoryview, algorithms: tuple[str, ...]
) -> tuple[bytes, dict[str, bytes]]:
    """SHA-256 of the bytes, and their digest by each wanted algorithm."""
    content = hashlib.sha256(blob).digest()
    exact = {
        name: content if name == "sha256" else digests.digest(blob, name) for name in algorithms
    }
    return content, exact
