"""What a child answers, as bytes: parts there, and parts again here, if they are plausible.

A child is taken for compromised, so nothing that it says is unpickled, and no parser written in C
sees it. Every number is checked against what is there and against `limits`; what remains of a
taken-over decoder is that it can lie about its items (docs/sandbox.md).

Numbers are unsigned and little-endian, arrays as numpy holds them on this machine:

    parts (4)
    each part: depth (1), locator (4 each), medium (1), length (1) and content,
               digests (1), each: place in Wanted.digests (1), value, length (1) and reason,
               whether there are fingerprints (1), then how many codes (4), frames (4) and
               planes (4), the arrays, the counts (4 each)
"""

from __future__ import annotations

import functools
import json
import math
import re
import struct
from dataclasses import asdict, fields
from typing import Any, Final, get_args

import numpy as np

from matchers.digests import DIGEST_BYTES
from matchers.examine import Part, Wanted
from matchers.fingerprints import Fingerprints
from matchers.limits import MAX_CODES, MAX_PLANES, MAX_VIDEO_SECONDS
from matchers.media import Medium
from matchers.pictures import RENDERINGS
from matchers.views import view_name
from pipeline.sandbox import limits

_MEDIA: Final = (None, *get_args(Medium))
_REASON: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_SHA256_BYTES: Final = 32
_MAX_QUALITY: Final = 100
_MAX_SECONDS: Final = 2 * MAX_VIDEO_SECONDS
_MAX_SAMPLE: Final = 1e6  # of a plane: sums of samples from 0 to 255
_SIZES: Final = struct.Struct("<III")

_ARRAYS: Final = (
    ("codes", np.uint8, "codes", (32,)),
    ("quality", np.uint8, "codes", ()),
    ("views", np.uint16, "codes", ()),
    ("frame", np.int32, "codes", ()),
    ("frames", np.float32, "frames", (2,)),
    ("renderings", np.uint8, "frames", ()),
    ("planes", np.float32, "planes", (64, 64)),
    ("plane", np.int32, "codes", ()),
)
"""The arrays of `Fingerprints`: name, kind of number, what there is one of each, rest of shape."""
_COUNTS: Final = tuple(
    field.name for field in fields(Fingerprints) if field.name not in {name for name, *_ in _ARRAYS}
)
"""Its other fields: numbers."""


class Malformed(Exception):  # noqa: N818 - reads as the outcome it is
    """No child that is in order answers so."""


# --- what is wanted: from the parent, which a child trusts ----------------------------------


@functools.lru_cache(maxsize=8)
def encode_wanted(wanted: Wanted) -> bytes:
    """`wanted` as bytes."""
    return json.dumps(asdict(wanted) | {"media": sorted(wanted.media)}).encode()


@functools.lru_cache(maxsize=8)
def decode_wanted(encoded: bytes) -> Wanted:
    """The reverse of `encode_wanted`."""
    fields = json.loads(encoded)
    return Wanted(
        **fields | {"media": frozenset(fields["media"]), "digests": tuple(fields["digests"])}
    )


# --- the answer: from a child, which the parent does not trust ------------------------------


def encode(parts: tuple[Part, ...], wanted: Wanted) -> bytes:
    """`parts` as bytes."""
    pieces = [struct.pack("<I", len(parts))]
    for part in parts:
        reason = (part.reason or "").encode()
        pieces += [
            struct.pack(f"<B{len(part.locator)}I", len(part.locator), *part.locator),
            struct.pack("<BB", _MEDIA.index(part.medium), len(part.content)),
            part.content,
            struct.pack("<B", len(part.digests)),
        ]
        for name, value in part.digests.items():
            pieces += [struct.pack("<B", wanted.digests.index(name)), value]
        pieces += [struct.pack("<B", len(reason)), reason]
        pieces += _encode_fingerprints(part.fingerprints)
    return b"".join(pieces)


def decode(answer: bytes | bytearray, wanted: Wanted) -> tuple[Part, ...]:
    """The parts that a child answered.

    Raises:
        Malformed: they could not be what examining a file gives.
    """
    reader = _Reader(answer)
    parts = tuple(_decode_part(reader, wanted) for _ in range(reader.number(4, limits.MAX_PARTS)))
    reader.end()
    if not parts or parts[0].locator or len({part.locator for part in parts}) < len(parts):
        raise Malformed("the item is not its first part, or a part comes twice")
    return parts


class _Reader:
    """Takes bytes from the front of an answer, never more than there are."""

    def __init__(self, answer: bytes | bytearray) -> None:
        self._rest = memoryview(answer)

    def take(self, length: int) -> memoryview:
        if length > len(self._rest):
            raise Malformed("it ends early")
        taken, self._rest = self._rest[:length], self._rest[length:]
        return taken

    def number(self, size_bytes: int, most: int) -> int:
        number = int.from_bytes(self.take(size_bytes), "little")
        if number > most:
            raise Malformed("a number is too large")
        return number

    def end(self) -> None:
        if len(self._rest):
            raise Malformed("it goes on after its end")


def _decode_part(reader: _Reader, wanted: Wanted) -> Part:
    depth = reader.number(1, limits.MAX_DEPTH)
    locator = tuple(reader.number(4, limits.MAX_PARTS) for _ in range(depth))
    medium = _MEDIA[reader.number(1, len(_MEDIA) - 1)]
    content = bytes(reader.take(reader.number(1, _SHA256_BYTES)))
    if 0 in locator or len(content) not in (0, _SHA256_BYTES):
        raise Malformed("a locator or a content is none")
    digests = {}
    for _ in range(reader.number(1, len(wanted.digests))):
        name = wanted.digests[reader.number(1, len(wanted.digests) - 1)]
        digests[name] = bytes(reader.take(DIGEST_BYTES[name]))
    reason = _decode_reason(bytes(reader.take(reader.number(1, 40))))
    fingerprints = _decode_fingerprints(reader) if reader.number(1, 1) else None
    return Part(locator, medium, content, digests, fingerprints, reason)


def _decode_reason(word: bytes) -> str | None:
    if not word:
        return None
    text = word.decode("latin-1")
    if not _REASON.fullmatch(text):
        raise Malformed("a reason is not a word")
    return text


def _encode_fingerprints(found: Fingerprints | None) -> list[bytes]:
    if found is None:
        return [b"\0"]
    sizes = _SIZES.pack(len(found.codes), len(found.frames), len(found.planes))
    arrays = [np.asarray(getattr(found, name), kind).tobytes() for name, kind, _, _ in _ARRAYS]
    counts = [struct.pack("<I", getattr(found, name)) for name in _COUNTS]
    return [b"\1", sizes, *arrays, *counts]


def _decode_fingerprints(reader: _Reader) -> Fingerprints:
    lengths = {
        "codes": reader.number(4, MAX_CODES),
        "frames": reader.number(4, MAX_CODES),
        "planes": reader.number(4, MAX_PLANES),
    }
    values: dict[str, Any] = {}
    for name, kind, count, rest in _ARRAYS:
        shape = (lengths[count], *rest)
        size_bytes = math.prod(shape) * np.dtype(kind).itemsize
        # A copy: aligned and writeable, as the kernels that come later were compiled for.
        values[name] = np.frombuffer(reader.take(size_bytes), kind).reshape(shape).copy()
    values |= {name: reader.number(4, MAX_CODES) for name in _COUNTS}
    found = Fingerprints(**values)
    _check(found)
    return found


def _check(found: Fingerprints) -> None:
    """Refuse what would make those stumble who use it: an index out of range, a NaN."""
    starts, ends = found.frames[:, 0], found.frames[:, 1]
    is_still = np.isnan(starts)
    is_plausible = (
        len(found.codes) > 0
        and found.quality.max() <= _MAX_QUALITY
        and found.frame.min() >= 0
        and found.frame.max() < len(found.frames)
        and found.renderings.max() < len(RENDERINGS)
        and found.plane.min() >= -1
        and found.plane.max() < len(found.planes)
        and np.abs(found.planes).max(initial=0) <= _MAX_SAMPLE  # false for NaN and infinity
        and bool((is_still & np.isnan(ends) | (starts <= ends)).all())
        and np.abs(found.frames[~is_still]).max(initial=0) <= _MAX_SECONDS
        and all(_is_view(view) for view in set(found.views.tolist()))
    )
    if not is_plausible:
        raise Malformed("fingerprints point where nothing is")


@functools.lru_cache(maxsize=4096)
def _is_view(view: int) -> bool:
    try:
        view_name(view)
    except (LookupError, ValueError):
        return False
    return True
