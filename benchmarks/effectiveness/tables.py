"""Counts of what was found -> tables with intervals; and every table in the order of the page."""

from __future__ import annotations

from typing import Any

from benchmarks.effectiveness import error_tables, peer_tables
from benchmarks.effectiveness.shares import (
    KIND_NAMES,
    RADIUS_BITS,
    group_interval,
    unit,
    with_interval,
)
from benchmarks.results import Results
from benchmarks.tables import NONE, Table


def all_tables(results: Results) -> list[Table]:
    """Every table that the results have figures for."""
    found: list[Table] = []
    if recall := unit(results, "recall"):
        found += [summary(recall, results), *by_edit(recall), by_kind(recall), by_radius(recall)]
    pairs, long_list = unit(results, "pairs"), unit(results, "natural")
    if pairs:
        found += [error_tables.all_pairs(pairs), error_tables.closest(pairs, "listed", "pairs")]
    if long_list:
        found += [
            error_tables.natural(long_list),
            error_tables.closest(long_list, "source", "natural"),
        ]
    if edited := unit(results, "edited"):
        found += [error_tables.edited_uploads(edited), error_tables.closest_fitted(edited)]
    if pairs and long_list:
        found.append(error_tables.tail(pairs, long_list))
    if peers := unit(results, "peers"):
        found += [peer_tables.hashers(peers), peer_tables.by_edit(peers)]
    return found


def summary(recall: dict[str, Any], results: Results) -> Table:
    """What each profile finds and confuses, in a line."""
    found = recall["kinds"].get("photographs") or next(iter(recall["kinds"].values()))
    names = list(found["groups"])
    pairs, edited = unit(results, "pairs"), unit(results, "edited")
    rows = []
    for column, profile in enumerate(recall["profiles"]):
        cells = []
        for one in found["groups"].values():
            within = one["within"][column][RADIUS_BITS]
            cells.append(group_interval(within, found["pictures"], one["edits"]))
        confused = NONE
        strangers = error_tables.strangers(edited, profile) if edited else NONE
        if pairs:
            seen = sum(pairs["histogram"][column][: RADIUS_BITS + 1])
            confused = f"{seen} of {pairs['pairs']:,}"
        rows.append((profile, *cells, confused, strangers))
    return Table(
        "summary",
        f"Recall in % by kind of edit, radius {RADIUS_BITS}, {found['pictures']} photographs",
        ("profile", *names, "false matches, pairs", "edited uploads, long list"),
        tuple(rows),
        "Mean over the edits of a kind. In brackets the 95% interval (Wilson) of as many "
        "independent tries as there are pictures: edits of one picture are not independent. False "
        "matches: of all pairs of two distinct pictures, and of edited uploads against a list of "
        "crops of other pictures.",
    )


def by_edit(recall: dict[str, Any]) -> list[Table]:
    """Every edit, every profile, a table for each kind of picture."""
    tables = []
    for kind, found in recall["kinds"].items():
        place = recall["radii"].index(RADIUS_BITS)
        rows = [
            (
                edit["name"],
                *(with_interval(within[place], found["pictures"]) for within in edit["within"]),
            )
            for edit in found["edits"]
        ]
        tables.append(
            Table(
                f"recall {kind}",
                f"Recall in %, radius {RADIUS_BITS}: {found['pictures']} {KIND_NAMES[kind]}",
                ("edit", *recall["profiles"]),
                tuple(rows),
                "In brackets Wilson's 95% interval.",
            )
        )
    return tables


def by_kind(recall: dict[str, Any]) -> Table:
    """Kinds of pictures side by side."""
    rows = []
    for kind, found in recall["kinds"].items():
        for column, profile in enumerate(recall["profiles"]):
            cells = [
                group_interval(one["within"][column][RADIUS_BITS], found["pictures"], one["edits"])
                for one in found["groups"].values()
            ]
            rows.append((f"{found['pictures']} {KIND_NAMES[kind]}", profile, *cells))
    groups = next(iter(recall["kinds"].values()))["groups"]
    return Table(
        "kinds",
        f"Recall in % by kind of picture, radius {RADIUS_BITS}",
        ("pictures", "profile", *groups),
        tuple(rows),
        text_columns=2,
    )


def by_radius(recall: dict[str, Any]) -> Table:
    """Mean over all edits by radius."""
    radii = (8, 15, 23, 31, 39, 47, 60)
    kind, found = next(iter(recall["kinds"].items()))
    edits = sum(one["edits"] for one in found["groups"].values())
    rows = []
    for column, profile in enumerate(recall["profiles"]):
        cells = []
        for radius in radii:
            within = sum(one["within"][column][radius] for one in found["groups"].values())
            cells.append(group_interval(within, found["pictures"], edits))
        rows.append((profile, *cells))
    return Table(
        "radii",
        f"Mean recall in % over all edits by radius: {found['pictures']} {KIND_NAMES[kind]}",
        ("profile", *(f"{radius} bits" for radius in radii)),
        tuple(rows),
        'Of "refine": the radius at which a fitted box is accepted; candidates are those within 47 '
        "bits, or within the radius where that is larger.",
    )
