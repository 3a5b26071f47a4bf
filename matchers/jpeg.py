"""What a JPEG's markers say about its scans, read without decoding (ITU-T T.81, annex B)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

_START_OF_IMAGE: Final = b"\xff\xd8"
_END_OF_IMAGE: Final = b"\xff\xd9"
_PROGRESSIVE_FRAME: Final = 0xC2  # SOF2: Huffman, progressive, the kind the web uses
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH: Final = frozenset({*range(0xD0, 0xDA), 0xFF})
_QUANTISERS: Final = 0xDB
_START_OF_SCAN: Final = 0xDA
_MOST_MISSING_BITS: Final = 1  # what libjpeg and mozjpeg leave to a later scan


def scan_starts(blob: bytes) -> npt.NDArray[np.int64]:
    """Where "start of scan" stands in `blob`, int64 [n]: at least every scan, in order.

    The two bytes never stand inside compressed data, which stuffs its 0xff; they may in metadata.
    """
    marker = 0xFF | _START_OF_SCAN << 8
    found = [np.zeros(0, np.int64)]
    for first in (0, 1):  # two bytes at once, from even places and from odd ones
        pairs = (len(blob) - first) // 2
        if pairs > 0:
            words = np.frombuffer(blob, "<u2", pairs, first)
            found.append(2 * np.flatnonzero(words == marker) + first)
    return np.sort(np.concatenate(found))


def first_means(blob: bytes) -> bytes | None:
    """A progressive JPEG cut to its first scan, the mean of each 8 x 8 block; None if unsure.

    The first scan of a progressive file usually holds the lowest frequency of all components, to
    the last bit but one, and nothing else. Cut after it and closed, the file decodes at one eighth
    for a fraction of the work. None is returned unless it is sure that no later scan says those
    means anew: a viewer would show the later ones. It is returned too where the first scan leaves
    more bits out, for the cut picture would then have a few shades only (codes up to 84 bits off).

    libjpeg-turbo smooths such a picture to hide the blocks, means included, unless a quantiser is
    zero (jdcoefct.c, smoothing_ok). One that is multiplied with nothing here is therefore zeroed.
    """
    frame = _progressive_frame(blob)
    if frame is None:
        return None
    starts = scan_starts(blob)
    first, *others = (_scan(blob, int(start)) for start in starts[starts >= frame.first_scan])
    if first is None or not others:
        return None
    missing = first.missing_bits
    means = _Scan(frame.components, first=0, last=0, refines=0, missing_bits=missing)
    if first != means or missing > _MOST_MISSING_BITS:
        return None
    for scan in others:
        if scan is None:
            return None
        if scan.first == 0:  # more of the means: only the next bit of all is expected
            if scan.refines != missing or scan.missing_bits != missing - 1:
                return None
            missing -= 1
    cut = bytearray(blob[: int(starts[starts > frame.first_scan][0])])
    for value in frame.second_quantisers:
        cut[value] = 0
    return bytes(cut) + _END_OF_IMAGE


@dataclass(frozen=True)
class _Frame:
    """What stands before the first scan.

    Attributes:
        components: of the picture.
        second_quantisers: where the bytes of the second value of each quantiser table stand.
        first_scan: where its marker stands.
    """

    components: int
    second_quantisers: tuple[int, ...]
    first_scan: int


def _progressive_frame(blob: bytes) -> _Frame | None:
    """Walk the segments up to the first scan; None if it is no progressive frame's, or unclear."""
    components = 0
    quantisers: list[int] = []
    place = len(_START_OF_IMAGE)
    while place + 4 <= len(blob):
        kind = blob[place + 1]
        length = int.from_bytes(blob[place + 2 : place + 4], "big")
        if blob[place] != 0xFF or kind < 0xC0 or kind in _WITHOUT_LENGTH or length < 2:
            return None
        if kind == _START_OF_SCAN:
            return _Frame(components, tuple(quantisers), place) if components else None
        if kind in _FRAMES:
            if kind != _PROGRESSIVE_FRAME or components or place + 10 > len(blob):
                return None
            components = blob[place + 9]
        if kind == _QUANTISERS:
            quantisers += _second_values(blob, place + 4, place + 2 + length)
        place += 2 + length
    return None


def _second_values(blob: bytes, place: int, end: int) -> list[int]:
    """Where the bytes of the second value of each table of a quantiser segment stand."""
    found: list[int] = []
    while place < min(end, len(blob)):
        bytes_each = 1 + (blob[place] >> 4)
        found += range(place + 1 + bytes_each, place + 1 + 2 * bytes_each)
        place += 1 + 64 * bytes_each
    return [value for value in found if value < len(blob)]


@dataclass(frozen=True)
class _Scan:
    """A scan's header.

    Attributes:
        components: in this scan (Ns).
        first: lowest frequency in it (Ss).
        last: highest (Se).
        refines: bits that were missing before it (Ah); 0 for what it says first.
        missing_bits: bits that are missing after it (Al).
    """

    components: int
    first: int
    last: int
    refines: int
    missing_bits: int


def _scan(blob: bytes, start: int) -> _Scan | None:
    """The header of the scan whose marker stands at `start`; None if the file ends in it."""
    if start + 5 > len(blob):
        return None
    components = blob[start + 4]
    end = start + 5 + 2 * components
    if end + 3 > len(blob):
        return None
    bits = blob[end + 2]
    return _Scan(components, blob[end], blob[end + 1], bits >> 4, bits & 15)
