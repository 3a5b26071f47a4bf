"""The page: every table and plot, the same for the same figures, and the committed one up to date."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import page, plots, tables, targets
from benchmarks.__main__ import app
from benchmarks.corpora import Corpora
from benchmarks.results import Results
from benchmarks.timing import Spread

FIGURES = Path(__file__).parent / "results.json"
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def results() -> Results:
    """Figures of a run, cut down."""
    return Results(FIGURES)


def test_the_page_is_whole(results: Results, tmp_path: Path) -> None:
    """Every table, every plot, and an alternative text for each."""
    page.write(results, tmp_path)
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*"))
    assert files == [
        "benchmarks.md",
        "benchmarks/growth.svg",
        "benchmarks/hashing.svg",
        "benchmarks/latency.svg",
        "benchmarks/results.json",
        "benchmarks/throughput.svg",
    ]
    text = (tmp_path / "benchmarks.md").read_text()
    made = tables.all_tables(results)
    assert {table.key for table in made} == {
        "goals", "corpus", "speed", "ratios", "radii", "latency", "growth", "build", "saved",
        "memory", "hashing", "equality", "video", "views", "found", "sandbox", "candidates", "scan",
    }  # fmt: skip
    for table in made:
        assert table.title in text
        assert all(len(row) == len(table.columns) for row in table.rows)
        for row in table.rows:
            assert f"| {' | '.join(row)} |" in text
    for plot in plots.all_plots(results):
        assert len(plot.alt) > 50
        assert f"![{plot.alt}](benchmarks/{plot.name}.svg)" in text


def test_the_same_figures_give_the_same_page(results: Results) -> None:
    """To the byte, so that a difference in the repository is a difference of figures."""
    plot = next(plot for plot in plots.all_plots(results) if plot.name == "hashing")
    assert plot.draw() == plot.draw()
    pages = {page.markdown(Results(FIGURES), plots.all_plots(results)) for _ in range(2)}
    assert len(pages) == 1


def test_figures_survive_their_file(results: Results, tmp_path: Path) -> None:
    """What is committed beside the page is enough to write it again."""
    results.write(tmp_path / "results.json")
    again = Results(tmp_path / "results.json")
    assert page.markdown(again, []) == page.markdown(results, [])


def test_the_committed_page_is_that_of_the_committed_figures() -> None:
    """No figure was changed by hand, and no change of the page forgotten: `make bench-page`."""
    results = Results(DOCS / "benchmarks" / "results.json")
    assert results.units
    expected = page.markdown(results, plots.all_plots(results))
    assert (DOCS / "benchmarks.md").read_text() == expected


def test_part_of_the_figures_gives_part_of_the_page(results: Results) -> None:
    """A run of one part has a page too, and says what was not measured."""
    results.units = {"sealing": results.units["sealing"]}
    assert [table.key for table in tables.all_tables(results)] == ["goals", "candidates"]
    assert plots.all_plots(results) == []
    text = page.markdown(results, [])
    assert "| seals | - | at least 3,000/s |" in text
    assert text.count("not measured") == len(targets.TARGETS) - 1


def test_units_of_different_runs_say_so(results: Results) -> None:
    """Figures of another machine or commit do not hide among the others."""
    results.units["scan"]["taken"]["commit"] = "ffffffffff"
    text = page.markdown(results, [])
    assert "commit ffffffffff" in text
    assert "(scan)" in text


def test_verdicts() -> None:
    """The median decides; a limit may be a lower or an upper one."""
    lower = dataclasses.replace(targets.TARGETS[0], reach=10, at_most=False)
    upper = dataclasses.replace(lower, at_most=True)
    assert lower.verdict(Spread(10, 1, 99)) == "reached"
    assert lower.verdict(Spread(9.9, 1, 99)) == "missed"
    assert upper.verdict(Spread(10, 1, 99)) == "reached"
    assert upper.verdict(Spread(10.1, 1, 99)) == "missed"
    assert upper.verdict(None) == "not measured"


def test_ratio_is_to_the_best_of_the_rivals() -> None:
    """Not to whichever is slow."""
    entries = [
        {"way": "ours", "s": [1.0, 2.0]},
        {"way": "slow", "s": [50.0, 90.0]},
        {"way": "best", "s": [3.0, 8.0]},
    ]
    assert targets.over(entries, "ours", ["slow", "best"], "s") == Spread(3.5, 3, 4)
    with pytest.raises(KeyError, match="none of"):
        targets.over(entries, "ours", ["absent"], "s")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.01234, "0.0123"), (0.9996, "1.00"), (12.34, "12.3"), (999.6, "1,000"),
     (1_234_567, "1,230,000")],
)  # fmt: skip
def test_numbers_have_three_digits(value: float, text: str) -> None:
    """Whatever their size."""
    assert tables.number(value) == text


def test_results_are_measured_again_when_the_code_changes(tmp_path: Path) -> None:
    """A resumed run leaves out only what the same code measured on the same machine."""
    kept = Results(FIGURES)
    about = kept.units["sealing"]["taken"]
    assert kept.has("sealing", about)
    assert not kept.has("sealing", {**about, "commit": "ffffffffff"})
    assert not kept.has("sealing", {**about, "scale": "full"})
    assert not kept.has("never", about)
    kept.path = tmp_path / "results.json"
    corpus = Corpora(DOCS.parent / "deploy" / "demo" / "photos", tmp_path)
    about = {**about, "photos": corpus.description()}
    kept.put("sealing", about, {"ways": []})
    assert Results(kept.path).measured("sealing") == {0: {"ways": []}}
    assert Results(kept.path).has("sealing", about)


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"format": "another"})])
def test_other_files_are_no_results(tmp_path: Path, content: str) -> None:
    """And are not overwritten in silence."""
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="remove it"):
        Results(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--quick", "--full"], "not both"),
        (["run", "--only", "lookup,cooking"], "no part cooking"),
        (["run", "--images", "/nowhere"], "give a"),
        (["page", "--results", "/nowhere/results.json"], "make bench"),
    ],
)
def test_mistakes_are_told(arguments: list[str], message: str) -> None:
    """Before anything is measured."""
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.output.replace("│", " ").split())
