"""Counts of false matches -> tables: pairs, the long list, edited uploads, the tail."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from benchmarks.effectiveness import bounds
from benchmarks.effectiveness.shares import (
    KIND_NAMES,
    RADIUS_BITS,
    all_kinds,
    bound,
    percentile,
)
from benchmarks.tables import NONE, Table, number

_TAIL_SHARE: Final = 0.15  # of the pictures' nearest distances, for the model by picture
_PAIR_SHARE: Final = 1e-3  # of the distances of pairs, for the model by pair
_LEVELS: Final = ("plain", "standard", "thorough")
_MODELLED: Final = (31, 47)
_SCALE: Final = (1_000_000, 10_000_000)  # uploads, and listed pictures, that models are asked about


def all_pairs(pairs: dict[str, Any]) -> Table:
    """Every picture against every other."""
    radii = (31, 39, 47, 55, 63)
    rows = []
    for column, (profile, closest_pairs) in enumerate(pairs["closest"].items()):
        counts = all_kinds(pairs["nearest"], column)
        rows.append(
            (
                profile,
                *(f"{sum(pairs['histogram'][column][: radius + 1]):,}" for radius in radii),
                str(closest_pairs[0]["bits"]),
                percentile(counts, 0.01),
                percentile(counts, 0.50),
                bound(int(counts[: RADIUS_BITS + 1].sum()), int(counts.sum())),
            )
        )
    return Table(
        "pairs",
        f"All {pairs['pairs']:,} pairs of an upload and another listed picture, unedited",
        (
            "profile",
            *(f"within {radius}" for radius in radii),
            "closest, bits",
            "nearest: 1% of pictures",
            "half of them",
            f"pictures with a false match at {RADIUS_BITS}",
        ),
        tuple(rows),
        f"{pairs['listed']:,} pictures have the quality that a list asks for. In brackets the 95% "
        "upper bound of the share of pictures (Clopper and Pearson): pictures, not pairs, are "
        "independent. It holds for a list of this size.",
    )


def natural(found: dict[str, Any]) -> Table:
    """Every picture against the long list, by kind of picture."""
    radii = (31, 39, 47, 55)
    rows = []
    for kind, by_profile in found["nearest"].items():
        for profile, counts in zip(found["closest"], map(np.array, by_profile), strict=False):
            nearest = int(np.flatnonzero(counts)[0])
            tried = int(counts.sum())
            rows.append(
                (
                    KIND_NAMES[kind],
                    profile,
                    *(bound(int(counts[: radius + 1].sum()), tried) for radius in radii),
                    str(nearest),
                    percentile(counts, 0.01),
                    percentile(counts, 0.50),
                )
            )
    return Table(
        "natural",
        f"Pictures with a false match among {found['codes']:,} codes of crops of "
        f"{found['sources']:,} other pictures",
        (
            "uploads, unedited",
            "profile",
            *(f"within {radius}" for radius in radii),
            "closest, bits",
            "nearest: 1%",
            "half",
        ),
        tuple(rows),
        "In brackets the 95% upper bound of the share of such pictures that would have a false "
        "match in such a list.",
        text_columns=2,
    )


def edited_uploads(edited: dict[str, Any]) -> Table:
    """Every edit of every picture against all that it is not."""
    rows = []
    for key, against, profiles, radii, asked in (
        ("pairs", "all other pictures", _LEVELS, (31, 39, 47), "uploads"),
        ("natural", "the long list", _LEVELS, (31,), "uploads"),
        ("near", "the long list", ("thorough", "refine, fitted"), (31, 39, 47), "sampled"),
    ):
        found = edited[key]
        for column, profile in enumerate(profiles):
            within = found["uploads"][column]
            counts = all_kinds(found["nearest"], column)
            rows.append(
                (
                    against,
                    profile,
                    f"{edited[asked]:,}",
                    *(
                        f"{within[radius]:,}" if radius in radii else NONE
                        for radius in (31, 39, 47)
                    ),
                    bound(int(counts[: RADIUS_BITS + 1].sum()), int(counts.sum())),
                )
            )
    return Table(
        "edited",
        f"False matches of {edited['uploads']:,} edited uploads",
        ("against", "profile", "uploads", "within 31", "within 39", "within 47",
         f"pictures with any at {RADIUS_BITS}"),
        tuple(rows),
        "The long list is searched to 31 bits for every upload, and to 47, where refine "
        "begins, for one in eight. A dash: not searched so far. The bound counts pictures, since "
        "uploads of one picture are not independent.",
        text_columns=2,
    )  # fmt: skip


def closest(found: dict[str, Any], other: str, key: str) -> Table:
    """The nearest pairs, by name, of the widest profile."""
    profile = "thorough"
    rows = [(one["upload"], one[other], str(one["bits"])) for one in found["closest"][profile]]
    listed = "listed picture" if other == "listed" else "source of the crop"
    return Table(
        f"closest {key}",
        f"What comes nearest to what it is not (profile {profile})",
        ("upload", listed, "bits"),
        tuple(rows),
        text_columns=2,
    )


def closest_fitted(edited: dict[str, Any]) -> Table:
    """What the fit of "refine" brings nearest to what it is not, by name."""
    rows = [(one["picture"], one["upload"], str(one["bits"])) for one in edited["near"]["closest"]]
    return Table(
        "closest fitted",
        "The nearest after the fit, of the uploads looked up at 47 bits",
        ("picture", "uploaded as", "bits"),
        tuple(rows),
        f"Within {RADIUS_BITS} bits it is a false match of the profile refine: one more reason why "
        "a near match goes to review as such.",
        text_columns=2,
    )


def strangers(edited: dict[str, Any], profile: str) -> str:
    """Edited uploads with a false match in the long list, of those looked up."""
    key, column = ("near", 1) if profile == "refine" else ("natural", _LEVELS.index(profile))
    asked = edited["sampled" if profile == "refine" else "uploads"]
    return f"{edited[key]['uploads'][column][RADIUS_BITS]:,} of {asked:,}"


def tail(pairs: dict[str, Any], found: dict[str, Any]) -> Table:
    """What is known below the nearest distance seen, and what is only modelled."""
    uploads, listed = _SCALE
    rows = []
    for column, profile in enumerate(found["closest"]):
        counts = all_kinds(found["nearest"], column)
        by_picture = bounds.fit(counts, _TAIL_SHARE)
        by_pair = bounds.fit(np.array(pairs["histogram"][column]), _PAIR_SHARE)
        lists = listed / found["codes"]
        rows.append(
            (
                profile,
                bound(int(counts[: RADIUS_BITS + 1].sum()), int(counts.sum())),
                *(_flagged(by_picture, radius, lists, uploads) for radius in _MODELLED),
                *(_flagged(by_pair, radius, listed, uploads) for radius in _MODELLED),
            )
        )
    return Table(
        "tail",
        "Beyond what was seen: one bound, and two models that disagree",
        (
            "profile",
            "bound: pictures with a false match in this list",
            *(f"model by picture, flagged at {radius}" for radius in _MODELLED),
            *(f"model by pair, flagged at {radius}" for radius in _MODELLED),
        ),
        tuple(rows),
        f"Models: how many of {uploads:,} uploads would be flagged by {listed:,} listed pictures. "
        f"By picture: an exponential tail fitted to the lowest {_TAIL_SHARE:.0%} of pictures' "
        "nearest distances to the long list; by pair: to the lowest "
        f"{_PAIR_SHARE:.1%} of distances of pairs of unedited pictures. They reach tens of bits "
        "below anything seen and are guesses; only the first column is a bound, and for this list.",
    )


def _flagged(model: bounds.Tail | None, radius: int, times: float, uploads: int) -> str:
    """Uploads that a model says are flagged: by one try, or by each of so many."""
    if model is None:
        return NONE
    return number(min(1.0, model.share_within(radius) * times) * uploads)
