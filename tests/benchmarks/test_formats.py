"""The table of docs/formats.md: of the whole set, and put where it belongs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import formats
from benchmarks.formats import OURS, REFERENCE, THREATEXCHANGE, Row
from tests.conformance.ways import WAYS, Stored

HASHERS = (OURS, THREATEXCHANGE, REFERENCE)
PAGE = Path(__file__).parents[2] / "docs" / "formats.md"


def committed() -> list[Row]:
    """The rows of the committed page."""
    cells = r"\| ([^|]+) \| (\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|"
    return [
        Row(way, int(bound), dict(zip(HASHERS, map(bits, found), strict=True)))
        for way, bound, *found in re.findall(cells, PAGE.read_text(encoding="utf-8"))
    ]


def bits(cell: str) -> int | None:
    """A cell read back."""
    return None if cell == "refused" else int(cell.strip("*"))


def test_the_committed_table_is_of_the_whole_set_with_its_bounds():
    """Whoever adds a way or moves a bound: `make bench-formats`."""
    rows = committed()
    assert [(row.way, row.bound_bits) for row in rows] == [(n, w.bits) for n, w in WAYS.items()]
    for row in rows:
        ours = row.worst_bits[OURS]
        assert ours is not None
        assert ours <= row.bound_bits
    assert formats.table(rows) in PAGE.read_text(encoding="utf-8")


def test_a_peers_worst_code_counts_and_none_is_a_refusal():
    """A peer that fails on one file of a row does not hash that kind."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[20:40, 10:50] = 200
    stored = [Stored(b"1", {"as_shown": pixels}), Stored(b"2", {"as_shown": pixels})]
    codes = {b"1": formats.judge.shown_code(stored[0])}
    assert formats._worst(stored[:1], codes.__getitem__) == 0
    assert formats._worst(stored, codes.__getitem__) is None
    codes[b"2"] = codes[b"1"] ^ np.uint8(3)
    assert formats._worst(stored, codes.__getitem__) == 64


def test_the_table_counts_what_is_within_the_radius():
    """31 bits are found, 32 are not, and neither is a refusal."""
    worst = {OURS: 0, THREATEXCHANGE: 31, REFERENCE: 32}
    text = formats.table([Row("a", 2, worst), Row("b", 2, {**worst, THREATEXCHANGE: None})])
    assert "| a | 2 | 0 | 31 | **32** |\n| b | 2 | 0 | refused | **32** |\n" in text
    assert "| **2 of 2** | **1 of 2** | **0 of 2** |" in text


def test_the_table_takes_the_place_of_the_one_before(tmp_path):
    """What stands around it stays; a page without a place for it is refused."""
    page = tmp_path / "formats.md"
    page.write_text(f"before\n{formats.START}\nold\n{formats.END}\nafter\n")
    formats.write([Row("a", 2, {OURS: 0, THREATEXCHANGE: 1, REFERENCE: 2})], page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "| a | 2 | 0 | 1 | 2 |" in text
    assert "old" not in text
    page.write_text("no place")
    with pytest.raises(ValueError, match="put them where"):
        formats.write([], page)
