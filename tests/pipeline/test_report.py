"""A run's figures: right, readable, and in a page that needs nothing from outside."""

from __future__ import annotations

import html
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from rich.console import Console
from support.settings import SEEDED

from pipeline import report
from pipeline.items import Tally

START = 1_780_000_000.0
"""2026-05-28 20:26:40 UTC."""


def indicator_set(number: int = 0, **changes: object) -> dict[str, Any]:
    """An indicator set as report.json describes it."""
    values = {
        "set_id": f"set-{number}",
        "kind": "known",
        "version": 3,
        "algorithm": "pdq",
        "radius_bits": 31,
        "profile": "standard",
        "min_share_percent": 0,
        "indicators": 12_345 + number,
        "videos": None,
        "data_sha256": "ab" * 32,
    }
    return values | changes


def figures(**changes: object) -> dict[str, Any]:
    """report.json of a run, as `run` closes it: 1,000 items a second for ten seconds."""
    values = {
        "order": "EXAMPLE-2026-0001",
        "source": "/somewhere/items.parquet",
        "source_sha256": "cd" * 32,
        "indicator_sets": [
            indicator_set(),
            indicator_set(1, set_id="listed", kind="url", algorithm="url", radius_bits=0),
        ],
        "format": "sluis-run/1",
        "run_id": "0123456789abcdef",
        "started_at": START,
        "rows": 10_000,
        "chunk_rows": 8_192,
        "tally": {
            "rows": 10_000,
            "clear": 7_654,
            "candidate": 321,
            "skipped": {"e2ee": 1_200, "state_account": 34, "quality_too_low": 700},
            "failed": {"decode: truncated": 80, "read: not_found": 11},
            "distances": {"set-0: 0": 200, "set-0: 4": 71, "set-0: 31": 30, "listed: 0": 20},
            "duplicates": 45,
        },
        "seconds": {"read, decode, hash": 7.5, "match": 1.25, "seal": 0.5, "emit": 0.75},
        "finished": [[START + second, 1_000, 1.0] for second in range(1, 11)],
        "completed_at": START + 10.5,
    }
    return values | changes


def small(**counts: object) -> dict[str, Any]:
    """A tally with little in it; rows follow from the rest."""
    tally = Tally.from_json(
        {
            "rows": 0,
            "clear": 0,
            "candidate": 0,
            "skipped": {},
            "failed": {},
            "distances": {},
            "duplicates": 0,
        }
        | counts
    )
    tally.rows = tally.clear + tally.candidate + tally.skipped_total + tally.failed_total
    return tally.to_json()


def page(folder: Path, values: dict[str, Any]) -> str:
    """The HTML page of a run's figures, which went through JSON as they do."""
    report.write_html(json.loads(json.dumps(values)), folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


def table(values: dict[str, Any], folder: Path = Path("runs/one"), width: int = 160) -> str:
    """What the terminal shows."""
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(report.terminal(json.loads(json.dumps(values)), folder))
    return console.file.getvalue()


class Outside(HTMLParser):
    """Collects what a page would fetch or run, and what of it is not closed."""

    ATTRIBUTES = ("src", "href", "xlink:href", "srcset", "data", "action", "poster", "background")
    EMPTY = frozenset({"meta", "br", "link", "img", "hr", "input"})

    def __init__(self) -> None:
        """Start with nothing."""
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self._open: list[str] = []
        self.unbalanced: list[str] = []

    def handle_starttag(self, tag, attrs):
        """Note what the tag refers to."""
        self.tags.append(tag)
        self.references += [v for name, v in attrs if name in self.ATTRIBUTES and v]
        self.references += re.findall(
            r"url\(\s*['\"]?([^)'\"]+)", " ".join(v or "" for _, v in attrs)
        )
        if tag not in self.EMPTY:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        """A tag that closes itself."""
        self.handle_starttag(tag, attrs)
        if tag not in self.EMPTY:
            self._open.pop()

    def handle_endtag(self, tag):
        """A closing tag closes the last one opened."""
        if not self._open or self._open.pop() != tag:
            self.unbalanced.append(tag)

    def close(self):
        """What is still open then was never closed."""
        super().close()
        self.unbalanced += self._open


def parsed(text: str) -> Outside:
    """The page, parsed."""
    parser = Outside()
    parser.feed(text)
    parser.close()
    return parser


def words(text: str) -> str:
    """What a reader sees of a page: its text, with blanks run together."""
    text = re.sub(r"<style.*?</style>", " ", text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


def no_strange_numbers(text: str) -> bool:
    """Whether no figure came out as not-a-number or infinity."""
    return not re.search(
        r"(?<![a-z])-?(nan|inf|infinity)(?![a-z])", words(text), re.IGNORECASE
    ) and (not re.search(r"[\"\s,](nan|-?inf)[\"\s,]", text, re.IGNORECASE))


# --- the page ---------------------------------------------------------------------------------


def test_the_page_shows_the_runs_figures(tmp_path):
    """Every total, reason, set and time of the run stands on the page."""
    text = words(page(tmp_path, figures()))
    for expected in (
        "Detection order EXAMPLE-2026-0001",
        "2026-05-28 20:26:40 UTC to 2026-05-28 20:26:50 UTC",
        "10,000 items in",
        "7,654 clear",
        "321 candidates",
        "1,934 skipped",
        "91 failed",
        "1,000 items / s",
        "10,000 in = 7,654 clear + 321 candidate + 1,934 skipped + 91 failed",
        "45 of the candidates were already known there",
        "10.0 seconds at work",
        "set-0 known 3 pdq standard 31 bits 12,345",
        "listed url 3 url exact 12,346",
        "skipped: e2ee",
        "skipped: state_account",
        "failed: decode: truncated",
        "failed: read: not_found",
        "read, decode, hash",
        "7.50 s",
        "Run 0123456789abcdef",
    ):
        assert expected in text


def test_the_page_needs_nothing_from_outside(tmp_path):
    """No script, image, font or style is fetched: every reference points into the page."""
    text = page(tmp_path, figures())
    found = parsed(text)
    assert [r for r in found.references if not r.startswith("#")] == []
    assert not {"script", "link", "iframe", "img", "object", "embed", "form"} & set(found.tags)
    assert "<script" not in text
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", text)
    assert "@import" not in text


def test_every_tag_of_the_page_is_closed(tmp_path):
    """The page is well formed, its drawings included."""
    found = parsed(page(tmp_path, figures()))
    assert found.unbalanced == []
    assert found.tags.count("svg") == 5


@pytest.mark.parametrize(
    "nasty", ["<b>x</b>", "\"'&</title><script>alert(1)</script>", "{{ 7*7 }}"]
)
def test_what_the_order_says_is_text(tmp_path, nasty):
    """A reference, a set's id or a reason with markup in it is shown as it is written."""
    values = figures(
        order=nasty,
        run_id=nasty,
        indicator_sets=[indicator_set(set_id=nasty, kind=nasty, algorithm=nasty)],
        tally=small(clear=3, candidate=2, failed={nasty: 1}, distances={f"{nasty}: 3": 2}),
        seconds={nasty: 1.0},
    )
    text = page(tmp_path, values)
    assert "<b>x" not in text
    assert "<script" not in text
    assert f"Detection order {' '.join(nasty.split())}" in words(text)
    assert f"failed: {nasty}" in words(text)
    assert parsed(text).unbalanced == []


def test_a_run_without_candidates_and_failures_has_a_page(tmp_path):
    """A clean run has no plot of distances or reasons, and nothing to apologise for."""
    text = words(page(tmp_path, figures(tally=small(clear=10_000))))
    assert "0 candidates" in text
    assert "0 failed" in text
    assert "Distances of candidates" not in text
    assert "Why items were skipped" not in text
    assert "already known there" not in text
    assert no_strange_numbers(text)


def test_a_run_of_one_batch_has_a_page(tmp_path):
    """One batch, and one item in it, gives figures and no plot over time."""
    values = figures(
        tally=small(candidate=1, distances={"set-0: 31": 1}),
        finished=[[START + 0.25, 1, 0.25]],
        completed_at=START + 0.3,
        seconds={"match": 0.25},
    )
    text = page(tmp_path, values)
    assert "1 item in" in words(text)
    assert "1 candidate " in words(text)
    assert "4 items / s" in words(text)
    assert "Throughput over time" not in words(text)
    assert no_strange_numbers(text)


def test_a_run_without_measured_time_has_a_page(tmp_path):
    """A run whose clock stood still has no rate, and divides by nothing."""
    values = figures(
        tally=small(clear=5), finished=[[START, 2, 0.0], [START, 2, 0.0], [START, 1, 0.0]], completed_at=START,
        seconds={},
    )  # fmt: skip
    text = page(tmp_path, values)
    assert "items / s" not in words(text)
    assert no_strange_numbers(text)


def test_a_set_of_videos_says_how_it_matches(tmp_path):
    """Its radius and least share decide, and it is counted in videos: frames alone say little."""
    videos = indicator_set(algorithm="vpdq", min_share_percent=85, videos=1, profile="thorough")
    text = words(page(tmp_path, figures(indicator_sets=[videos])))
    assert "set-0 known 3 vpdq thorough 31 bits 85 % 1 video (12,345 frames)" in text


def test_a_report_from_before_views_and_videos_were_told_still_has_a_page(tmp_path):
    """`sluis report` shows old runs too."""
    old = indicator_set(algorithm="vpdq")
    for name in ("profile", "min_share_percent", "videos"):
        del old[name]
    assert "vpdq 31 bits 12,345 frames" in words(page(tmp_path, figures(indicator_sets=[old])))


def test_what_was_inside_items_is_counted_and_rated(tmp_path):
    """One archive of 5,000 parts is not one item's work; outcomes, rate and totals say the same."""
    tally = small(clear=5_001) | {"rows": 1, "inner": 5_000}
    values = figures(tally=tally, seconds={"match": 10.0}, decoders_confined_by="system calls")
    text, shown = words(page(tmp_path, values)), table(values)
    assert "1 item in 5,000 parts inside" in text
    assert "5,001 in (1 item and 5,000 parts inside) = 5,001 clear" in text
    assert "500 items and parts / s" in text
    assert row(shown, "in").startswith("in 5,001 1 item and 5,000 parts inside = clear")
    assert "500 items and parts/s" in shown
    for one in (text, shown):
        assert "ecoders confined by: system calls" in one


@pytest.mark.parametrize("number", [1, 6, 40])
def test_a_run_with_many_sets_has_a_page(tmp_path, number):
    """Every set is listed and drawn, however many there are."""
    values = figures(
        indicator_sets=[indicator_set(n) for n in range(number)],
        tally=small(
            candidate=number * 3, distances={f"set-{n}: {n % 32}": 3 for n in range(number)}
        ),
    )
    text = page(tmp_path, values)
    for n in range(number):
        assert f"set-{n} known 3 pdq standard 31 bits {12_345 + n:,}" in words(text)
    assert parsed(text).unbalanced == []
    assert no_strange_numbers(text)


def test_a_run_of_millions_has_a_page(tmp_path):
    """Large figures are grouped, and many batches are drawn in a bounded number of steps."""
    rows = 123_456_789
    values = figures(
        tally=small(clear=rows - 7, failed={"read: unreadable": 7}),
        finished=[[START + n, rows // 5000, 1.0] for n in range(1, 5001)],
    )
    text = page(tmp_path, values)
    assert "123,456,789 items in" in words(text)
    assert len(text) < 400_000


def test_pauses_of_a_resumed_run_do_not_count(tmp_path):
    """A night between two sessions is no time at work, so it does not lower the rate."""
    night = 12 * 3600
    finished = [[START + n, 100, 1.0] for n in range(1, 6)]
    finished += [[START + night + n, 100, 1.0] for n in range(1, 6)]
    values = figures(tally=small(clear=1000), finished=finished, seconds={"match": 10.0})
    text = words(page(tmp_path, values))
    assert "10.0 seconds at work" in text
    assert "100 items / s" in text


@pytest.mark.parametrize("seconds", [59, 61, 600])
def test_slow_batches_do_not_raise_the_rate(tmp_path, seconds):
    """Batches that each take minutes are time at work: the rate is not more than was done."""
    finished = [[START + seconds * n, 100, seconds] for n in range(1, 7)]
    values = figures(tally=small(clear=600), finished=finished, seconds={"match": 6.0 * seconds})
    found = re.search(r"([\d,.]+) items / s", words(page(tmp_path, values)))
    shown = float(found.group(1).replace(",", "")) if found else 0.0
    assert shown <= 600 / (6 * seconds) + 0.5


REASON = st.sampled_from(["e2ee", "state_account", "outside_period", "no_indicators"])
FAULT = st.sampled_from(["decode: truncated", "read: not_found", "emit: malformed"])
COUNT = st.integers(1, 10**9)


@settings(SEEDED, max_examples=12, phases=[Phase.explicit, Phase.generate])  # no slow shrinking
@given(
    clear=st.integers(0, 10**9),
    candidate=st.integers(0, 10**6),
    skipped=st.dictionaries(REASON, COUNT, max_size=4),
    failed=st.dictionaries(FAULT, COUNT, max_size=3),
    distances=st.dictionaries(
        st.builds("set-{}: {}".format, st.integers(0, 2), st.integers(0, 64)), COUNT, max_size=6
    ),
    gaps=st.lists(st.floats(0, 1e5), max_size=8),
    spent=st.dictionaries(st.sampled_from(["match", "seal", "emit"]), st.floats(0, 1e7)),
)
def test_every_run_has_a_page_and_a_table(
    tmp_path, clear, candidate, skipped, failed, distances, gaps, spent
):
    """Whatever was counted, both say so, well formed and without strange numbers."""
    tally = small(
        clear=clear, candidate=candidate, skipped=skipped, failed=failed, distances=distances
    )
    finished = [[START + sum(gaps[: n + 1]), 1, gap] for n, gap in enumerate(gaps)]
    values = figures(tally=tally, finished=finished, seconds=spent)
    text = page(tmp_path, values)
    assert parsed(text).unbalanced == []
    shown = table(values)
    for total in (tally["rows"], clear, candidate, sum(skipped.values()), sum(failed.values())):
        assert f"{total:,}" in words(text)
        assert f"{total:,}" in shown
    assert no_strange_numbers(text)
    assert no_strange_numbers(shown)


# --- the table --------------------------------------------------------------------------------


def row(text: str, name: str) -> str:
    """The table's row of an outcome, with blanks run together."""
    (line,) = [line for line in text.splitlines() if re.match(rf"\W*{name} ", line)]
    return " ".join(re.sub(r"[│┃]", " ", line).split())


def test_the_table_shows_the_runs_figures():
    """Every outcome has its row, with its parts; rate and files follow."""
    text = table(figures())
    assert "Order EXAMPLE-2026-0001" in text
    assert row(text, "clear").startswith("clear 7,654 ")
    assert row(text, "candidate") == "candidate 321 45 already known there"
    assert row(text, "skipped") == "skipped 1,934 1,200 e2ee, 700 quality_too_low, 34 state_account"
    assert row(text, "failed") == "failed 91 80 decode: truncated, 11 read: not_found"
    assert row(text, "in").startswith("in 10,000 ")
    assert "1,000 items/s" in text
    assert "runs/one/failed.parquet" in text
    assert "runs/one/report.html" in text


def test_the_table_of_a_clean_run_speaks_of_no_failures():
    """Without failures no file of failures is pointed to, and without repeats none are counted."""
    text = table(figures(tally=small(clear=10_000)))
    assert row(text, "candidate") == "candidate 0"
    assert row(text, "failed") == "failed 0"
    assert "failed.parquet" not in text
    assert "already known" not in text


def test_the_table_of_a_run_without_time_has_no_rate():
    """A rate that cannot be told is left out."""
    text = table(figures(tally=small(clear=1), finished=[], seconds={}))
    assert "items/s" not in text
    assert no_strange_numbers(text)


@pytest.mark.parametrize("reference", ["ORD [a] 7", "ORD [/] 7", "ORD [bold]7[/bold]", "[red]"])
def test_the_table_shows_an_order_with_brackets_as_it_is(reference):
    """A reference with brackets is no markup: it is shown, and ends no run in an error."""
    assert f"Order {reference}" in table(figures(order=reference))


@pytest.mark.parametrize("name", ["runs/[a]", "runs/[/]"])
def test_the_table_shows_a_folder_with_brackets_as_it_is(name):
    """A run folder with brackets in its name is no markup."""
    assert f"{name}/report.html" in table(figures(), Path(name))


def test_the_table_fits_a_narrow_terminal():
    """In eighty columns every figure is still there."""
    text = table(figures(), width=80)
    assert max(len(line) for line in text.splitlines()) <= 80
    for figure in ("10,000", "7,654", "321", "1,934", "91"):
        assert figure in text
