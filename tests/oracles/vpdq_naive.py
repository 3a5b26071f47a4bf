"""Slow twin of `matchers.vpdq`: every frame of every video against every code of the item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def shares(
    videos: Mapping[str, Sequence[bytes]], shown: Sequence[bytes], radius: int
) -> dict[str, tuple[int, int]]:
    """For each video that has a frame near one of the item's: frames found, least distance."""
    found = {}
    for name, frames in videos.items():
        nearest = [
            min((_apart(frame, code) for code in shown), default=radius + 1) for frame in frames
        ]
        near = [distance for distance in nearest if distance <= radius]
        if near:
            found[name] = (len(near), min(near))
    return found


def _apart(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()
