"""Bits of a code in a fixed random order; codes in blocks of eight.

A PDQ word is a row of the DCT, and its bits go together: some 16-bit keys are 26 times as common
as the mean (965 codes in the fullest bucket of a million, 37 if bits were independent). A random
order of the 256 bits keeps every Hamming distance and evens the buckets out (55-69).

Eight codes make a block, word by word, so that one vector compares eight codes: uint64
[blocks, 4, 8]. Row i is [i // 8, :, i % 8]. The rows that fill the last block are zero and never
reported.
"""

from __future__ import annotations

import hashlib

import numba
import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]

BLOCK = 8
NIBBLES = 64

_njit = numba.njit(cache=True, nogil=True, error_model="numpy")


def permutation(seed: int) -> npt.NDArray[np.int64]:
    """Where each of the 256 bits goes, int64 [256]; the same on every machine and version."""
    ranks = [hashlib.sha256(f"sluis-hamming-index/{seed}/{bit}".encode()).digest()
             for bit in range(256)]  # fmt: skip
    return np.argsort(np.argsort(np.array(ranks, "S32"), kind="stable"), kind="stable")


def spread_table(places: npt.NDArray[np.int64]) -> U64:
    """What each value of each nibble of a code becomes: uint64 [64, 16, 4], 32 KiB."""
    table = np.zeros((NIBBLES, 16, 4), np.uint64)
    for nibble in range(NIBBLES):
        for value in range(16):
            for bit in range(4):
                if value >> bit & 1:
                    place = int(places[4 * nibble + bit])
                    table[nibble, value, place // 64] |= np.uint64(1 << place % 64)
    return table


@_njit
def permute(codes: U64, table: U64, out: U64) -> None:
    """Put the bits of codes (uint64 [m, 4]) in their order; `out` has the same shape."""
    low = np.uint64(15)
    four = np.uint64(4)
    for i in range(codes.shape[0]):
        word_0 = np.uint64(0)
        word_1 = np.uint64(0)
        word_2 = np.uint64(0)
        word_3 = np.uint64(0)
        for w in range(4):
            rest = codes[i, w]
            for nibble in range(16 * w, 16 * w + 16):
                spread = table[nibble, np.int64(rest & low)]
                word_0 |= spread[0]
                word_1 |= spread[1]
                word_2 |= spread[2]
                word_3 |= spread[3]
                rest >>= four
        out[i, 0] = word_0
        out[i, 1] = word_1
        out[i, 2] = word_2
        out[i, 3] = word_3


@_njit
def into_blocks(codes: U64, table: U64, blocks: U64) -> None:
    """Permute codes (uint64 [n, 4]) into blocks (uint64 [ceil(n / 8), 4, 8], filled)."""
    n = codes.shape[0]
    eight = np.empty((BLOCK, 4), np.uint64)
    for block in range(blocks.shape[0]):
        held = min(BLOCK, n - BLOCK * block)
        permute(codes[BLOCK * block : BLOCK * block + held], table, eight)
        for w in range(4):
            for row in range(BLOCK):
                blocks[block, w, row] = eight[row, w] if row < held else np.uint64(0)


@_njit
def word_of(blocks: U64, row: int, word: int) -> np.uint16:
    """One of the 16 words of 16 bits of a code in blocks."""
    held = blocks[row >> 3, word >> 2, row & 7]
    return np.uint16((held >> np.uint64(16 * (word & 3))) & np.uint64(0xFFFF))
