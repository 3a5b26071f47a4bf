"""Everything that is measured, unit by unit, as counts that fit into the results file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.effectiveness import bounds, edits, false_matches, kept, natural, ours, peers
from benchmarks.effectiveness.false_matches import Looked
from benchmarks.effectiveness.pictures import Corpus, Kind, Picture, joined
from benchmarks.effectiveness.uploads import FAR, UPLOADS, Codes, blobs
from matchers import limits

Say = Callable[[str], None]
I16 = npt.NDArray[np.int16]

KINDS: Final[tuple[Kind, ...]] = ("photographs", "cut-outs", "tuned on")
RADII: Final = (15, 23, 31, 39, 47)
"""For which recall is kept edit by edit; 31 is the set's default, 47 where "refine" begins."""
CURVE: Final = range(65)
"""For which it is kept edit group by edit group."""
LISTED: Final = 10_000_000
RARE: Final = 1e-3
"""Hashers are compared where an upload has at most so many strangers among so many listed pictures
by chance alone, as if codes were independent random bits: no hasher can do better than that."""
WIDE_EVERY: Final = 8
"""One upload in so many is looked up in the long list at the radius of "refine": it is slow."""
MOST_NAMED: Final = 12
"""Closest pairs that are named."""


@dataclass(frozen=True)
class Session:
    """What is measured, and where intermediate results are kept."""

    corpora: tuple[Corpus, ...]
    cache: Path
    say: Say
    workers: int | None = None

    def units(self) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
        """Every unit, in the order in which they are measured."""
        yield "corpora", self.about
        yield "recall", self.recall
        yield "peers", self.peers
        yield "pairs", self.pairs
        yield "natural", self.natural
        yield "edited", self.edited

    @cached_property
    def pictures(self) -> tuple[Picture, ...]:
        """All pictures, each file once."""
        return joined(self.corpora)

    @cached_property
    def _ours(self) -> list[kept.Arrays]:
        return self._each(ours.measure, self.pictures, ours.CODE, "views")

    @cached_property
    def _looked(self) -> list[Looked]:
        return [
            Looked(
                one["indicator"] if one["quality"] >= limits.PDQ_MIN_QUALITY else None,
                one["codes"],
                one["upload"],
                one["level"],
            )
            for one in self._ours
        ]

    @cached_property
    def _crops(self) -> list[Codes]:
        sources = [picture for picture in self.pictures if picture.kind != "cut-outs"]
        return [one["codes"] for one in self._each(natural.crops, sources, natural.CODE, "crops")]

    @cached_property
    def _own(self) -> list[int | None]:
        """The source of `_crops` that each picture is."""
        sources = [picture.key for picture in self.pictures if picture.kind != "cut-outs"]
        place = {key: row for row, key in enumerate(sources)}
        return [place.get(picture.key) for picture in self.pictures]

    def _each(
        self, work: kept.Work, pictures: Sequence[Picture], code: Sequence[str], what: str
    ) -> list[kept.Arrays]:
        results = []
        for number, one in enumerate(kept.each(work, pictures, code, self.cache, self.workers), 1):
            results.append(one)
            if number % 25 == 0 or number == len(pictures):
                self.say(f"{what}: {number} of {len(pictures)} pictures")
        return results

    def _of(self, kind: Kind) -> npt.NDArray[np.intp]:
        """Rows of the pictures of a kind."""
        return np.flatnonzero([picture.kind == kind for picture in self.pictures])

    def _listed(self, kind: Kind) -> npt.NDArray[np.intp]:
        """Rows of those that a list would hold."""
        return np.array(
            [row for row in self._of(kind) if self._looked[row].indicator is not None], np.intp
        )

    # --- units --------------------------------------------------------------------------

    def about(self) -> dict[str, Any]:
        """What the pictures are."""
        return {
            "corpora": [
                {"name": one.name, "kind": one.kind, "about": one.about,
                 "pictures": len(one.pictures)}
                for one in self.corpora
            ],
            "kinds": {kind: len(self._of(kind)) for kind in KINDS},
        }  # fmt: skip

    def recall(self) -> dict[str, Any]:
        """How many pictures each profile finds after each edit, by radius."""
        return {
            "profiles": list(ours.PROFILES),
            "radii": list(RADII),
            "kinds": {
                kind: _recall(np.array([self._ours[row]["distances"] for row in rows]))
                for kind in KINDS
                if len(rows := self._listed(kind))
            },
        }

    def peers(self) -> dict[str, Any]:
        """The same of other people's hashers, and what they confuse; on the photographs."""
        rows = self._listed("photographs")
        measured = self._each(
            peers.measure, [self.pictures[row] for row in rows], peers.CODE, "peers"
        )
        distances = np.array([one["distances"] for one in measured])
        found = []
        for column, pairs in enumerate(peers.pairs(measured)):
            peer = peers.PEERS[column]
            views = float(np.mean([one["lengths"][column] for one in measured]))
            found.append(
                _way(peer.name, peer.bits, peer.usual_bits, views, distances[:, :, column], pairs)
            )
        own = np.array([self._ours[row]["distances"] for row in rows])
        between = self._refined_pairs[:, rows[:, None], rows]
        levels = [self._looked[row].unedited()[1] for row in rows]
        for column, name in enumerate(ours.PROFILES):
            views = float(np.mean([(level <= column).sum() for level in levels]))
            found.append(
                _way(f"Sluis, {name}", limits.PDQ_BITS, limits.PDQ_RADIUS_BITS, views,
                     own[:, :, column], between[column])
            )  # fmt: skip
        return {"pictures": len(rows), "edits": list(UPLOADS[1:]), "ways": found}

    @cached_property
    def _refined_pairs(self) -> I16:
        """int16 [profiles, uploads, listed]: all pairs of unedited pictures, the fit included."""
        found = false_matches.pairs(self._looked)
        fitted = found[-1].copy()
        for row, column in np.argwhere(fitted <= limits.REFINE_RADIUS_BITS):
            upload = ours.Upload.of(self.pictures[row].blob)
            fitted[row, column] = min(fitted[row, column], upload.fitted(self._code_of(column)))
        return np.concatenate([found, fitted[None]])

    def _code_of(self, row: int) -> Codes:
        code: Codes = self._ours[row]["indicator"]
        return code

    def pairs(self) -> dict[str, Any]:
        """Every picture against every other, unedited."""
        found = self._refined_pairs
        named = [picture.name for picture in self.pictures]
        closest = {}
        for number, profile in enumerate(ours.PROFILES):
            order = np.argsort(found[number], axis=None, kind="stable")[:MOST_NAMED]
            closest[profile] = [
                {
                    "upload": named[row],
                    "listed": named[column],
                    "bits": int(found[number, row, column]),
                }
                for row, column in zip(*np.unravel_index(order, found[number].shape), strict=True)
            ]
        return {
            "listed": sum(one.indicator is not None for one in self._looked),
            "pairs": int((found[0] < FAR).sum()),
            "histogram": [_histogram(bits[bits < FAR]) for bits in found],
            "nearest": self._by_kind(found.min(axis=2)),
            "closest": closest,
        }

    def natural(self) -> dict[str, Any]:
        """Every picture, unedited, against the long list."""
        nearest, source = false_matches.natural(self._looked, self._crops, self._own, self.say)
        sources = [picture.name for picture in self.pictures if picture.kind != "cut-outs"]
        closest = {}
        for number, profile in enumerate(ours.LEVELS):
            order = np.argsort(nearest[number], kind="stable")[:MOST_NAMED]
            closest[profile] = [
                {"upload": self.pictures[row].name, "source": sources[source[number, row]],
                 "bits": int(nearest[number, row])}
                for row in order
            ]  # fmt: skip
        return {
            "codes": sum(map(len, self._crops)),
            "sources": len(self._crops),
            "nearest": self._by_kind(nearest),
            "closest": closest,
        }

    def edited(self) -> dict[str, Any]:
        """Every upload of every picture against all other pictures and against the long list."""
        pairs = false_matches.edited_pairs(self._looked)
        crops, _ = self._against_crops(self._looked, limits.PDQ_RADIUS_BITS)
        some = [one.only(_sampled(row)) for row, one in enumerate(self._looked)]
        wide, near = self._against_crops(some, limits.REFINE_RADIUS_BITS)
        fitted = np.minimum(wide[-1], self._fitted(near))
        return {
            "uploads": len(self.pictures) * len(UPLOADS),
            "sampled": sum(len(_sampled(row)) for row in range(len(self.pictures))),
            "pairs": self._affected(pairs),
            "natural": self._affected(crops),
            "near": self._affected(np.stack([wide[-1], fitted])),
        }

    def _against_crops(
        self, looked: Sequence[Looked], radius_bits: int
    ) -> tuple[I16, list[false_matches.Near]]:
        return false_matches.edited_natural(looked, self._crops, self._own, radius_bits, self.say)

    def _fitted(self, near: Sequence[false_matches.Near]) -> I16:
        """What the fit makes of crops of other pictures: int16 [pictures, uploads]."""
        found = np.full((len(self.pictures), len(UPLOADS)), FAR, np.int16)
        for number, (row, candidates) in enumerate(near):
            made = blobs(self.pictures[row])
            for upload, codes in candidates.items():
                seen = ours.Upload.of(made[upload])
                found[row, upload] = min(seen.fitted(code) for code in codes)
            if number % 25 == 24:
                self.say(f"fits: {number + 1} of {len(near)} pictures with candidates")
        return found

    def _affected(self, nearest: I16) -> dict[str, Any]:
        """Of bits [profiles, pictures, uploads]: uploads and pictures within each radius."""
        least = nearest.min(axis=2)
        return {
            "uploads": _within(nearest.reshape(len(nearest), -1)),
            "nearest": self._by_kind(least),
            "closest": [
                {
                    "picture": self.pictures[row].name,
                    "upload": UPLOADS[int(nearest[-1, row].argmin())],
                    "bits": int(least[-1, row]),
                }
                for row in np.argsort(least[-1], kind="stable")[:MOST_NAMED]
                if least[-1, row] < FAR
            ],
        }  # fmt: skip

    def _by_kind(self, nearest: I16) -> dict[str, Any]:
        """Of bits [profiles, pictures]: how many pictures of a kind are at each distance."""
        return {
            kind: [_histogram(nearest[number, rows]) for number in range(len(nearest))]
            for kind in KINDS
            if len(rows := self._of(kind))
        }


def _sampled(row: int) -> list[int]:
    """Uploads of a picture that the wide search asks about: other ones for the next picture."""
    return [upload for upload in range(len(UPLOADS)) if (upload + row) % WIDE_EVERY == 0]


def _recall(distances: I16) -> dict[str, Any]:
    """Counts of pictures found, of bits [pictures, uploads, profiles]."""
    groups: dict[str, list[int]] = {}
    for row, edit in enumerate(edits.EDITS, 1):
        groups.setdefault(edit.group, []).append(row)
    return {
        "pictures": len(distances),
        "edits": [
            {
                "name": edit.name,
                "group": edit.group,
                "within": _counts(distances[:, row], RADII),
            }
            for row, edit in enumerate(edits.EDITS, 1)
        ],
        "groups": {
            group: {
                "edits": len(rows),
                "within": _counts(distances[:, rows].reshape(-1, distances.shape[2]), CURVE),
            }
            for group, rows in groups.items()
        },
    }


def _counts(distances: I16, radii: Sequence[int]) -> list[list[int]]:
    """Of bits [n, profiles]: for each profile how many are within each radius."""
    return [[int((column <= radius).sum()) for radius in radii] for column in distances.T]


def _within(bits: I16) -> list[list[int]]:
    """Of bits [profiles, n]: how many are within each radius of the curve."""
    return _counts(bits.T, CURVE)


def _histogram(bits: I16) -> list[int]:
    """How many are 0, 1, ... 128 bits, and beyond or nothing to compare: 130 counts."""
    counts: list[int] = np.bincount(np.minimum(bits, 129), minlength=130).tolist()
    return counts


def _way(
    name: str, bits: int, usual_bits: int, views: float, distances: I16, pairs: I16
) -> dict[str, Any]:
    """A hasher by its threshold: recall of all edits, what it confuses, thresholds to compare at.

    Args:
        name: of the way.
        bits: of its code.
        usual_bits: its usual threshold.
        views: codes that it looks up of an upload, on average.
        distances: int16 [pictures, uploads], to the own.
        pairs: int16 [uploads, listed], to others; the diagonal is `FAR`.
    """
    thresholds = range(bits // 2 + 1)
    edited = distances[:, 1:]
    confused = [int((pairs <= threshold).sum()) for threshold in thresholds]
    by_chance = [bounds.by_chance(bits, threshold) * views * LISTED for threshold in thresholds]
    at = {
        "usual": usual_bits,
        "none confused": max((t for t in thresholds if confused[t] == 0), default=-1),
        "rare by chance": max((t for t in thresholds if by_chance[t] <= RARE), default=-1),
    }
    at["comparable"] = min(at.values())
    return {
        "name": name,
        "bits": bits,
        "views": views,
        "thresholds": at,
        "by_chance": by_chance[usual_bits],
        "found": [int((edited <= threshold).sum()) for threshold in thresholds],
        "tried": int(edited.size),
        "confused": confused,
        "pairs": int((pairs < FAR).sum()),
        "edits": [int((column <= at["comparable"]).sum()) for column in edited.T],
    }
