"""Pages by size: long reasons must not make an answer longer than its caller takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

from google.protobuf.message import Message

PAGE_BYTES: Final = 2 * 1024 * 1024
"""Half of what gRPC takes by default."""

M = TypeVar("M", bound=Message)


def within(most_bytes: int, messages: Iterable[M]) -> list[M]:
    """The first messages that have no more than so many bytes together; always at least one.

    Callers go on behind the last one they have got, whatever the number they asked for.
    """
    page: list[M] = []
    size = 0
    for message in messages:
        size += message.ByteSize()
        if page and size > most_bytes:
            break
        page.append(message)
    return page
