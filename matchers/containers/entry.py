"""One thing inside a container, and how it is taken out without trusting its size."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

from matchers import limits, media


@dataclass(frozen=True)
class Entry:
    """One entry of a container.

    Attributes:
        number: its place among the container's entries, from 1. Its name never leaves.
        content: its bytes; None where they could not be had, or are of nothing visual.
        reason: why there is no content: `not_visual`, `encrypted`, `corrupt`, ... Of an inner
            container that was opened, why that ended early.
    """

    number: int
    content: bytes | None
    reason: str | None = None


def taken(number: int, pieces: Iterator[bytes], *, declared_bytes: int) -> Entry:
    """Read an entry from the pieces it comes in, no further than needed.

    Its beginning tells whether it is visual (or may have something visual inside); the rest of
    what is not is left where it is. `declared_bytes` can only shorten the reading: an entry that
    says it is too large is not read to prove it.
    """
    content = io.BytesIO()
    for piece in pieces:
        content.write(piece)
        if content.tell() >= media.HEAD_BYTES:
            break
    if media.claimed(content.getbuffer()) is None:
        return Entry(number, None, "not_visual")
    if declared_bytes > limits.MAX_ENTRY_BYTES:
        return Entry(number, None, "too_many_bytes")
    for piece in pieces:
        content.write(piece)
        if content.tell() > limits.MAX_ENTRY_BYTES:
            return Entry(number, None, "too_many_bytes")
    return Entry(number, content.getvalue())
