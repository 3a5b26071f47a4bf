"""Items in, matches out: digest, decode, hash, look up. Pure.

Two halves, so that a batch never holds more than its fingerprints: `examine` turns one item's
bytes into digests and codes and lets them go; `match` asks the sets about a whole batch at once.
The least intrusive method comes first (exact before perceptual), and an item that an exact list of
known material names is not decoded at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from matchers import digests, media, pdq, urls, views
from matchers import examine as examining
from matchers.errors import DecodeError
from matchers.examine import NEEDS_DECODING, Part, Wanted
from matchers.fingerprints import Fingerprints
from matchers.indicators import IndicatorSet
from matchers.indicators.manifest import Kind
from matchers.lookup import Found, look_up
from matchers.media import Medium
from matchers.recall import recalled
from matchers.threads import each

Examiner = Callable[[bytes | memoryview, Wanted], tuple[Part, ...]]
"""Where items are opened: `examine.examine`, or a sandbox around it."""


@dataclass(frozen=True)
class Hit:
    """The best match of one part of an item.

    Attributes:
        set_number: which of the scanner's sets.
        indicator: row in that set.
        method: the set's algorithm, or `views.METHOD` for a near match.
        distance_bits: Hamming distance, 0 for exact methods.
        quality: PDQ quality of the item, None for exact methods.
        content: SHA-256 of the part's bytes, or of its canonical URL: what makes two hits distinct.
        view: which view of the picture matched, in words; empty for exact methods.
        spans_seconds: first and last second of each showing; empty for stills and exact methods.
        share_percent: of the frames of a video indicator that were found; None for others.
        others: further hits of the part, the next best first; they do not make hits differ.
    """

    set_number: int
    indicator: int
    method: str
    distance_bits: int
    quality: int | None
    content: bytes
    view: str = ""
    spans_seconds: tuple[tuple[float, float], ...] = ()
    share_percent: int | None = None
    others: tuple[Hit, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Examined:
    """What is left of a part of an item once its bytes are gone: the part and its exact match."""

    part: Part
    exact: Hit | None = None


QUALITY_TOO_LOW: Final = "quality_too_low"
"""Result of a part with codes that no set accepts: nothing can be said about it."""

Result = Hit | Literal["quality_too_low"] | None
"""A hit, `QUALITY_TOO_LOW`, or None: nothing found."""


class Scanner:
    """Asks a fixed list of verified indicator sets. Thread-safe."""

    def __init__(
        self,
        sets: Sequence[IndicatorSet],
        *,
        pdq_mode: pdq.Mode = "exact",
        media: frozenset[Medium] | None = None,
        examiner: Examiner = examining.examine,
    ) -> None:
        """Ask `sets`; where two match equally well, the one with the smaller id has the hit.

        Args:
            sets: verified sets.
            pdq_mode: how images are hashed, see `pdq.hash_images`.
            media: what may be examined at all; None: whatever the sets can match.
            examiner: where items are opened.

        Raises:
            ValueError: for an unknown mode.
        """
        pdq.check_mode(pdq_mode)
        self.sets = tuple(sets)
        self._examiner = examiner
        self._urls = [(n, s) for n, s in enumerate(sets) if s.manifest.algorithm == "url"]
        self._digests = [
            (n, s) for n, s in enumerate(sets) if s.manifest.algorithm in digests.DIGEST_BYTES
        ]
        self._perceptual = [(n, s) for n, s in enumerate(sets) if s.perceptual is not None]
        self.wanted = Wanted(
            media=self.media if media is None else media & self.media,
            digests=tuple(sorted({s.manifest.algorithm for _, s in self._digests})),
            profile=self._widest_profile(),
            pdq_mode=pdq_mode,
            digest_item=False,
        )

    @property
    def media(self) -> frozenset[Medium]:
        """The media that at least one set has indicators for."""
        covered: set[Medium] = set()
        if self._urls:
            covered.add("url")
        if self._perceptual or self._digests:
            covered.update(("image", "video", "container"))
        return frozenset(covered)

    def examine(self, content: bytes | memoryview | str) -> tuple[Examined, ...]:
        """Reduce one item and everything inside it to what lookup needs; the item comes first.

        Args:
            content: the bytes of an item, or the text of a URL.

        Raises:
            UrlError: not a canonical URL.
            DecodeError: what the examiner says of an item as a whole (`crashed`, `timed_out`).
        """
        if isinstance(content, str):
            return (self._examine_url(content),)
        medium = media.claimed(content)
        if medium is None or not examining.wants(self.wanted, medium):
            parts = self._examiner(content, self.wanted)
        else:
            unit, exact = examining.digests_of(content, self.wanted.digests)
            item = Part((), medium, unit, exact)
            named = Examined(item, self._exact(item))
            if self._is_enough(named):
                return (named,)
            try:
                parts = self._examiner(content, self.wanted)
            except DecodeError as error:
                parts = (replace(item, reason=error.reason),)
            # An exact list answers for bytes that no decoder can read; ours is the digest that
            # counts, whatever a decoder that was taken over says.
            inside = parts[1:] if medium == "container" else _clip(parts[1:], medium)
            parts = (replace(parts[0], medium=medium, content=unit, digests=exact), *inside)
        return tuple(Examined(part, self._exact(part)) for part in parts)

    def recall(self, parts: tuple[Part, ...], held: Wanted) -> tuple[Examined, ...]:
        """What `examine` would give now for an item that was examined before; see `recalled`.

        Args:
            parts: what examining gave then, the item first.
            held: what was wanted then.
        """
        found = tuple(Examined(one, self._exact(one)) for one in recalled(parts, held, self.wanted))
        item = found[0]
        if self._is_enough(item):
            return (Examined(replace(item.part, fingerprints=None, reason=None), item.exact),)
        return found

    def recallable(self, examined: tuple[Examined, ...]) -> tuple[Part, ...]:
        """What `recall` takes: it says of an item that was not opened that it was not."""
        if self._is_enough(examined[0]):
            return (replace(examined[0].part, reason=NEEDS_DECODING),)
        return tuple(one.part for one in examined)

    def _is_enough(self, item: Examined) -> bool:
        """Whether an exact list of known material names it: then it is not opened."""
        return item.exact is not None and self._kind(item.exact) != "new"

    def match(self, batch: Sequence[Examined]) -> list[Result]:
        """Look up a batch, part by part the best hit.

        Matches come before near matches, known before new, then the nearest.
        """
        hits: list[list[Hit]] = [[one.exact] if one.exact else [] for one in batch]
        shown = [one.part.fingerprints for one in batch]
        asked: set[int] = set()
        for number, indicators in self._perceptual:
            places, found = look_up(shown, indicators)
            asked |= places
            for one in found:
                hits[one.place].append(self._hit(number, one, batch[one.place].part))
        unusable = {n for n, one in enumerate(shown) if one is not None} - asked
        return [
            QUALITY_TOO_LOW if not found and place in unusable else self._best(found)
            for place, found in enumerate(hits)
        ]

    def scan(
        self, items: Sequence[bytes | memoryview | str], threads: int | None = None
    ) -> list[list[tuple[Part, Result]]]:
        """Examine and match a batch in one call: for each item its parts and what each resembles.

        Raises:
            UrlError, DecodeError: as `examine`.
        """
        examined = each(self.examine, items, threads)
        results = iter(self.match([one for parts in examined for one in parts]))
        return [[(one.part, next(results)) for one in parts] for parts in examined]

    def _widest_profile(self) -> views.Profile | None:
        asked = [s.manifest.profile for _, s in self._perceptual]
        return max(asked, key=views.PROFILES.index, default=None)

    def _hit(self, number: int, found: Found, part: Part) -> Hit:
        shown = part.fingerprints
        if shown is None:
            raise ValueError("a part without fingerprints resembles nothing")
        return Hit(
            number,
            found.indicator,
            found.method,
            found.distance_bits,
            int(shown.quality[found.row]),
            part.content,
            _view(shown, found.row),
            found.spans_seconds,
            found.share_percent,
        )

    def _exact(self, part: Part) -> Hit | None:
        """The best match among the digest sets."""
        found: list[Hit] = []
        for number, indicators in self._digests:
            algorithm = indicators.manifest.algorithm
            value = part.digests.get(algorithm)
            if value is None or indicators.exact is None:
                continue
            row = indicators.exact.find(value)
            if row is not None:
                found.append(Hit(number, row, algorithm, 0, None, part.content))
        return min(found, key=self._preference, default=None)

    def _examine_url(self, url: str) -> Examined:
        unit = hashlib.sha256(urls.canonicalise(url).encode()).digest()
        part = Part((), "url", unit)
        for number, indicators in self._urls:
            value = urls.keyed_digest(url, indicators.url_key)
            row = indicators.exact.find(value) if indicators.exact else None
            if row is not None:
                return Examined(part, Hit(number, row, "url", 0, None, unit))
        return Examined(part)

    def _best(self, hits: list[Hit]) -> Hit | None:
        """The best hit, with the others behind it."""
        if not hits:
            return None
        first, *others = sorted(hits, key=self._preference)
        return replace(first, others=tuple(others))

    def _preference(self, hit: Hit) -> tuple[bool, bool, bool, int, int, str, str]:
        """Smaller is better: a match before a near match, known before new, then the nearest.

        A picture comes before a video, whose share is not to be weighed against a distance. Names
        decide at last, not places: the order of the sets says nothing.
        """
        found = self.sets[hit.set_number]
        name: str = found.indicator_ids[hit.indicator].as_py()
        return (
            hit.method == views.METHOD,
            self._kind(hit) == "new",
            hit.method == "vpdq",
            hit.distance_bits,
            -(hit.share_percent or 0),
            found.manifest.set_id,
            name,
        )

    def _kind(self, hit: Hit) -> Kind:
        return self.sets[hit.set_number].manifest.kind


def _clip(inside: Sequence[Part], medium: Medium) -> Sequence[Part]:
    """What a picture may have inside: the clip of a motion photo."""
    is_clip = [part.locator == (1,) and part.medium == "video" for part in inside]
    return inside if medium == "image" and is_clip == [True] else ()


def _view(found: Fingerprints, row: int) -> str:
    rendering = found.rendering(row)
    view = views.view_name(int(found.views[row]))
    return view if rendering == "as_shown" else f"{rendering.replace('_', ' ')}: {view}"
