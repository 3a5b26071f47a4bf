"""Other hashers beside ours -> tables: thresholds at comparable error, and edit by edit."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.effectiveness.shares import group_interval, with_interval
from benchmarks.tables import NONE, Table


def widest_without(way: dict[str, Any], most: int = 0) -> int:
    """The widest threshold at which no more than `most` pairs are confused; -1 for none."""
    return int(np.searchsorted(way["confused"], most, side="right")) - 1


def hashers(peers: dict[str, Any]) -> Table:
    """Every way at its usual threshold and where it confuses as few as the others."""
    rows = []
    allowed = max(1, next(iter(peers["ways"]))["pairs"] // 10_000)
    for way in peers["ways"]:
        usual = way["usual_bits"]
        cells = [
            way["name"],
            f"{usual} of {way['bits']}",
            f"{way['confused'][usual]:,} of {way['pairs']:,}",
            _found(way, usual, peers),
        ]
        for most in (0, allowed):
            threshold = widest_without(way, most)
            cells += [str(threshold), _found(way, threshold, peers)]
        rows.append(tuple(cells))
    return Table(
        "hashers",
        f"Hashers at comparable error: {peers['pictures']} photographs, all edits",
        (
            "way", "usual threshold", "pairs confused there", "recall there, %",
            "widest without a confused pair", "recall there, %",
            f"widest with {allowed} in {peers['ways'][0]['pairs']:,}", "recall there, %",
        ),
        tuple(rows),
        "Confused: of all ordered pairs of two distinct photographs, unedited. The widest "
        "threshold hangs on the closest pair alone, and is no advice: a list of millions needs a "
        "narrower one.",
    )  # fmt: skip


def by_edit(peers: dict[str, Any]) -> Table:
    """Every edit at the widest threshold without a confused pair, all ways side by side."""
    names = [way["name"] for way in peers["ways"]]
    at = [widest_without(way) if way["bits"] == 64 else way["usual_bits"] for way in peers["ways"]]
    rows = [
        (
            name,
            *(
                with_interval(way["edits"][row][threshold], peers["pictures"])
                for way, threshold in zip(peers["ways"], at, strict=True)
            ),
        )
        for row, name in enumerate(peers["edits"])
    ]
    return Table(
        "hashers by edit",
        "Recall in % by edit: PDQ at 31 of 256 bits, 64-bit hashes at their widest threshold "
        "without a confused pair",
        ("edit", *(f"{name} ({threshold})" for name, threshold in zip(names, at, strict=True))),
        tuple(rows),
        "In brackets Wilson's 95% interval.",
    )


def _found(way: dict[str, Any], threshold: int, peers: dict[str, Any]) -> str:
    if threshold < 0:
        return NONE
    edits = way["tried"] // peers["pictures"]
    return group_interval(way["found"][threshold], peers["pictures"], edits)
