"""How near pictures come to pictures that they are not: all pairs, a long list, every edit.

What is asked is what the scan asks: the least distance between any view of the upload and the plain
code of a listed picture. Independent of each other are pictures; pairs, views and edits of one
picture are not, and no bound here counts them as if they were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import faiss
import numpy as np
import numpy.typing as npt

from benchmarks.effectiveness.ours import LEVELS
from benchmarks.effectiveness.uploads import FAR, UPLOADS, Codes
from matchers import limits
from matchers.hamming import HammingIndex

I16 = npt.NDArray[np.int16]
I64 = npt.NDArray[np.int64]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Looked:
    """What of a picture matters here.

    Attributes:
        indicator: uint8 [32], its code if it is listed; None where its quality is too low for that.
        codes: uint8 [n, 32], of all views of all its uploads.
        upload: int16 [n], the row of `UPLOADS` of each.
        level: uint8 [n], the first of `LEVELS` that looks at each.
    """

    indicator: Codes | None
    codes: Codes
    upload: I16
    level: npt.NDArray[np.uint8]

    def only(self, uploads: Sequence[int]) -> Looked:
        """The same with some of its uploads."""
        rows = np.isin(self.upload, uploads)
        return Looked(self.indicator, self.codes[rows], self.upload[rows], self.level[rows])

    def unedited(self) -> tuple[Codes, npt.NDArray[np.uint8]]:
        """Codes and levels of the picture as it is."""
        rows = self.upload == 0
        return self.codes[rows], self.level[rows]


def _index(codes: Codes) -> faiss.IndexBinaryFlat:
    """Brute force over codes, on this thread: FAISS's own would spin while others work."""
    faiss.omp_set_num_threads(1)
    index = faiss.IndexBinaryFlat(limits.PDQ_BITS)
    index.add(np.ascontiguousarray(codes))
    return index


def pairs(pictures: Sequence[Looked]) -> I16:
    """Every picture as an upload against every other as listed.

    Returns:
        int16 [levels, uploads, listed], bits; `FAR` for itself and where there is no code.
    """
    listed = [row for row, one in enumerate(pictures) if one.indicator is not None]
    indicators = np.array([pictures[row].indicator for row in listed], np.uint8).view(np.uint64)
    found = np.full((len(LEVELS), len(pictures), len(pictures)), FAR, np.int16)
    for row, one in enumerate(pictures):
        codes, level = one.unedited()
        if len(codes):
            differing = codes.view(np.uint64)[:, None] ^ indicators[None]
            bits = np.bitwise_count(differing).sum(axis=2, dtype=np.int16)
            for profile in range(len(LEVELS)):
                asked = bits[level <= profile]
                if len(asked):
                    found[profile, row, listed] = asked.min(axis=0)
        found[:, row, row] = FAR
    return found


def edited_pairs(pictures: Sequence[Looked]) -> I16:
    """Every upload of every picture against every other listed picture.

    Returns:
        int16 [levels, pictures, uploads], bits to the nearest listed picture that it is not.
    """
    listed = [row for row, one in enumerate(pictures) if one.indicator is not None]
    index = _index(np.array([pictures[row].indicator for row in listed], np.uint8))
    place = {row: n for n, row in enumerate(listed)}
    found = np.full((len(LEVELS), len(pictures), len(UPLOADS)), FAR, np.int16)
    for row, one in enumerate(pictures):
        if len(one.codes):
            bits, which = index.search(np.ascontiguousarray(one.codes), min(2, len(listed)))
            bits[which == place.get(row, -2)] = FAR  # the second nearest, where the nearest is it
            _lower(found[:, row], bits.min(axis=1), one.upload, one.level)
    return found


def natural(
    pictures: Sequence[Looked], parts: Sequence[Codes], own: Sequence[int | None], say: Say
) -> tuple[I16, I64]:
    """Every picture, unedited, against a long list of crops of others.

    Args:
        pictures: uploads.
        parts: codes of the list, source by source.
        own: for each picture the source that it is itself, which does not count.
        say: told of progress.

    Returns:
        int16 [levels, pictures], bits to the nearest; int64 of the same shape, its source.
    """
    taken = [one.unedited() for one in pictures]
    asked = np.concatenate([codes for codes, _ in taken])
    owner = np.repeat(np.arange(len(pictures)), [len(codes) for codes, _ in taken])
    level = np.concatenate([one for _, one in taken])
    is_own = np.array([-1 if one is None else one for one in own])
    nearest = np.full((len(LEVELS), len(pictures)), FAR, np.int16)
    source_of = np.full(nearest.shape, -1, np.int64)
    for source, part in enumerate(parts):
        if len(part):
            bits = _index(part).search(asked, 1)[0][:, 0]
            bits[is_own[owner] == source] = FAR
            here = np.full(nearest.shape, FAR, np.int16)
            for profile in range(len(LEVELS)):
                rows = level <= profile
                np.minimum.at(here[profile], owner[rows], bits[rows].astype(np.int16))
            is_nearer = here < nearest
            nearest[is_nearer] = here[is_nearer]
            source_of[is_nearer] = source
        if source % 100 == 99:
            say(f"{source + 1} of {len(parts)} sources")
    return nearest, source_of


Near = tuple[int, dict[int, Codes]]
"""A picture, and for some of its uploads the codes (uint8 [n, 32]) that come near."""


def edited_natural(
    pictures: Sequence[Looked],
    parts: Sequence[Codes],
    own: Sequence[int | None],
    radius_bits: int,
    say: Say,
) -> tuple[I16, list[Near]]:
    """Every upload of every picture against the long list, as far as a radius.

    Returns:
        int16 [levels, pictures, uploads], bits to the nearest crop of another picture, `FAR`
        where none is within the radius; and the crops that are, as many as the scan would fit.
    """
    listed = np.concatenate(parts)
    index = HammingIndex.build(listed)
    source = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    found = np.full((len(LEVELS), len(pictures), len(UPLOADS)), FAR, np.int16)
    near: list[Near] = []
    for row, one in enumerate(pictures):
        if len(one.codes):
            matches = index.search(np.ascontiguousarray(one.codes), radius_bits)
            others = source[matches.indicator] != (-1 if own[row] is None else own[row])
            query, bits = matches.query[others], matches.distance[others]
            _lower(found[:, row], bits, one.upload[query], one.level[query])
            if len(query):
                candidates = _nearest(one.upload[query], matches.indicator[others], bits)
                near.append((row, {upload: listed[some] for upload, some in candidates.items()}))
        if row % 50 == 49:
            say(f"{row + 1} of {len(pictures)} pictures, every edit")
    return found, near


def _nearest(upload: I16, indicator: I64, bits: I64) -> dict[int, I64]:
    """For each upload its nearest indicators, no more than the scan fits a box to."""
    found: dict[int, I64] = {}
    for one in np.unique(upload).tolist():
        rows = np.flatnonzero(upload == one)
        rows = rows[np.argsort(bits[rows], kind="stable")]
        _, first = np.unique(indicator[rows], return_index=True)
        found[one] = indicator[rows][np.sort(first)][: limits.REFINE_MAX_CANDIDATES]
    return found


def _lower(
    found: I16, bits: npt.NDArray[np.integer], upload: I16, level: npt.NDArray[np.uint8]
) -> None:
    """Lower found[profile, upload] to the bits of every code that the profile looks at."""
    for profile in range(len(LEVELS)):
        rows = level <= profile
        np.minimum.at(found[profile], upload[rows], bits[rows].astype(np.int16))
