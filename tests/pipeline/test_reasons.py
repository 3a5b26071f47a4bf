"""Every reason that the program gives an item stands in docs/manifests.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from matchers.examine import SKIP_REASONS
from matchers.scanner import QUALITY_TOO_LOW
from pipeline import gate, matching
from pipeline.ledger import again

REPOSITORY = Path(__file__).parents[2]
MANUAL = (REPOSITORY / "docs" / "manifests.md").read_text(encoding="utf-8").split("## Reasons")[1]
NAMED = set(re.findall(r"`([a-z_0-9]+)`", MANUAL))


def raised() -> set[str]:
    """The words that are raised as an item's fault, as the sources write them."""
    pattern = re.compile(
        r'(?:DecodeError|UrlError)\(\s*"([a-z_]+)"|ItemError\("[a-z]+", "([a-z_]+)"\)'
    )
    return {
        one or other
        for folder in ("matchers", "pipeline")
        for path in (REPOSITORY / folder).rglob("*.py")
        for one, other in pattern.findall(path.read_text(encoding="utf-8"))
    }


def test_every_fault_that_is_raised_is_listed():
    """A provider counts by these words, and looks them up there."""
    found = raised()
    assert {"truncated", "timed_out", "not_a_url", "unreadable"} <= found
    assert found - NAMED == set()


@pytest.mark.parametrize(
    "words",
    [
        set(gate.REASONS),
        SKIP_REASONS,
        {QUALITY_TOO_LOW, matching.REJECTED_BEFORE, matching.SAME_INDICATOR_AGAIN},
        {again.WITHDRAWN, again.NO_LONGER_KEPT},
    ],
)
def test_every_way_to_be_skipped_is_listed(words):
    """Those of the gate, of what is inside containers, and of hits that are not sent."""
    assert words - NAMED == set()
