"""Other hashers beside ours -> tables: thresholds at comparable error, and edit by edit."""

from __future__ import annotations

from typing import Any

from benchmarks.effectiveness.shares import group_interval, with_interval
from benchmarks.tables import NONE, Table, number


def hashers(peers: dict[str, Any]) -> Table:
    """Every way at its usual threshold and where it confuses as few as the others."""
    rows = []
    for way in peers["ways"]:
        at = way["thresholds"]
        rows.append(
            (
                way["name"],
                f"{way['views']:.3g}",
                f"{at['usual']} of {way['bits']}",
                f"{way['confused'][at['usual']]:,} of {way['pairs']:,}",
                number(way["by_chance"]) if way["by_chance"] > 1e-9 else "< 1e-9",
                _found(way, at["usual"], peers),
                str(at["none confused"]),
                _found(way, at["none confused"], peers),
                str(at["rare by chance"]),
                _found(way, at["rare by chance"], peers),
            )
        )
    return Table(
        "hashers",
        f"Hashers at comparable error: {peers['pictures']} photographs, all edits",
        (
            "way",
            "codes an upload",
            "usual threshold",
            "pairs confused",
            "strangers by chance in 10M",
            "recall, %",
            "widest without a confused pair",
            "recall, %",
            "widest with 1 stranger by chance in 1,000 uploads",
            "recall, %",
        ),
        tuple(rows),
        "Pairs confused: of all ordered pairs of two distinct photographs, unedited; the widest "
        "threshold without one hangs on the closest pair alone and is no advice. By chance: what "
        "an upload would match in a list of 10 million if codes were independent random bits. Real "
        "codes are not, so every hasher confuses more than that.",
    )


def by_edit(peers: dict[str, Any]) -> Table:
    """Every edit, all ways side by side, each at the strictest of its three thresholds."""
    return Table(
        "hashers by edit",
        "Recall in % by edit, each hasher at the narrowest of its three thresholds above",
        ("edit", *(f"{way['name']} ({way['thresholds']['comparable']})" for way in peers["ways"])),
        tuple(
            (name, *(with_interval(way["edits"][row], peers["pictures"]) for way in peers["ways"]))
            for row, name in enumerate(peers["edits"])
        ),
        "In brackets after a share Wilson's 95% interval, after a name the threshold in bits.",
    )


def _found(way: dict[str, Any], threshold: int, peers: dict[str, Any]) -> str:
    if threshold < 0:
        return NONE
    edits = way["tried"] // peers["pictures"]
    return group_interval(way["found"][threshold], peers["pictures"], edits)
