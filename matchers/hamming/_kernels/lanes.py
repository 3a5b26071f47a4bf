"""Vector steps that numba's own loops do not become: written as LLVM vector code.

A plain popcount loop stays scalar: 0.5 G pairs/s measured, against 9 G as vectors. Each step here
stands twice: in Python, which says what it does and runs under NUMBA_DISABLE_JIT=1, and as LLVM
code, which compiled kernels get. The LLVM code names vectors of a fixed length; LLVM fits them to
the machine (AVX-512 with VPOPCNTDQ, plain AVX-512, AVX2, NEON): one source for all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]

LANES: Final = 32
"""Fingerprints that `close_lanes` compares at once: 128 bytes."""

PAIR_LANES: Final = 16
"""Fingerprints that `close_to_any_lanes` compares at once."""

GROUP: Final = 8
"""Queries taken together, and rows in a block of codes."""

IN_PYTHON: Final[dict[str, Callable[..., Any]]] = {}
"""Each step's Python form, by name: the oracle of its compiled form."""

_I1, _I8, _I32, _I64 = (ir.IntType(bits) for bits in (1, 8, 32, 64))

_Step = TypeVar("_Step", bound=Callable[..., Any])


def _compiled_as(llvm_form: Callable[..., Any]) -> Callable[[_Step], _Step]:
    """Compiled kernels call `llvm_form`; without a compiler they call the Python below."""

    def choose(python_form: _Step) -> _Step:
        IN_PYTHON[python_form.__name__] = python_form
        return python_form if numba.config.DISABLE_JIT else cast("_Step", llvm_form)

    return choose


# --- building blocks of the LLVM forms ---------------------------------------------------------


def _address(context: Any, builder: Any, kind: Any, array: Any, offset: Any) -> Any:
    """Pointer to element `offset`, in C order."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [offset])


def _load(builder: Any, pointer: Any, bits: int, lanes: int) -> Any:
    kind = ir.VectorType(ir.IntType(bits), lanes)
    value = builder.load(builder.bitcast(pointer, kind.as_pointer()))
    value.align = bits // 8  # of an element: vectors start anywhere
    return value


def _store(builder: Any, value: Any, pointer: Any) -> None:
    stored = builder.store(value, builder.bitcast(pointer, value.type.as_pointer()))
    stored.align = value.type.element.width // 8


def _splat(builder: Any, value: Any, lanes: int) -> Any:
    """The value in every lane."""
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, value, _I32(0))
    return builder.shuffle_vector(
        first, undefined, ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes)
    )


def _call(builder: Any, name: str, *operands: Any) -> Any:
    """An LLVM intrinsic over vectors of one type."""
    kind = operands[0].type
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(kind, [kind] * len(operands)),
        f"llvm.{name}.v{kind.count}i{kind.element.width}",
    )
    return builder.call(function, operands)


def _distances(builder: Any, held: Any, query: Any) -> Any:
    """Bits in which each lane of `held` differs from `query`."""
    return _call(builder, "ctpop", builder.xor(held, _splat(builder, query, held.type.count)))


def _least(builder: Any, vectors: list[Any]) -> Any:
    """Minimum lane by lane, as a tree: a chain would wait for itself."""
    while len(vectors) > 1:
        half = len(vectors) // 2
        pairs = zip(vectors[:half], vectors[half:], strict=True)
        vectors = [_call(builder, "umin", one, other) for one, other in pairs]
    return vectors[0]


def _mask(builder: Any, distances: Any, most: Any) -> Any:
    """Lanes that are <= `most` (an i64, not negative) as the bits of an i64."""
    lanes, element = distances.type.count, distances.type.element
    limit = most if element == _I64 else builder.trunc(most, element)
    close = builder.icmp_unsigned("<=", distances, _splat(builder, limit, lanes))
    return builder.zext(builder.bitcast(close, ir.IntType(lanes)), _I64)


# --- bits ----------------------------------------------------------------------------------------


@intrinsic
def _popcount(_typing: Any, _value: Any) -> Any:
    def emit(_context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        return builder.ctpop(given[0])

    return types.int64(types.uint64), emit


@_compiled_as(_popcount)
def popcount(value: np.uint64) -> int:
    """Bits set in a uint64."""
    return int(value).bit_count()


@intrinsic
def _lowest(_typing: Any, _mask: Any) -> Any:
    def emit(_context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        return builder.cttz(given[0], _I1(1))

    return types.int64(types.uint64), emit


@_compiled_as(_lowest)
def lowest(mask: np.uint64) -> int:
    """Number of the lowest bit set; `mask` is not 0."""
    return (int(mask) & -int(mask)).bit_length() - 1


# --- fingerprints --------------------------------------------------------------------------------


@intrinsic
def _prefetch(_typing: Any, values: Any, _at: Any) -> Any:
    def emit(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        pointer = builder.bitcast(_address(context, builder, values, *given), _I8.as_pointer())
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [_I8.as_pointer(), _I32, _I32, _I32]),
            "llvm.prefetch.p0i8",
        )
        for_reading, keep, data = _I32(0), _I32(3), _I32(1)
        builder.call(function, [pointer, for_reading, keep, data])
        return context.get_dummy_value()

    return types.void(values, types.intp), emit


@_compiled_as(_prefetch)
def prefetch(values: U32, at: int) -> None:
    """Ask for the cache line of values[at]; beyond the end it is harmless."""


@intrinsic
def _close_lanes(_typing: Any, values: Any, _first: Any, _query: Any, _most: Any) -> Any:
    def emit(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        array, first, query, most = given
        held = _load(builder, _address(context, builder, values, array, first), 32, LANES)
        return _mask(builder, _distances(builder, held, query), most)

    return types.uint64(values, types.intp, types.uint32, types.int64), emit


@_compiled_as(_close_lanes)
def close_lanes(values: U32, first: int, query: np.uint32, most: int) -> np.uint64:
    """Bit l set where values[first + l] is within `most` bits of the query, l < LANES."""
    mask = 0
    for lane in range(LANES):
        apart = int(values[first + lane]) ^ int(query)
        mask |= int(apart.bit_count() <= most) << lane
    return np.uint64(mask)


@intrinsic
def _close_to_any_lanes(
    _typing: Any, values: Any, _first: Any, queries: Any, _group: Any, _most: Any
) -> Any:
    def emit(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        array, first, asked, group, most = given
        held = _load(builder, _address(context, builder, values, array, first), 32, PAIR_LANES)
        query = _address(context, builder, queries, asked, group)
        distances = [
            _distances(builder, held, builder.load(builder.gep(query, [_I64(k)])))
            for k in range(GROUP)
        ]
        return _mask(builder, _least(builder, distances), most)

    return types.uint64(values, types.intp, queries, types.intp, types.int64), emit


@_compiled_as(_close_to_any_lanes)
def close_to_any_lanes(values: U32, first: int, queries: U32, group: int, most: int) -> np.uint64:
    """Bit l set where values[first + l] is close to any of queries[group : group + GROUP].

    Close: within `most` bits. l < PAIR_LANES.
    """
    mask = 0
    for lane in range(PAIR_LANES):
        for query in queries[group : group + GROUP]:
            apart = int(values[first + lane]) ^ int(query)
            mask |= int(apart.bit_count() <= most) << lane
    return np.uint64(mask)


@intrinsic
def _copy_group(_typing: Any, target: Any, _at: Any, source: Any, _first: Any) -> Any:
    def emit(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        written, at, read, first = given
        values = _load(builder, _address(context, builder, source, read, first), 32, GROUP)
        _store(builder, values, _address(context, builder, target, written, at))
        return context.get_dummy_value()

    return types.void(target, types.intp, source, types.intp), emit


@_compiled_as(_copy_group)
def copy_group(target: U32, at: int, source: U32, first: int) -> None:
    """target[at : at + GROUP] = source[first : first + GROUP]."""
    target[at : at + GROUP] = source[first : first + GROUP]


# --- codes ---------------------------------------------------------------------------------------


def _near_rows(queries_at_once: int, words: int) -> Callable[..., Any]:
    """LLVM form of the comparisons of a block of codes with one or GROUP queries."""

    @intrinsic
    def near(_typing: Any, blocks: Any, _block: Any, queries: Any, _query: Any, _most: Any) -> Any:
        def emit(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
            array, block, asked, query, most = given
            rows = _address(context, builder, blocks, array, builder.mul(block, _I64(4 * GROUP)))
            held = [
                _load(builder, builder.gep(rows, [_I64(word * GROUP)]), 64, GROUP)
                for word in range(words)
            ]
            codes = _address(context, builder, queries, asked, builder.mul(query, _I64(4)))
            totals = []
            for k in range(queries_at_once):
                parts = [
                    _distances(
                        builder, held[word], builder.load(builder.gep(codes, [_I64(4 * k + word)]))
                    )
                    for word in range(words)
                ]
                total = parts[0]
                for part in parts[1:]:
                    total = builder.add(total, part)
                totals.append(total)
            return _mask(builder, _least(builder, totals), most)

        return types.uint64(blocks, types.intp, queries, types.intp, types.int64), emit

    compiled: Callable[..., Any] = near
    return compiled


def _near_rows_in_python(
    blocks: U64, block: int, queries: U64, asked: range, words: int, most: int
) -> np.uint64:
    mask = 0
    for query in asked:
        for row in range(GROUP):
            apart = 0
            for word in range(words):
                apart += (int(blocks[block, word, row]) ^ int(queries[query, word])).bit_count()
            mask |= int(apart <= most) << row
    return np.uint64(mask)


@_compiled_as(_near_rows(1, 2))
def near_rows_128(blocks: U64, block: int, queries: U64, query: int, most: int) -> np.uint64:
    """Bit r set where row r of a block is within `most` bits of a query, in the first 128 bits.

    Args:
        blocks: uint64 [blocks, 4, GROUP], codes from `permute.into_blocks`.
        block: which block.
        queries: uint64 [m, 4].
        query: which query.
        most: in bits, inclusive.
    """
    return _near_rows_in_python(blocks, block, queries, range(query, query + 1), 2, most)


@_compiled_as(_near_rows(GROUP, 2))
def near_rows_any_128(blocks: U64, block: int, queries: U64, query: int, most: int) -> np.uint64:
    """`near_rows_128`, of any of the GROUP queries from `query` on."""
    return _near_rows_in_python(blocks, block, queries, range(query, query + GROUP), 2, most)


@_compiled_as(_near_rows(1, 4))
def near_rows_256(blocks: U64, block: int, queries: U64, query: int, most: int) -> np.uint64:
    """`near_rows_128` over all 256 bits."""
    return _near_rows_in_python(blocks, block, queries, range(query, query + 1), 4, most)


@_compiled_as(_near_rows(GROUP, 4))
def near_rows_any_256(blocks: U64, block: int, queries: U64, query: int, most: int) -> np.uint64:
    """`near_rows_any_128` over all 256 bits."""
    return _near_rows_in_python(blocks, block, queries, range(query, query + GROUP), 4, most)
