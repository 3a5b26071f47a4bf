"""Items in, matches out: digest, decode, hash, look up. Pure.

Two halves, so that a batch never holds more than its fingerprints: `examine` turns one item's
bytes into a few dozen bytes and lets them go; `match` asks the sets about a whole batch at once.
The least intrusive method comes first (exact before perceptual), and an item that an exact list of
known material names is not decoded at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from matchers import digests, pdq, urls
from matchers.errors import DecodeError, UrlError
from matchers.hamming import Matches
from matchers.indicators import IndicatorSet
from matchers.indicators.manifest import Kind
from matchers.media import claimed
from matchers.threads import each

Media = Literal["image", "video", "url"]


@dataclass(frozen=True)
class Hit:
    """The best match of one item.

    Attributes:
        set_number: which of the scanner's sets.
        indicator: row in that set.
        method: the set's algorithm.
        distance_bits: Hamming distance, 0 for exact methods.
        quality: PDQ quality of the item, None for exact methods.
        content: SHA-256 of the item's bytes, or of its canonical URL: what makes two hits distinct.
    """

    set_number: int
    indicator: int
    method: str
    distance_bits: int
    quality: int | None
    content: bytes


@dataclass(frozen=True)
class Examined:
    """What is left of an item once its bytes are gone.

    Attributes:
        content: as in `Hit`.
        exact: its exact match, if it has one.
        code: PDQ code (uint8 [32]) where a perceptual set is to be asked.
        quality: of that code.
    """

    content: bytes
    exact: Hit | None = None
    code: np.ndarray[tuple[int], np.dtype[np.uint8]] | None = None
    quality: int = 0


QUALITY_TOO_LOW: Final = "quality_too_low"
"""Result of an item with a code that no set accepts: nothing can be said about it."""

Result = Hit | Literal["quality_too_low"] | None
"""A hit, `QUALITY_TOO_LOW`, or None: clear."""


class Scanner:
    """Asks a fixed list of verified indicator sets. Thread-safe."""

    def __init__(self, sets: Sequence[IndicatorSet], *, pdq_mode: pdq.Mode = "exact") -> None:
        """Ask `sets`; where two match equally well, the one with the smaller id has the hit.

        Args:
            sets: verified sets.
            pdq_mode: how images are hashed, see `pdq.hash_images`.

        Raises:
            ValueError: for an unknown mode.
        """
        pdq.check_mode(pdq_mode)
        self.sets = tuple(sets)
        self._pdq_mode = pdq_mode
        self._urls = [(n, s) for n, s in enumerate(sets) if s.manifest.algorithm == "url"]
        self._digests = [
            (n, s) for n, s in enumerate(sets) if s.manifest.algorithm in digests.DIGEST_BYTES
        ]
        self._perceptual = [(n, s) for n, s in enumerate(sets) if s.perceptual is not None]

    @property
    def media(self) -> frozenset[Media]:
        """The media that at least one set has indicators for."""
        covered: set[Media] = set()
        if self._urls:
            covered.add("url")
        if self._perceptual:
            covered.add("image")
        if self._digests:
            covered.update(("image", "video"))
        return frozenset(covered)

    def examine(self, media: Media | None, content: bytes | str) -> Examined:
        """Reduce one item to what lookup needs.

        Args:
            media: what the item is; None: an image if its bytes say so, else nothing.
            content: the bytes of an image or video, or the text of a URL.

        Raises:
            DecodeError: an image that cannot be decoded, or a video (whose frames this version
                cannot see: reason `video_not_supported`).
            UrlError: not a canonical URL.
        """
        if isinstance(content, str):
            return self._examine_url(content)
        if claimed(content) != (media or "image"):
            # Also for exact lists: what is not visual stays unmatched, whatever it is called.
            raise DecodeError("unrecognised_format" if content else "empty")
        unit = hashlib.sha256(content).digest()
        exact = self._exact(content, unit)
        if exact is not None and self._kind(exact) != "new":
            return Examined(unit, exact=exact)
        if media == "video" and exact is None:
            raise DecodeError("video_not_supported")
        if media == "video" or not self._perceptual:
            return Examined(unit, exact=exact)
        try:
            code, quality = pdq.hash_blob(content, mode=self._pdq_mode)
        except DecodeError:
            if exact is None:
                raise
            return Examined(unit, exact=exact)
        return Examined(unit, exact=exact, code=code, quality=quality)

    def match(self, batch: Sequence[Examined]) -> list[Result]:
        """Look up a batch, row by row the best hit: known before new, then nearest."""
        best: list[Hit | None] = [one.exact for one in batch]
        asked = [False] * len(batch)
        for number, indicators in self._perceptual:
            manifest = indicators.manifest
            rows = [
                row
                for row, one in enumerate(batch)
                if one.code is not None and one.quality >= manifest.min_quality
            ]
            if not rows or indicators.perceptual is None:
                continue
            codes = np.stack([code for row in rows if (code := batch[row].code) is not None])
            matches = indicators.perceptual.search(codes, manifest.radius_bits)
            for row in rows:
                asked[row] = True
            nearest = _nearest(matches)
            for query, indicator, distance in zip(
                matches.query[nearest].tolist(),
                matches.indicator[nearest].tolist(),
                matches.distance[nearest].tolist(),
                strict=True,
            ):
                row = rows[query]
                one = batch[row]
                hit = Hit(number, indicator, "pdq", distance, one.quality, one.content)
                held = best[row]
                if held is None or self._preference(hit) < self._preference(held):
                    best[row] = hit
        results: list[Result] = []
        for found, one, was_asked in zip(best, batch, asked, strict=True):
            unusable = found is None and one.code is not None and not was_asked
            results.append(QUALITY_TOO_LOW if unusable else found)
        return results

    def scan(
        self, items: Sequence[tuple[Media | None, bytes | str]], threads: int | None = None
    ) -> list[Result | DecodeError | UrlError]:
        """Examine and match a batch in one call; an item that cannot be read has its error."""

        def one(item: tuple[Media | None, bytes | str]) -> Examined | DecodeError | UrlError:
            try:
                return self.examine(*item)
            except (DecodeError, UrlError) as error:
                return error

        examined = each(one, items, threads)
        readable = [(row, e) for row, e in enumerate(examined) if isinstance(e, Examined)]
        results: list[Result | DecodeError | UrlError] = [
            None if isinstance(e, Examined) else e for e in examined
        ]
        for (row, _), result in zip(readable, self.match([e for _, e in readable]), strict=True):
            results[row] = result
        return results

    def _exact(self, content: bytes, unit: bytes) -> Hit | None:
        """The best match among the digest sets; each digest is computed once."""
        found: list[Hit] = []
        values = {"sha256": unit}
        for number, indicators in self._digests:
            algorithm = indicators.manifest.algorithm
            if algorithm not in values:
                values[algorithm] = digests.digest(content, algorithm)
            row = indicators.exact.find(values[algorithm]) if indicators.exact else None
            if row is not None:
                found.append(Hit(number, row, algorithm, 0, None, unit))
        return min(found, key=self._preference, default=None)

    def _examine_url(self, url: str) -> Examined:
        unit = hashlib.sha256(urls.canonicalise(url).encode()).digest()
        for number, indicators in self._urls:
            value = urls.keyed_digest(url, indicators.url_key)
            row = indicators.exact.find(value) if indicators.exact else None
            if row is not None:
                return Examined(unit, exact=Hit(number, row, "url", 0, None, unit))
        return Examined(unit)

    def _preference(self, hit: Hit) -> tuple[bool, int, str, str]:
        """Smaller is better; names, not places, so that the order of the sets says nothing."""
        found = self.sets[hit.set_number]
        name: str = found.indicator_ids[hit.indicator].as_py()
        return self._kind(hit) == "new", hit.distance_bits, found.manifest.set_id, name

    def _kind(self, hit: Hit) -> Kind:
        return self.sets[hit.set_number].manifest.kind


def _nearest(matches: Matches) -> npt.NDArray[np.intp]:
    """Which pairs are the nearest of their query: only among these does a name decide."""
    first = np.flatnonzero(np.diff(matches.query, prepend=-1))  # pairs come by query, then distance
    sizes = np.diff(np.append(first, len(matches)))
    return np.flatnonzero(matches.distance == np.repeat(matches.distance[first], sizes))
