"""Radius search as brute force: XOR, count, compare. The definition that every index must meet."""

from __future__ import annotations

import numpy as np


def distances(query: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Bits in which each of `codes` (uint8 [n, 32]) differs from `query` (uint8 [32])."""
    return np.unpackbits(codes ^ query, axis=1).sum(axis=1, dtype=np.int64)


def search(codes: np.ndarray, queries: np.ndarray, radius: int) -> list[tuple[int, int, int]]:
    """(query, row, distance) of every pair within `radius`, by query, then distance, then row."""
    found = []
    for number, query in enumerate(queries):
        apart = distances(query, codes)
        rows = np.flatnonzero(apart <= radius)
        found += sorted((number, int(apart[row]), int(row)) for row in rows)
    return [(number, row, distance) for number, distance, row in found]
