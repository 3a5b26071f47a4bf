"""Other people's hashers on the same listed pictures and the same uploads.

Each gets an upload as its own package would: decoded by Pillow. `pdqhash` is Meta's reference core
and what threatexchange hashes with; threatexchange itself looks up the one code, and the eight
turns are offered by pdqhash alone. Of imagehash: the DCT, difference and wavelet hashes, 64 bits.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.effectiveness import kept
from benchmarks.effectiveness.pictures import Picture
from benchmarks.effectiveness.uploads import FAR, Codes, blobs, nearest
from matchers import limits

CODE: Final = (
    "benchmarks/effectiveness/changes.py", "benchmarks/effectiveness/edits.py",
    "benchmarks/effectiveness/peers.py", "benchmarks/effectiveness/uploads.py",
)  # fmt: skip


@dataclass(frozen=True)
class Peer:
    """Another hasher.

    Attributes:
        name: of the package and function.
        bits: of its code.
        usual_bits: distance at which its users commonly take two pictures for the same.
        codes: image -> uint8 [n, bits / 8], a listed picture's code in row 0; none if of too
            low a quality.
    """

    name: str
    bits: int
    usual_bits: int
    codes: Callable[[Image.Image], Codes]


def measure(picture: Picture) -> kept.Arrays:
    """List a picture and hash every upload of it, with every peer.

    Returns:
        distances: int16 [uploads, peers], bits to the own listed code.
        listed: uint8 [sum of bytes], each peer's listed code; zeros where it gives none.
        unedited: uint8 [n, 32], and `lengths`: each peer's codes of the unedited upload, padded
            to 32 bytes, one peer after the other.
    """
    uploads = [_opened(blob) for blob in blobs(picture)]
    distances = np.full((len(uploads), len(PEERS)), FAR, np.int16)
    listed, unedited, lengths = [], [], []
    for column, peer in enumerate(PEERS):
        codes = [peer.codes(image) for image in uploads]
        first = codes[0]
        if len(first):
            distances[:, column] = [nearest(one, first[0]) for one in codes]
        listed.append(first[0] if len(first) else np.zeros(peer.bits // 8, np.uint8))
        unedited.append(np.pad(first, ((0, 0), (0, 32 - first.shape[1]))))
        lengths.append(len(first))
    return {
        "distances": distances,
        "listed": np.concatenate(listed),
        "unedited": np.concatenate(unedited),
        "lengths": np.array(lengths, np.int64),
    }


def pairs(measured: Sequence[kept.Arrays]) -> Iterator[npt.NDArray[np.int16]]:
    """For each peer, every unedited picture as an upload against every other as listed.

    Returns:
        int16 [pictures, pictures], bits; `FAR` for itself and where a peer gives no code.
    """
    first = 0
    for column, peer in enumerate(PEERS):
        size = peer.bits // 8
        listed = np.array([one["listed"][first : first + size] for one in measured])
        found = np.full((len(measured), len(measured)), FAR, np.int16)
        for row, one in enumerate(measured):
            begin = int(one["lengths"][:column].sum())
            codes = one["unedited"][begin : begin + int(one["lengths"][column]), :size]
            if len(codes):
                bits = np.bitwise_count(codes[:, None] ^ listed[None]).sum(axis=2, dtype=np.int16)
                found[row] = bits.min(axis=0)
        found[:, [one["lengths"][column] == 0 for one in measured]] = FAR
        np.fill_diagonal(found, FAR)
        yield found
        first += size


def _opened(blob: bytes) -> Image.Image:
    return Image.open(io.BytesIO(blob)).convert("RGB")


def _pdqhash(image: Image.Image) -> Codes:
    import pdqhash

    bits, quality = pdqhash.compute(np.asarray(image))
    return _good(np.packbits(bits.astype(np.uint8))[None], quality)


def _pdqhash_turns(image: Image.Image) -> Codes:
    import pdqhash

    bits, quality = pdqhash.compute_dihedral(np.asarray(image))
    return _good(np.packbits(np.array(bits, np.uint8), axis=1), quality)


def _good(codes: Codes, quality: float) -> Codes:
    """As threatexchange, which gives no code of a quality below 50."""
    return codes if quality >= limits.PDQ_MIN_QUALITY else codes[:0]


def _imagehash(name: str) -> Callable[[Image.Image], Codes]:
    def codes(image: Image.Image) -> Codes:
        import imagehash

        found: Any = getattr(imagehash, name)(image)
        return np.packbits(found.hash.ravel())[None]

    return codes


PEERS: Final = (
    Peer("pdqhash, as threatexchange asks", 256, 31, _pdqhash),
    Peer("pdqhash, all eight turns", 256, 31, _pdqhash_turns),
    Peer("imagehash.phash", 64, 10, _imagehash("phash")),
    Peer("imagehash.dhash", 64, 10, _imagehash("dhash")),
    Peer("imagehash.whash", 64, 10, _imagehash("whash")),
)
"""PDQ's 31 is its authors'; 10 of 64 bits is what is commonly advised for the others."""
