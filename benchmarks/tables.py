"""Results -> tables, the same for the terminal and for the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks import films, hashing, rivals, sandboxing, targets, timing
from benchmarks.results import Results
from benchmarks.timing import Spread

NONE: Final = "-"
_SCANS: Final = {"whole": "sluis scan, files to candidates", "bare": "bare scanner loop"}


@dataclass(frozen=True)
class Table:
    """A table: what it is about, its columns (the first one names the row), its cells.

    Attributes:
        key: which table it is, whatever the size.
        title: one line.
        columns: heads.
        rows: as many cells as columns.
        note: what to know to read it.
        text_columns: how many of the first columns are text, the others being figures.
    """

    key: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    text_columns: int = 1


# --- numbers as text ------------------------------------------------------------------------


def number(value: float) -> str:
    """Three significant digits, thousands set apart."""
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    return f"{rounded:,.{max(0, 2 - math.floor(math.log10(abs(rounded))))}f}"


def with_ends(found: Spread, unit: str = "") -> str:
    """Median, and in brackets the least and the most."""
    return f"{number(found.median)}{unit} ({number(found.least)} to {number(found.most)})"


def rates(seconds: Sequence[float]) -> Spread:
    """How many in a second."""
    return timing.spread([1 / second for second in seconds])


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if seconds * factor >= 1:
            return f"{number(seconds * factor)} {unit}"
    return f"{number(seconds * 1e6)} us"


def size_name(count: int) -> str:
    """100,000 -> 100k, 10,000,000 -> 10M."""
    if count >= 1_000_000:
        return f"{count / 1_000_000:g}M"
    return f"{count / 1_000:g}k" if count >= 1_000 else str(count)


# --- tables ---------------------------------------------------------------------------------


def all_tables(results: Results) -> list[Table]:
    """Every table that the results have figures for, in the order of the page."""
    tables = [goals(results), *corpora(results)]
    for size, found in results.measured("lookup").items():
        tables += [
            speed(size, found),
            ratios(size, found),
            radii(size, found),
            latency(size, found),
        ]
    tables += [*growth(results), *building(results), *memory(results), *hashes(results)]
    tables += [*views(results), *video(results), *sandbox(results)]
    tables += [*candidates(results), *scan(results)]
    return tables


def goals(results: Results) -> Table:
    """What was to be reached beside what was measured."""
    rows = []
    for target in targets.TARGETS:
        found = target.measured(results)
        unit = target.unit if target.unit in {"x", "/s"} else f" {target.unit}"
        rows.append(
            (
                target.what,
                target.beside or NONE,
                f"{'at most' if target.at_most else 'at least'} {target.reach:,g}{unit}",
                with_ends(found, unit) if found else NONE,
                target.verdict(found),
            )
        )
    return Table(
        "goals",
        "Figures to reach",
        ("what", "beside", "to reach", "measured", ""),
        tuple(rows),
        "Ratios are medians of round-by-round ratios; in brackets the least and the most round. "
        "Lookup is at radius 31 on one core; in bulk is the largest batch below.",
        text_columns=2,
    )


def corpora(results: Results) -> list[Table]:
    """How natural the codes are."""
    rows = [
        (
            size_name(size),
            f"{found['least_mean']:.3f} to {found['greatest_mean']:.3f}",
            f"{found['greatest_correlation']:.3f}",
            f"{found['neighbours']:.3f}",
        )
        for size, found in results.measured("corpus").items()
    ]
    if not rows:
        return []
    sample = max(found["sample"] for found in results.measured("corpus").values())
    return [
        Table(
            "corpus",
            "The codes",
            ("indicators", "means of the 256 bits", "greatest correlation of two bits",
             "neighbours within 31 bits"),
            tuple(rows),
            f"Of the first {sample:,} codes. Independent random bits would have means of 0.500, "
            "correlations under 0.02 and no neighbours.",
        )
    ]  # fmt: skip


def speed(size: int, found: dict[str, Any]) -> Table:
    """Queries a second by batch, and recall."""
    batches = list(dict.fromkeys(entry["batch"] for entry in found["speed"]))
    agreement = {entry["way"]: entry for entry in found["agreement"]}
    by_cell = {(entry["way"], entry["batch"]): entry for entry in found["speed"]}
    rows = []
    fewer = False
    for way, agreed in agreement.items():
        cells = []
        for batch in batches:
            entry = by_cell[way, batch]
            asked = entry["queries_in_a_call"] * entry["calls_in_a_round"]
            cell = with_ends(rates(entry["seconds_per_query"]))
            if asked < batch:
                fewer = True
                cell += f" [{asked:,}]"
            cells.append(cell)
        rows.append((way, *cells, _recall(agreed)))
    note = (
        "Median of the rounds, least and most in brackets. Recall: pairs found of the pairs that "
        "brute force finds, for queries planted 0 to 50 bits from an indicator; of ours, found at "
        "every one of these batch sizes; of a way that finds the nearest only, queries for which "
        "it found one of them."
    )
    if fewer:
        note += " In square brackets: queries asked, where a whole batch would take too long."
    return Table(
        "speed",
        f"Queries a second, radius 31, {size_name(size)} indicators",
        ("way", *(_batch_name(batch) for batch in batches), "recall"),
        tuple(rows),
        note,
    )


def ratios(size: int, found: dict[str, Any]) -> Table:
    """How many times faster ours is, by batch."""
    batches = list(dict.fromkeys(entry["batch"] for entry in found["speed"]))
    rows = []
    theirs = [entry["way"] for entry in found["agreement"] if entry["way"] != rivals.OURS.name]
    for name, ways in [*((way, [way]) for way in theirs), ("best of FAISS", list(targets.FAISS))]:
        cells = []
        for batch in batches:
            entries = [entry for entry in found["speed"] if entry["batch"] == batch]
            ratio = targets.over(entries, rivals.OURS.name, ways, "seconds_per_query")
            cells.append(with_ends(ratio, "x"))
        rows.append((name, *cells))
    return Table(
        "ratios",
        f"How many times faster Sluis is, radius 31, {size_name(size)} indicators",
        ("than", *(_batch_name(batch) for batch in batches)),
        tuple(rows),
    )


def radii(size: int, found: dict[str, Any]) -> Table:
    """Queries a second by radius."""
    keys = list(dict.fromkeys((entry["radius_bits"], entry["batch"]) for entry in found["radii"]))
    by_cell = {(e["way"], e["radius_bits"], e["batch"]): e for e in found["radii"]}
    ways = list(dict.fromkeys(entry["way"] for entry in found["radii"]))
    recall: dict[str, list[str]] = {way: [] for way in ways}
    for entry in found["radii_agreement"]:
        recall[entry["way"]].append(_recall(entry))
    rows = [
        (
            way,
            *(with_ends(rates(by_cell[way, *key]["seconds_per_query"])) for key in keys),
            "; ".join(recall[way]),
        )
        for way in ways
    ]
    return Table(
        "radii",
        f"Queries a second by radius, {size_name(size)} indicators",
        ("way", *(f"r = {radius}, {_batch_name(batch)}" for radius, batch in keys), "recall"),
        tuple(rows),
        "Recall as above, radius by radius.",
    )


def latency(size: int, found: dict[str, Any]) -> Table:
    """Percentiles of single queries."""
    rows = [
        (
            entry["way"],
            *(duration(entry[name]) for name in ("p50", "p95", "p99", "max")),
            f"{entry['queries']:,}",
        )
        for entry in found["latency"]
    ]
    return Table(
        "latency",
        f"Time of one query, radius 31, {size_name(size)} indicators",
        ("way", "p50", "p95", "p99", "max", "queries"),
        tuple(rows),
        "Each query timed by itself, the call from Python included.",
    )


def growth(results: Results) -> list[Table]:
    """Cost a query by size, and the line through it."""
    tables = []
    for found in results.measured("growth").values():
        sizes = list(dict.fromkeys(point["indicators"] for point in found["points"]))
        by_cell = {
            (p["way"], p["batch"], p["indicators"]): timing.spread(p["seconds_per_query"]).median
            for p in found["points"]
        }
        rows = []
        for fit in found["fits"]:
            key = fit["way"], fit["batch"]
            rows.append(
                (
                    f"{fit['way']}, {_batch_name(fit['batch'])}",
                    *(number(by_cell[*key, size] * 1e6) for size in sizes),
                    _line(fit),
                    f"{fit['worst']:.0%}",
                    f"{fit['exponent']:.2f}",
                )
            )
        tables.append(
            Table(
                "growth",
                "Microseconds a query as indicators grow, radius 31",
                ("way", *(size_name(size) for size in sizes), "fit (N in millions)",
                 "farthest point", "exponent"),
                tuple(rows),
                "The fit is least squares of the relative error; the exponent p is that of the "
                "best power law N^p over the same points.",
            )
        )  # fmt: skip
    return tables


def building(results: Results) -> list[Table]:
    """Building, and for ours saving and opening."""
    found = results.measured("lookup")
    if not found:
        return []
    ways = list(dict.fromkeys(entry["way"] for one in found.values() for entry in one["build"]))
    rows = []
    for way in ways:
        cells = []
        for one in found.values():
            seconds = [entry["seconds"] for entry in one["build"] if entry["way"] == way]
            cells.append(duration(timing.spread(seconds[0]).median) if seconds else NONE)
        rows.append((way, *cells))
    saved = [one["saved"] for one in found.values()]
    ours = [
        ("saving", [duration(one["save_seconds"]) for one in saved]),
        ("bytes an indicator on disk",
         [number(one["bytes"] / size) for size, one in zip(found, saved, strict=True)]),
        ("opening, memory-mapped", [_median(one["open_seconds"]) for one in saved]),
        ("opening, every byte verified", [_median(one["open_verified_seconds"]) for one in saved]),
        ("first query after opening", [_median(one["first_query_seconds"]) for one in saved]),
    ]  # fmt: skip
    sizes = tuple(size_name(size) for size in found)
    return [
        Table("build", "Building, on one core", ("way", *sizes), tuple(rows)),
        Table(
            "saved",
            "A saved Sluis index",
            ("", *sizes),
            tuple((name, *cells) for name, cells in ours),
            "Medians; the files are in the operating system's cache.",
        ),
    ]


def memory(results: Results) -> list[Table]:
    """Resident memory in a fresh process."""
    found = results.measured("memory")
    if not found:
        return []
    ways = list(dict.fromkeys(entry["way"] for one in found.values() for entry in one["ways"]))
    rows = []
    for way in ways:
        cells = []
        for size, one in found.items():
            entries = [entry for entry in one["ways"] if entry["way"] == way]
            cells += [
                number(entries[0][key] / size) if entries else NONE
                for key in ("bytes", "peak_bytes")
            ]
        rows.append((way, *cells))
    heads = [head for size in found for head in (f"{size_name(size)}: held", "peak")]
    return [
        Table(
            "memory",
            "Bytes an indicator, each index in a fresh process",
            ("way", *heads),
            tuple(rows),
            "Growth of resident memory, the codes included; the peak also counts what building "
            "needs for a moment. An opened index shares its pages with every process that maps "
            "the same files, and has only those that queries have touched.",
        )
    ]


def hashes(results: Results) -> list[Table]:
    """Images a second, and equality."""
    tables = []
    for found in results.measured("hashing").values():
        images = found["tables"]
        ways = [entry["way"] for entry in images[0]["ways"]]
        heads: list[str] = []
        for one in images:
            heads += [f"{images_name(one)}: images/s", "ratio"]
        rows = []
        for way in ways:
            cells = []
            for one in images:
                seconds = {entry["way"]: entry["seconds_per_image"] for entry in one["ways"]}
                ratio = timing.ratio(seconds[way], seconds[hashing.THREATEXCHANGE])
                cells += [with_ends(rates(seconds[way])), f"{number(ratio.median)}x"]
            rows.append((way, *cells))
        tables.append(
            Table(
                "hashing",
                "JPEG bytes to code, one thread",
                ("way", *heads),
                tuple(rows),
                f"The ratio is to {hashing.THREATEXCHANGE}. "
                + "; ".join(
                    f"{images_name(one)}: {one['images']} images of {one['megapixels']:.2f} "
                    f"megapixels and {one['megabytes']:.2f} MB"
                    for one in images
                )
                + ". The large ones are enlarged photographs.",
            )
        )
        compared = []
        for one in images:
            agreement = one["agreement"]
            for mode in ("exact", "fast"):
                bits = agreement[mode]
                compared.append(
                    (
                        f"{images_name(one)}, {mode}",
                        _equal(bits, agreement["images"]),
                        f"{bits['quality_equal']} of {agreement['images']}",
                        f"{bits['mean_bits']:.2f}",
                        f"{bits['p99_bits']:.0f}",
                        str(bits["most_bits"]),
                    )
                )
        tables.append(
            Table(
                "equality",
                "Bits from the reference core (pdqhash, at full resolution)",
                ("images", "equal codes", "equal quality", "mean", "p99", "most"),
                tuple(compared),
                "A match is within 31 bits of an indicator: what a mode is off by comes out of it.",
            )
        )
    return tables


def views(results: Results) -> list[Table]:
    """What the profiles cost, and what they find."""
    tables = []
    for found in results.measured("views").values():
        sizes = found["tables"]
        profiles = [entry["way"] for entry in sizes[0]["ways"]]
        heads = [
            f"{images_name(one)}: {what}" for one in sizes for what in ("us/image", "look-ups")
        ]
        rows = []
        for place, profile in enumerate(profiles):
            cells = []
            for one in sizes:
                entry = one["ways"][place]
                spent = [1e6 * second for second in entry["seconds_per_image"]]
                cells += [with_ends(timing.spread(spent)), f"{entry['look_ups']:.1f}"]
            rows.append((profile, *cells))
        tables.append(
            Table(
                "views",
                "Decoded pixels to the codes of a profile, one core",
                ("profile", *heads),
                tuple(rows),
                "; ".join(
                    f"{images_name(one)}: {one['images']} images of {one['megapixels']:.2f} "
                    "megapixels"
                    for one in sizes
                )
                + ". Plain PDQ is part of every profile.",
            )
        )
        tables.append(
            Table(
                "found",
                "Photographs found after an edit, of those listed unedited",
                ("edit", *profiles),
                tuple(
                    (one["edit"], *(f"{100 * one[profile]:.0f} %" for profile in profiles))
                    for one in found["edits"]
                ),
                f"{found['images']} photographs, within 31 bits; with refine also near matches.",
            )
        )
    return tables


def sandbox(results: Results) -> list[Table]:
    """What it costs to decode elsewhere."""
    return [
        Table(
            "sandbox",
            "Examining JPEG photographs, digests included",
            ("profile", "", "images/s", f"over {sandboxing.HERE}"),
            tuple(
                (
                    one["profile"],
                    entry["way"],
                    with_ends(rates(entry["seconds_per_image"])),
                    with_ends(
                        targets.over(
                            one["ways"], entry["way"], [sandboxing.HERE], "seconds_per_image"
                        ),
                        "x",
                    ),
                )
                for one in found["tables"]
                for entry in one["ways"]
            ),
            f"{found['images']} photographs, {found['workers']} at once, in turns. Confined by: "
            f"{found['confined']}.",
        )
        for found in results.measured("sandbox").values()
    ]


def video(results: Results) -> list[Table]:
    """Frames a second of each way."""
    tables = []
    for found in results.measured("video").values():
        rows = []
        for entry in found["ways"]:
            ratio = targets.over(
                found["ways"], entry["way"], [films.REFERENCE], "seconds_per_frame"
            )
            rate = with_ends(rates(entry["seconds_per_frame"]))
            rows.append((entry["way"], rate, with_ends(ratio, "x")))
        tables.append(
            Table(
                "video",
                "Video, H.264, 1280 x 720, decoding included",
                ("", "frames/s", "over pdqhash"),
                tuple(rows),
                f"{found['frames']} frames of a camera that pans over photographs, one thread. At "
                f"quality 50 and more our codes, from luma, are {found['mean_bits']:.1f} bits from "
                f"those of pdqhash, from RGB, on average and {found['most_bits']} at most.",
            )
        )
    return tables


def candidates(results: Results) -> list[Table]:
    """Seals and the store."""
    rows = [
        (f"{what}, {entry['way']}", with_ends(rates(entry["seconds_per_candidate"])))
        for part, what in (("sealing", "sealed"), ("storing", "stored"))
        for found in results.measured(part).values()
        for entry in found["ways"]
    ]
    if not rows:
        return []
    return [
        Table(
            "candidates",
            "Candidates a second",
            ("", "candidates/s"),
            tuple(rows),
            "Sealed: one thread. Stored: over mutual TLS into SQLite (WAL, synchronous FULL); "
            "client and service share one process.",
        )
    ]


def scan(results: Results) -> list[Table]:
    """The whole scan beside the bare loop."""
    tables = []
    for found in results.measured("scan").values():
        rows = []
        for entry in found["ways"]:
            ratio = targets.over(found["ways"], entry["way"], ["bare"], "seconds_per_image")
            rate = with_ends(rates(entry["seconds_per_image"]))
            rows.append((_SCANS[entry["way"]], rate, with_ends(ratio)))
        tables.append(
            Table(
                "scan",
                "The whole scan",
                ("", "images/s", "of the bare loop"),
                tuple(rows),
                f"{found['images']:,} rows on {found['threads']} threads. A scan verifies its "
                "sets, starts and ends its engine and keeps a record of every item.",
            )
        )
    return tables


def _line(fit: dict[str, Any]) -> str:
    base, slope = fit["base_seconds"] * 1e6, fit["seconds_per_million"] * 1e6
    return f"{number(base)} + {number(slope)} N"


def _recall(agreed: dict[str, Any]) -> str:
    text = f"{agreed['found']:,} of {agreed['expected']:,}"
    if agreed["found"] < agreed["expected"]:
        text += f" ({agreed['found'] / agreed['expected']:.1%})"
    if agreed["false_pairs"] or agreed["repeated_pairs"]:
        text += f", {agreed['false_pairs']} false, {agreed['repeated_pairs']} repeated"
    return text


def _batch_name(batch: int) -> str:
    return "one at a time" if batch == 1 else f"batch {batch:,}"


def _equal(bits: dict[str, Any], images: int) -> str:
    text = f"{bits['equal']} of {images}"
    return f"{text}, {bits['failed']} failed" if bits["failed"] else text


def images_name(table: dict[str, Any]) -> str:
    """What kind of images a table of hashing is about."""
    return {"own": "own size", "large": "enlarged", "large, progressive": "enlarged, progressive"}[
        table["name"]
    ]


def _median(seconds: Sequence[float]) -> str:
    return duration(timing.spread(seconds).median)
