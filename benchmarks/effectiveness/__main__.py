"""Recall per edit, false matches and their tail, beside other hashers: docs/effectiveness.md."""

from __future__ import annotations

import functools
import logging
import time
from pathlib import Path
from typing import Annotated, Final, Optional

import typer
from rich.console import Console

from benchmarks.effectiveness import edits, page, tables
from benchmarks.effectiveness.measure import Session
from benchmarks.effectiveness.pictures import Corpus, corpus
from benchmarks.page import terminal
from benchmarks.results import Results, taken

_ROOT: Final = Path(__file__).parents[2]
_PHOTOS: Final = _ROOT / "deploy" / "demo" / "photos"
_CACHE: Final = _ROOT / "benchmarks" / ".cache" / "effectiveness"
_QUICK: Final = 12  # pictures of each folder

out = Console(highlight=False)


def main(
    images: Annotated[
        Optional[list[Path]],
        typer.Option(help="Folder of photographs that nothing was tuned on, beside the demo's."),
    ] = None,
    simple: Annotated[
        Optional[list[Path]],
        typer.Option(help="Folder of cut-outs and drawings: uploads that look alike."),
    ] = None,
    tuned: Annotated[
        Optional[list[Path]],
        typer.Option(help="Folder of a set that views were chosen on: shown apart."),
    ] = None,
    most: Annotated[Optional[int], typer.Option(help="Most pictures of each folder.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help=f"{_QUICK} pictures of each folder; writes no page.")
    ] = False,
    docs: Annotated[
        Optional[Path], typer.Option(help="Where the page goes.", show_default="docs")
    ] = None,
) -> None:
    """Measure, print, and write the page. A stopped run goes on where it was."""
    most = _QUICK if quick else most
    try:
        corpora = _corpora(images or [], simple or [], tuned or [], most)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    logging.disable(logging.WARNING)
    started = time.perf_counter()
    session = Session(corpora, _CACHE, _say)
    results = Results(_CACHE / ("quick.json" if quick else "results.json"))
    results.units.clear()  # a page is of one run; what was measured is in the cache
    count = len(session.pictures)
    for name, measure in session.units():
        about = taken("quick" if quick else "full", {"count": count}, edits.SEED)
        results.put(name, about, measure())
        _say(f"{name}: done, {time.perf_counter() - started:,.0f} s so far")
    out.print(terminal(tables.all_tables(results)))
    if docs or not quick:
        page.write(results, docs or _ROOT / "docs")
        out.print(f"{(docs or _ROOT / 'docs') / 'effectiveness.md'}")


def _corpora(
    images: list[Path], simple: list[Path], tuned: list[Path], most: int | None
) -> tuple[Corpus, ...]:
    read = functools.partial(corpus, most=most)
    return (
        read(_PHOTOS, "photographs"),
        *(read(folder, "photographs") for folder in images),
        *(read(folder, "cut-outs") for folder in simple),
        *(read(folder, "tuned on") for folder in tuned),
    )


def _say(text: str) -> None:
    """A line of progress."""
    out.print(f"[dim]{text}[/dim]")


if __name__ == "__main__":
    typer.run(main)
