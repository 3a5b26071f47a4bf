"""Figures, ours beside the rivals'. `run` measures and prints; `page` writes docs/benchmarks.md.

`formats` hashes the same picture in every format and writes the table of docs/formats.md.
"""

from __future__ import annotations

import functools
import logging
import time
from pathlib import Path
from typing import Annotated, Final, Optional

import typer
from rich.console import Console

from benchmarks import corpora, page, scales, tables
from benchmarks.results import Results, taken
from benchmarks.units import PARTS, Session

_HERE: Final = Path(__file__).parent
_ROOT: Final = _HERE.parent
_PHOTOS: Final = _ROOT / "deploy" / "demo" / "photos"
_CACHE: Final = _HERE / ".cache"
_RESULTS: Final = _CACHE / "results.json"

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
out = Console(highlight=False)


@app.command()
def run(
    quick: Annotated[bool, typer.Option("--quick", help="Up to 100,000 indicators.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Up to 10 million; an hour, 8 GiB.")] = False,
    only: Annotated[
        Optional[str], typer.Option(help=f"Parts, separated by commas: {', '.join(PARTS)}.")
    ] = None,
    images: Annotated[
        Path,
        typer.Option(
            help="Folder of JPEG photographs to make codes from.", show_default="the demo's"
        ),
    ] = _PHOTOS,
    results: Annotated[
        Path, typer.Option(help="Where figures are kept.", show_default="benchmarks/.cache")
    ] = _RESULTS,
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave out what was measured with this very code.")
    ] = False,
) -> None:
    """Measure, print and keep the figures: up to a million indicators, in a quarter of an hour.

    Every part is kept as soon as it is done. A part that is measured again replaces its figures,
    so one part can be repeated with --only, and a stopped run be finished with --resume.
    """
    if quick and full:
        raise typer.BadParameter("give --quick or --full, not both")
    scale = scales.QUICK if quick else scales.FULL if full else scales.DEFAULT
    parts = _chosen(only)
    try:
        corpus = corpora.Corpora(images, _CACHE)
        kept = Results(results)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    logging.disable(logging.WARNING)  # Beam tells of clients it lacks
    about = taken(scale.name, corpus.description(), corpus.seed)
    started = time.perf_counter()
    for unit, measure in Session(scale, corpus).units(parts):
        if resume and kept.has(unit, about):
            _say(unit, "measured already")
            continue
        about = taken(scale.name, corpus.description(), corpus.seed)
        begun = time.perf_counter()
        kept.put(unit, about, measure(functools.partial(_say, unit)))
        _say(unit, f"done in {time.perf_counter() - begun:,.0f} s")
    out.print(page.terminal(tables.all_tables(kept)))
    out.print(f"{time.perf_counter() - started:,.0f} s. Figures: {results}. Page: make bench-page")


@app.command("page")
def write_page(
    results: Annotated[
        Path, typer.Option(help="Figures of a run.", show_default="those of the last one")
    ] = _RESULTS,
    docs: Annotated[Path, typer.Option(help="Folder for the page.", show_default="docs")] = _ROOT
    / "docs",
) -> None:
    """Write docs/benchmarks.md, its plots and its figures."""
    if not results.exists():
        raise typer.BadParameter(f"{results} is not there: run `make bench` first")
    kept = Results(results)
    page.write(kept, docs)
    out.print(f"{docs / 'benchmarks.md'} and {docs / 'benchmarks'}")


@app.command("formats")
def write_formats(
    docs: Annotated[Path, typer.Option(help="Folder of the page.", show_default="docs")] = _ROOT
    / "docs",
) -> None:
    """Hash the conformance set, ours and the peers', and write the table of docs/formats.md."""
    from benchmarks import formats

    rows = formats.measure(functools.partial(_say, "formats"))
    formats.write(rows, docs / "formats.md")
    out.print(docs / "formats.md")


def _chosen(only: str | None) -> tuple[str, ...]:
    if only is None:
        return PARTS
    names = tuple(name.strip() for name in only.split(","))
    unknown = sorted(set(names) - set(PARTS))
    if unknown:
        raise typer.BadParameter(f"no part {', '.join(unknown)}: there are {', '.join(PARTS)}")
    return names


def _say(unit: str, text: str) -> None:
    """A line of progress. No spinner: its thread would disturb what is timed."""
    out.print(f"[dim]{unit}: {text}[/dim]")


if __name__ == "__main__":
    app()
