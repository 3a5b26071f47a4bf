"""The effectiveness page: every table and plot, and no share without its interval."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from benchmarks.effectiveness import page, plots, tables
from benchmarks.effectiveness.__main__ import main
from benchmarks.effectiveness.shares import percent, with_interval
from benchmarks.results import Results

FIGURES = Path(__file__).parent / "effectiveness.json"
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def results() -> Results:
    """Figures of a quick run."""
    return Results(FIGURES)


def test_the_page_is_whole(results: Results, tmp_path: Path) -> None:
    """Every table, every plot, and an alternative text for each."""
    page.write(results, tmp_path)
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*"))
    assert files == [
        "effectiveness.md",
        "effectiveness/hashers.svg",
        "effectiveness/nearest.svg",
        "effectiveness/radius.svg",
        "effectiveness/recall.svg",
        "effectiveness/results.json",
    ]
    text = (tmp_path / "effectiveness.md").read_text()
    made = tables.all_tables(results)
    assert {table.key for table in made} == {
        "summary", "recall photographs", "recall cut-outs", "recall tuned on", "kinds", "radii",
        "pairs", "closest pairs", "natural", "closest natural", "edited", "closest fitted", "tail", "hashers",
        "hashers by edit",
    }  # fmt: skip
    for table in made:
        assert all(len(row) == len(table.columns) for row in table.rows)
        if table.key in {"recall cut-outs", "recall tuned on"}:
            continue  # for the terminal: the page has them by kind of edit
        assert table.title in text
        for row in table.rows:
            assert f"| {' | '.join(row)} |" in text
    for plot in plots.all_plots(results):
        assert len(plot.alt) > 50
        assert f"![{plot.alt}](effectiveness/{plot.name}.svg)" in text


def test_the_same_figures_give_the_same_page(results: Results) -> None:
    """To the byte."""
    made = plots.all_plots(results)
    assert page.markdown(results, made) == page.markdown(Results(FIGURES), made)
    assert made[1].draw() == made[1].draw()


def test_no_share_of_recall_stands_alone(results: Results) -> None:
    """Each has its interval beside it."""
    for table in tables.all_tables(results):
        if table.key.startswith(("recall", "summary", "kinds", "radii")):
            cells = [cell for row in table.rows for cell in row[table.text_columns :]]
            shares = [cell for cell in cells if " of " not in cell]
            assert shares
            assert all(re.fullmatch(r"[<>\d.]+ \([<>\d.]+-[<>\d.]+\)", cell) for cell in shares)


def test_a_share_is_not_rounded_to_what_it_is_not() -> None:
    """Nearly all is not all, hardly any is not none."""
    assert [percent(share) for share in (0, 0.0004, 0.5, 0.9996, 1)] == [
        "0.0", "<0.1", "50.0", ">99.9", "100.0",
    ]  # fmt: skip
    assert with_interval(0, 10) == "0.0 (0.0-27.8)"
    assert with_interval(10, 10) == "100.0 (72.2-100.0)"


def test_the_committed_page_is_up_to_date() -> None:
    """It is what this code makes of the committed figures."""
    kept = Results(DOCS / "effectiveness" / "results.json")
    assert (DOCS / "effectiveness.md").read_text() == page.markdown(kept, plots.all_plots(kept))


def test_a_folder_of_nothing_teaches(tmp_path: Path) -> None:
    """The command says what to give."""
    app = Typer()
    app.command()(main)
    answer = CliRunner().invoke(app, ["--images", str(tmp_path)])
    assert answer.exit_code == 2
    assert "give a folder" in re.sub(r"[\s│]+", " ", answer.output)
