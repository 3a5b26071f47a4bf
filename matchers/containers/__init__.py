"""What is inside archives and documents: one level of it (`entries`), or all of it (`walk`).

Nothing is written to disk, no name is used, no password is tried. Damage, encryption and bombs are
outcomes of the entry or the container they are in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from matchers import limits, media
from matchers.containers import pdf, sevenzip, streams, tar
from matchers.containers.budget import Budget
from matchers.containers.entry import Entry
from matchers.containers.zip import entries as zip_entries
from matchers.errors import DecodeError
from matchers.media import ContainerKind

__all__ = ["Budget", "Entry", "entries", "walk"]

_ENCRYPTED_DOCUMENT: Final = "EncryptedPackage".encode("utf-16-le")
"""The stream in which an office document under a password lies (MS-OFFCRYPTO 2.3.4.4)."""


def walk(
    blob: bytes | memoryview, budget: Budget, around: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[int, ...], Entry]]:
    """Everything inside a container, depth first.

    Args:
        blob: the container.
        budget: its budget.
        around: the locator of the container itself.

    Yields:
        The locator (the numbers of the entries that lead there) and the entry. An inner container
        comes after what is inside it, with its content and, if it was not opened to its end, with
        the reason.

    Raises:
        DecodeError: of the container itself, as `entries`; what came before stays valid.
    """
    for entry in entries(blob, budget):
        locator = (*around, entry.number)
        if entry.content is None or media.claimed(entry.content) != "container":
            yield locator, entry
            continue
        reason: str | None = "too_deep"
        if len(locator) < limits.MAX_CONTAINER_DEPTH:
            try:
                yield from walk(entry.content, budget.inside(len(entry.content)), locator)
            except DecodeError as error:
                reason = error.reason
            else:
                reason = None
        yield locator, Entry(entry.number, entry.content, reason)


def entries(blob: bytes | memoryview, budget: Budget) -> Iterator[Entry]:
    """What is in a container, in its order; one level.

    Args:
        blob: the container.
        budget: what is counted against.

    Raises:
        DecodeError: of the container itself, also midway: `encrypted`, `corrupt`, `truncated`,
            `multi_volume`, `unsupported_container`, `unsupported_compression`, `too_many_entries`,
            `too_much_metadata`, `too_much_memory` or `expands_too_much`.
    """
    kind = media.container_kind(blob)
    if kind == "ole" and _ENCRYPTED_DOCUMENT in bytes(blob):
        raise DecodeError("encrypted")
    if kind not in _OPENED:
        raise DecodeError("unsupported_container")
    yield from _OPENED[kind](memoryview(blob), budget)


def _behind(
    expand: Callable[[memoryview, Budget], Iterator[bytes]],
) -> Callable[[memoryview, Budget], Iterator[Entry]]:
    """How a file is opened that is compressed as a whole."""
    return lambda blob, budget: tar.unpacked(expand(blob, budget), budget)


_OPENED: Final[dict[ContainerKind | None, Callable[[memoryview, Budget], Iterator[Entry]]]] = {
    "zip": zip_entries,
    "7z": sevenzip.entries,
    "pdf": pdf.entries,
    "tar": _behind(streams.stored),
    "gzip": _behind(streams.gzipped),
    "bzip2": _behind(streams.bzipped),
    "xz": _behind(streams.xz),
    "zstd": _behind(streams.zstd),
}
