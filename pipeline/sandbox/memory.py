"""An item's bytes in memory that is no file, sealed, and can be shown to another process.

The bytes are written once, then sealed: nobody, in whatever process, can change or shrink them any
more. They are gone when the last who looks at them lets go; no name leads to them, and no disk
holds them. A `memoryview` of them goes wherever `bytes` go.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
from collections.abc import Callable
from typing import Final

_SEALS: Final = (
    (fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
    if hasattr(fcntl, "F_SEAL_SEAL")
    else 0
)


class Sealed(mmap.mmap):
    """Sealed bytes, mapped for reading."""

    descriptor: int = -1

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


def write(fill: Callable[[int], int]) -> Sealed | bytes:
    """Make new memory, and seal it once it is full.

    Args:
        fill: writes an item into a descriptor and returns its length in bytes.

    Returns:
        The memory; `b""` for an item of no length, which cannot be mapped.
    """
    descriptor = _new()
    try:
        length = fill(descriptor)
        if length == 0:
            os.close(descriptor)
            return b""
        if _SEALS:
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        sealed = Sealed(descriptor, length, access=mmap.ACCESS_READ)
    except BaseException:
        os.close(descriptor)
        raise
    sealed.descriptor = descriptor
    return sealed


def seal(blob: bytes | memoryview) -> Sealed | bytes:
    """The same bytes, sealed; those that are already stay where they are."""
    if (
        isinstance(blob, memoryview)
        and isinstance(blob.obj, Sealed)
        and blob.nbytes == len(blob.obj)
    ):
        return blob.obj

    def write_all(descriptor: int) -> int:
        rest = memoryview(blob)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        return len(blob)

    return write(write_all)


def _new() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("item", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile() as file:  # macOS: a file without a name, on a disk
        return os.dup(file.fileno())
