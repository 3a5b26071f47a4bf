"""Exact digests of an item's bytes, in the algorithms that indicator lists come in, and lookup."""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
import numpy.typing as npt

DIGEST_BYTES: Final = {"md5": 16, "sha1": 20, "sha256": 32}
"""Digest algorithms and their lengths. MD5 and SHA-1 are broken against collisions and serve
legacy lists only: a collision costs a reviewer one look, never an unreviewed report."""


def digest(blob: bytes | memoryview, algorithm: str) -> bytes:
    """Digest `blob`.

    Args:
        blob: the item's bytes as hosted.
        algorithm: a key of `DIGEST_BYTES`.

    Raises:
        ValueError: for any other algorithm.

    Reference: RFC 1321 (MD5), FIPS 180-4 (SHA-1, SHA-256).
    """
    if algorithm not in DIGEST_BYTES:
        raise ValueError(f"unknown digest {algorithm!r}: use one of {', '.join(DIGEST_BYTES)}")
    return hashlib.new(algorithm, blob, usedforsecurity=False).digest()


class DigestIndex:
    """Exact lookup of fixed-length digests: binary search on their first eight bytes."""

    def __init__(self, values: npt.NDArray[np.uint8]) -> None:
        """Index `values` (uint8 [n, length], length >= 8)."""
        self._values = values
        heads = np.ascontiguousarray(values[:, :8]).view(">u8").reshape(len(values))
        self._order = np.argsort(heads, kind="stable")
        self._heads = heads[self._order]

    def find(self, value: bytes) -> int | None:
        """The lowest row that holds `value`, or None."""
        head = np.frombuffer(value[:8], ">u8")[0]
        first = int(np.searchsorted(self._heads, head, "left"))
        for place in range(first, len(self._heads)):
            if self._heads[place] != head:
                break
            row = int(self._order[place])
            if self._values[row].tobytes() == value:
                return row
        return None
