"""Serialized messages, looked over before objects are made of them.

An empty message takes 2 bytes on the wire and many more in memory: a short request could fill it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED: Final = {_FIXED64: 8, _FIXED32: 4}


class NoMessage(ValueError):  # noqa: N818 - reads as the outcome it is
    """These bytes are no serialized message."""


def fields(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each field's value in data[start:end]; an empty range for numbers.

    Source: protobuf.dev/programming-guides/encoding.

    Raises:
        NoMessage: it is no message, or has groups (which nothing sends any more).
    """
    end = len(data) if end is None else end
    while start < end:
        tag, start = _varint(data, start, end)
        kind = tag & 7
        length = 0
        if kind == _VARINT:
            _, start = _varint(data, start, end)
        elif kind == _BYTES:
            length, start = _varint(data, start, end)
        elif kind in _FIXED:
            start += _FIXED[kind]
        else:
            raise NoMessage
        if start + length > end:
            raise NoMessage
        yield tag >> 3, start, start + length
        start += length


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
    raise NoMessage
