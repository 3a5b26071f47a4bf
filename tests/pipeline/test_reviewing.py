"""What a reviewer's list shows of each candidate: what decides, in 80 columns."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from pipeline.cli.reviewing import listing

NAME = "0123456789abcdef" * 2


def listed(width: int = 80, **changes: object) -> list[str]:
    """The lines of a list of one candidate, without its head."""
    described: dict[str, Any] = {
        "candidate_id": NAME, "state": "confirmed_once", "kind": "known", "set": "demo",
        "indicator": "cat.jpg", "method": "pdq", "distance_bits": 4, "radius_bits": 31,
        "share_percent": 0,
    }  # fmt: skip
    console = Console(file=io.StringIO(), width=width)
    console.print(listing([described | changes]))
    return console.file.getvalue().splitlines()[1:]


def how(**changes: object) -> list[str]:
    """What stands below the indicator's name."""
    return [line.strip() for line in listed(120, **changes)[1:]]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["pdq, 4 bits"]),
        ({"view": "full"}, ["pdq, 4 bits"]),
        ({"view": "full, rotated 90"}, ["pdq, 4 bits", "full, rotated 90"]),
        ({"method": "pdq_refined", "distance_bits": 1}, ["near match, 1 bit"]),
        ({"method": "vpdq", "share_percent": 85}, ["85 % of the video"]),
        ({"method": "sha256", "radius_bits": 0, "distance_bits": 0}, ["sha256"]),
        ({"inside": "entry 3"}, ["pdq, 4 bits", "inside: entry 3"]),
        ({"own_decision": "confirmed"}, ["pdq, 4 bits", "you: confirmed"]),
    ],
)
def test_a_list_says_what_decides(changes, expected):
    """A share for a video, a warning for a near match, where it lies, under which view."""
    assert how(**changes) == expected


def test_a_list_of_80_columns_keeps_ids_whole_and_breaks_at_words():
    """The id is what the next command takes."""
    view = "full, mirrored, as if cropped 5% on each side"
    lines = listed(view=view, method="pdq_refined")
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == [NAME, "confirmed_once", "known", "demo/cat.jpg"]
    assert " ".join(" ".join(lines).split()).endswith(f"near match, 4 bits {view}")


def test_a_name_that_is_too_long_is_cut_visibly_and_in_one_line():
    """`open` shows all of it."""
    lines = listed(indicator="x" * 90)
    assert lines[0].rstrip().endswith("x…")
    assert "pdq, 4 bits" in lines[1]
