"""A sound file -> a spoilt one, as a function of a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence

_HEAD_BYTES = 400
_NUMBERS = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000,
            0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)  # fmt: skip


def mutated(files: Sequence[bytes], number: int) -> bytes:
    """Mutation `number` of these files: always the same one."""
    chance = random.Random(number)
    blob = bytearray(files[number % len(files)])
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        chance.choice(_WAYS)(blob, chance, files)
    return bytes(blob)


def _place(blob: bytearray, chance: random.Random) -> int:
    """Somewhere; headers, where one byte decides more, as often as all the rest."""
    return chance.randrange(max(1, min(len(blob), chance.choice((_HEAD_BYTES, len(blob) or 1)))))


def _flip_bits(blob: bytearray, chance: random.Random, files: Sequence[bytes]) -> None:
    for _ in range(chance.choice((1, 2, 8, 64)) if blob else 0):
        blob[_place(blob, chance)] ^= 1 << chance.randrange(8)


def _cut(blob: bytearray, chance: random.Random, files: Sequence[bytes]) -> None:
    del blob[_place(blob, chance) :]


def _splice(blob: bytearray, chance: random.Random, files: Sequence[bytes]) -> None:
    other = chance.choice(files)
    blob[_place(blob, chance) :] = other[chance.randrange(len(other)) :]


def _put_number(blob: bytearray, chance: random.Random, files: Sequence[bytes]) -> None:
    """Sizes, counts and offsets: the extremes of each width, either way round."""
    size = chance.choice((1, 2, 4, 8))
    number = chance.choice(_NUMBERS) % (1 << 8 * size)
    place = _place(blob, chance)
    blob[place : place + size] = number.to_bytes(size, chance.choice(("big", "little")))


def _repeat(blob: bytearray, chance: random.Random, files: Sequence[bytes]) -> None:
    start = _place(blob, chance)
    piece = blob[start : start + chance.choice((4, 16, 256, 2048))]
    blob[start:start] = piece * chance.choice((1, 2, 50))


def _remove(blob: bytearray, chance: random.Random, files: Sequence[bytes]) -> None:
    start = _place(blob, chance)
    del blob[start : start + chance.choice((1, 2, 4, 16, 256))]


def _overwrite(blob: bytearray, chance: random.Random, files: Sequence[bytes]) -> None:
    start = _place(blob, chance)
    length = chance.choice((1, 4, 64))
    blob[start : start + length] = chance.randbytes(length)


_WAYS = (
    _flip_bits,
    _flip_bits,
    _cut,
    _splice,
    _put_number,
    _put_number,
    _repeat,
    _remove,
    _overwrite,
)
