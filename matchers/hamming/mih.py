"""Multi-index hashing over 256-bit codes: our own backend (Norouzi, Punjani, Fleet 2012).

One set of arrays and three ways through it, each exact. The cheapest for the size of the set, the
radius and the batch is taken, by the costs below:

    probe   query by query through the tables    few queries
    sweep   bucket by bucket through the tables  many queries
    brute   every code                           small sets, wide radii, hostile queries

A query that would cost more than comparing every code is answered by `brute`: no query, however it
was made, costs more than a few times that.
"""

from __future__ import annotations

import functools
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, TypeVar

import numpy as np
import numpy.typing as npt

from matchers.hamming import thresholds
from matchers.hamming._kernels import brute, permute, probe, sweep, tables
from matchers.hamming._kernels.lanes import GROUP, PAIR_LANES

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

ARRAYS: Final = ("blocks", "starts", "fingerprints", "rows")

PERMUTATION_SEED: Final = 20261124
"""Of the order of bits in new indexes; a saved index carries its own."""

TABLES_FROM_CODES = 8_192
"""Smaller sets have no tables: `brute` is as fast there."""

_POSTINGS_PER_BUCKET: Final = 12  # about a cache line of fingerprints
_KEY_BITS: Final = range(8, 17)

# Nanoseconds, fitted to measurements at 20,000 to 10M codes. They choose the way: speed only.
_PROBED_BUCKET: Final = 4.0
_PROBED_DOUBLING: Final = 1.1  # of the set: its tables lie ever further from the processor
_PROBED_POSTING: Final = 0.6
_SWEPT_LIST: Final = 1.1  # the queries of one mask looked up for a bucket
_SWEPT_STEP: Final = 2.1  # 16 postings against 8 queries
_SWEPT_QUERY: Final = 10.0  # sorted into one table
_SWEPT_CODE: Final = 0.95  # its postings brought in from memory
_BRUTE_CODE: Final = 0.06  # against one query in company
_BRUTE_CODE_ALONE: Final = 0.6

# Above these a query is left to `brute`: a posting costs less than a code there, and a fingerprint
# that passes costs cache misses, half a microsecond: what 8,192 codes cost there in company.
_MOST_POSTINGS_PER_CODE: Final = 1
_CODES_PER_SURVIVOR: Final = 8_192

_FIRST_CAPACITY: Final = 1_024  # hits

Name = Literal["probe", "sweep", "brute"]

Part = TypeVar("Part")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Way:
    """One of the three ways, and how many bits of the key a sweep compares."""

    name: Name
    sweep_bits: int = 0


class MultiIndex:
    """Exact radius search over n codes of 256 bits; immutable."""

    name: Final = "mih"

    def __init__(self, arrays: Mapping[str, npt.NDArray[Any]], n: int, seed: int) -> None:
        """Wrap finished arrays (`ARRAYS`); use `build`.

        Raises:
            ValueError: where they do not fit each other.
            TypeError: a seed that is not a number.
        """
        if not isinstance(seed, int):
            raise TypeError(f"the seed is {seed!r}")
        bits = _check(arrays, n)
        self._arrays = {name: arrays[name] for name in ARRAYS}
        self.seed = seed
        self._heaviest: dict[int, I64] = {}
        blocks, starts, fingerprints, rows = (np.asarray(arrays[name]) for name in ARRAYS)
        self._tables = tables.Tables(
            _spread_table(seed), blocks, starts, fingerprints, rows, n, bits, row_bits(n)
        )

    def __len__(self) -> int:
        return self._tables.n

    @property
    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """What there is to save."""
        return self._arrays

    @property
    def parameters(self) -> Mapping[str, int]:
        """The seed of the order of bits."""
        return {"seed": self.seed}

    @classmethod
    def build(cls, codes: U8, threads: int = 1, seed: int = PERMUTATION_SEED) -> Self:
        """Index codes (uint8 [n, 32]) with `threads` tables in the making at once."""
        n = len(codes)
        blocks = np.empty((-(-n // permute.BLOCK), 4, permute.BLOCK), np.uint64)
        permute.into_blocks(codes.view(np.uint64), _spread_table(seed), blocks)
        bits = key_bits(n)
        tabled = n >= TABLES_FROM_CODES
        count = tables.TABLES if tabled else 0
        keys = (1 << bits) + 1
        row_words = tables.packed_words(n, row_bits(n))
        starts = np.empty(count * keys, np.uint32)
        fingerprints = _on_cache_line(count * n + tables.PADDING * tabled)
        rows = np.zeros(count * row_words, np.uint64)

        def fill(table: int) -> None:
            unpacked = np.empty(n, np.uint32)
            tables.build_table(
                blocks,
                n,
                table,
                bits,
                starts[table * keys : (table + 1) * keys],
                fingerprints[table * n : (table + 1) * n],
                unpacked,
            )
            tables.pack(unpacked, row_bits(n), rows[table * row_words : (table + 1) * row_words])

        _each(fill, range(count), threads)
        made = (blocks, starts, fingerprints, rows)
        return cls(dict(zip(ARRAYS, made, strict=True)), n, seed)

    def holds(self, codes: U8) -> bool:
        """Whether it is an index of exactly these codes (uint8 [n, 32]), row by row.

        All codes are compared, and one table, another each time: it is built again.
        """
        if len(codes) != len(self):
            return False
        blocks = np.empty_like(self._tables.blocks)
        permute.into_blocks(codes.view(np.uint64), self._tables.spread, blocks)
        return np.array_equal(blocks, self._tables.blocks) and self._has_its_table(
            secrets.randbelow(tables.TABLES)
        )

    def _has_its_table(self, table: int) -> bool:
        n, bits = len(self), self._tables.key_bits
        if bits == 0:
            return True
        starts = np.empty((1 << bits) + 1, np.uint32)
        fingerprints = np.empty(n, np.uint32)
        unpacked = np.empty(n, np.uint32)
        rows = np.zeros(tables.packed_words(n, row_bits(n)), np.uint64)
        blocks = self._tables.blocks
        tables.build_table(blocks, n, table, bits, starts, fingerprints, unpacked)
        tables.pack(unpacked, row_bits(n), rows)
        return all(
            np.array_equal(held[len(made) * table : len(made) * (table + 1)], made)
            for held, made in (
                (self._tables.starts, starts),
                (self._tables.fingerprints, fingerprints),
                (self._tables.rows, rows),
            )
        )

    def codes(self, rows: I64 | None = None) -> U8:
        """The codes of these rows, or of all in order, uint8 [n, 32]; made anew at each call."""
        blocks = self._tables.blocks
        if rows is None:
            permuted = np.ascontiguousarray(blocks.swapaxes(1, 2)).reshape(-1, 4)[: len(self)]
        else:
            block, place = np.divmod(rows, blocks.shape[2])
            permuted = np.ascontiguousarray(blocks[block, :, place])
        back = permute.spread_table(np.argsort(permute.permutation(self.seed)))
        out = np.empty_like(permuted)
        permute.permute(permuted, back, out)
        return out.view(np.uint8)

    def search(self, queries: U8, radius: int, threads: int = 1, way: Name | None = None) -> U64:
        """Every code within `radius` bits of each query.

        Args:
            queries: uint8 [m, 32], m at most `hits.MAX_QUERIES`.
            radius: in bits, inclusive.
            threads: how many work at once.
            way: None takes the cheapest.

        Returns:
            uint64 [k], hits as in `_kernels.hits`, in no order.
        """
        if len(queries) == 0 or len(self) == 0:
            return np.empty(0, np.uint64)
        codes = queries.view(np.uint64)
        chosen = cheapest(len(self), self._tables.key_bits, radius, len(queries), way)
        if chosen.name == "probe":
            return self._probe(codes, radius, threads)
        permuted = self._permuted(codes)
        if chosen.name == "sweep":
            return self._sweep(permuted, radius, threads, chosen.sweep_bits)
        return self._brute(permuted, radius, threads, np.arange(len(queries), dtype=np.int64))

    def _permuted(self, codes: U64) -> U64:
        out = np.empty_like(codes)
        permute.permute(codes, self._tables.spread, out)
        return out

    def _probe(self, queries: U64, radius: int, threads: int) -> U64:
        plan = _plan(radius, self._tables.key_bits, len(self))
        heavy = np.zeros(len(queries), np.uint8)
        given = (*self._tables, *plan, queries)
        if threads < 2:  # single queries come here, and every microsecond around them counts
            found = _all_hits(probe.probe, *given, 0, len(queries), heavy)
        else:

            def part(bounds: tuple[int, int]) -> U64:
                return _all_hits(probe.probe, *given, *bounds, heavy)

            found = _joined(_each(part, _parts(len(queries), threads), threads))
        if np.count_nonzero(heavy):
            rest = self._permuted(queries)
            brute_hits = self._brute(rest, radius, threads, np.flatnonzero(heavy))
            found = np.concatenate([found, brute_hits])
        return found

    def _sweep(self, queries: U64, radius: int, threads: int, sweep_bits: int) -> U64:
        plan = _plan(radius, sweep_bits, len(self))
        words = queries.view(np.uint16)
        light = np.ones(len(queries), bool)
        asked = plan.upto[plan.limits[:, 0] + 1]
        if int((asked * self._heaviest_buckets(sweep_bits)).sum()) > plan.most_postings:
            postings = sweep.postings_asked(self._tables, plan, sweep_bits, words)
            light = postings <= plan.most_postings
        swept = np.flatnonzero(light)
        some, some_words = (queries, words) if light.all() else (queries[swept], words[swept])

        # Threads share the tables out, not the queries: each sweeps its buckets for the whole
        # batch, and a pair is reported by one table only.
        def part(bounds: tuple[int, int]) -> tuple[U64, npt.NDArray[np.bool_]]:
            survivors = np.zeros(len(some), np.uint32)
            found = _all_hits(
                sweep.sweep, self._tables, plan, sweep_bits, some, some_words, *bounds, survivors
            )
            return found, survivors > plan.most_survivors

        parts = _each(part, _parts(tables.TABLES, threads), threads)
        found = np.concatenate([hits for hits, _ in parts])
        query = (found >> np.uint64(41)).astype(np.int64)
        heavy = np.logical_or.reduce([over for _, over in parts])
        if heavy.any():
            found, query = found[~heavy[query]], query[~heavy[query]]
            light[swept[heavy]] = False
        if not light.all():
            low = found & np.uint64((1 << 41) - 1)
            found = swept[query].astype(np.uint64) << np.uint64(41) | low
            rest = self._brute(queries, radius, threads, np.flatnonzero(~light))
            found = np.concatenate([found, rest])
        return found

    def _brute(self, queries: U64, radius: int, threads: int, asked: I64) -> U64:
        def part(bounds: tuple[int, int]) -> U64:
            some = asked[slice(*bounds)]
            return _all_hits(brute.brute, self._tables.blocks, len(self), queries, radius, some)

        groups = -(-len(asked) // GROUP)
        return _joined(_each(part, _parts(len(asked), min(threads, groups)), threads))

    def _heaviest_buckets(self, sweep_bits: int) -> I64:
        """Postings in the fullest bucket of each table, int64 [16]."""
        if sweep_bits not in self._heaviest:
            starts = self._tables.starts.reshape(tables.TABLES, -1)
            starts = starts[:, :: 1 << (self._tables.key_bits - sweep_bits)]
            self._heaviest[sweep_bits] = np.diff(starts.astype(np.int64)).max(axis=1)
        return self._heaviest[sweep_bits]


def key_bits(n: int) -> int:
    """Bits of a word that are its table's key in an index of n codes."""
    wanted = round(np.log2(max(n, 1) / _POSTINGS_PER_BUCKET))
    return int(min(max(wanted, _KEY_BITS[0]), _KEY_BITS[-1]))


def row_bits(n: int) -> int:
    """Bits that hold any row of n."""
    return max(1, (n - 1).bit_length())


@functools.lru_cache(maxsize=1024)
def cheapest(n: int, bits: int, radius: int, queries: int, name: Name | None = None) -> Way:
    """The way that should take least time.

    Args:
        n: codes.
        bits: `key_bits` of the tables; 0 = there are none.
        radius: in bits.
        queries: of the batch.
        name: choose among this way only.
    """
    alone = queries < GROUP // 2
    costs = {Way("brute"): queries * n * (_BRUTE_CODE_ALONE if alone else _BRUTE_CODE)}
    if bits:
        doublings = math.log2(max(n, TABLES_FROM_CODES, 1) / max(TABLES_FROM_CODES, 1))
        bucket = _PROBED_BUCKET + _PROBED_DOUBLING * doublings + n / (1 << bits) * _PROBED_POSTING
        costs[Way("probe")] = queries * _buckets_asked(radius, bits) * bucket
        # With a key finer than the batch, most buckets are asked by nobody and every asked one is
        # a jump in memory.
        finest = min(bits, max(_KEY_BITS[0], queries.bit_length()))
        for coarse in range(_KEY_BITS[0], finest + 1):
            costs[Way("sweep", coarse)] = _sweep_cost(n, radius, queries, coarse)
    return min((w for w in costs if name in (None, w.name)), key=costs.__getitem__)


def _sweep_cost(n: int, radius: int, queries: int, coarse: int) -> float:
    buckets = tables.TABLES << coarse
    lists = _buckets_asked(radius, coarse) / tables.TABLES
    asking = queries * lists / (1 << coarse)  # queries that ask for a bucket
    groups = asking / GROUP + (0.5 if asking >= 1 else 0.5 * asking)
    steps = buckets * groups * (n / (1 << coarse) / PAIR_LANES + 0.5)
    return (
        buckets * lists * _SWEPT_LIST
        + steps * _SWEPT_STEP
        + queries * tables.TABLES * _SWEPT_QUERY
        + n * _SWEPT_CODE
    )


@functools.cache
def _buckets_asked(radius: int, bits: int) -> int:
    _, upto = thresholds.masks(bits, max(0, int(thresholds.of_words(radius).max())))
    return int(upto[thresholds.of_words(radius).clip(-1) + 1].sum())


@functools.lru_cache(maxsize=64)
def _plan(radius: int, bits: int, n: int) -> tables.Plan:
    limits = thresholds.chains(radius)
    masks, upto = thresholds.masks(bits, max(0, int(limits[:, 0].max())))
    return tables.Plan(
        radius,
        limits,
        masks,
        upto,
        most_postings=n * _MOST_POSTINGS_PER_CODE,
        most_survivors=16 + n // _CODES_PER_SURVIVOR,
    )


@functools.lru_cache(maxsize=4)
def _spread_table(seed: int) -> U64:
    return permute.spread_table(permute.permutation(seed))


def _all_hits(kernel: Callable[..., int], *arguments: object) -> U64:
    """Call a kernel until its hits fit: once, or twice where there are many."""
    hits = np.empty(_FIRST_CAPACITY, np.uint64)
    while (filled := kernel(*arguments, hits)) > len(hits):
        hits = np.empty(filled, np.uint64)
    return hits[:filled]


def _on_cache_line(n: int) -> npt.NDArray[np.uint32]:
    """Zeros, uint32 [n], from the start of a cache line on; np.save keeps it so in a file."""
    wider = np.zeros(n + 16, np.uint32)
    offset = -wider.ctypes.data % 64 // 4
    return wider[offset : offset + n]


def _joined(parts: list[U64]) -> U64:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _parts(count: int, threads: int) -> list[tuple[int, int]]:
    """`count` things in `threads` runs of nearly equal length, as (first, end)."""
    runs = max(1, min(threads, count))
    return [(count * k // runs, count * (k + 1) // runs) for k in range(runs)]


def _each(work: Callable[[Part], Result], parts: Sequence[Part], threads: int) -> list[Result]:
    if threads < 2 or len(parts) < 2:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(threads, thread_name_prefix="hamming") as pool:
        return list(pool.map(work, parts))


def _check(arrays: Mapping[str, npt.NDArray[Any]], n: int) -> int:
    """Refuse arrays whose shapes, types or bucket bounds would lead a kernel astray.

    Row numbers need no look here: kernels check each before they follow it.

    Returns:
        The bits of the tables' keys; 0 where there are no tables.
    """
    blocks, starts, fingerprints, rows = (arrays[name] for name in ARRAYS)
    fits = (
        blocks.dtype == np.uint64
        and blocks.shape == (-(-n // permute.BLOCK), 4, permute.BLOCK)
        and starts.dtype == np.uint32
        and starts.ndim == 1
        and fingerprints.dtype == np.uint32
        and rows.dtype == np.uint64
        and all(array.flags.c_contiguous for array in arrays.values())
    )
    bits = 0
    if fits and not len(starts):
        fits = len(fingerprints) == len(rows) == 0
    elif fits:
        bits = max(0, (len(starts) // tables.TABLES - 1).bit_length() - 1)
        bounds = starts[: len(starts) // tables.TABLES * tables.TABLES].reshape(tables.TABLES, -1)
        fits = (
            bits in _KEY_BITS
            and starts.shape == (tables.TABLES * ((1 << bits) + 1),)
            and fingerprints.shape == (tables.TABLES * n + tables.PADDING,)
            and rows.shape == (tables.TABLES * tables.packed_words(n, row_bits(n)),)
            and not bounds[:, 0].any()
            and bool((bounds[:, -1] == n).all())
            and bool((bounds[:, 1:] >= bounds[:, :-1]).all())
        )
    if not fits:
        raise ValueError("arrays of the wrong shape or type")
    return bits
