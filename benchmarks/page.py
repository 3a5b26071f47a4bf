"""Results -> `docs/benchmarks.md` with its plots, and the tables that end a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.console import Group
from rich.table import Table as RichTable

from benchmarks import tables
from benchmarks.plots import Plot, all_plots
from benchmarks.results import Results
from benchmarks.tables import Table

FOLDER: Final = "benchmarks"  # beside the page


class _Section(NamedTuple):
    heading: str
    tables: tuple[str, ...]
    plots: tuple[str, ...] = ()
    text: str = ""


_SECTIONS: Final = (
    _Section(
        "The codes",
        ("corpus",),
        text="""\
A corpus is made of random crops of photographs by a seeded generator (`benchmarks/corpora.py`):
each crop is hashed in all eight rotations and reflections, and what has a quality under 50 is left
out, as lists do. Every fifth photograph is kept for queries, so that a query matches nothing, as
almost every upload does; one query in 10,000 has a match planted.""",
    ),
    _Section(
        "Lookup",
        ("speed", "ratios"),
        ("throughput",),
        """\
Every indicator within 31 bits, on one core. All ways were built in one process from the same codes
and asked the same queries.""",
    ),
    _Section("Other radii", ("radii",)),
    _Section("One query", ("latency",), ("latency",)),
    _Section("As indicators grow", ("growth",), ("growth",)),
    _Section("Building, saving, opening", ("build", "saved")),
    _Section("Memory", ("memory",)),
    _Section(
        "Hashing",
        ("hashing", "equality"),
        ("hashing",),
        """\
From the bytes of a JPEG file in memory to the code: decoding included, reading the file not. The
12 megapixels of the figures above are the enlarged photographs as baseline JPEG.""",
    ),
    _Section("Views", ("views", "found"), text="Profiles are described in [views.md](views.md)."),
    _Section("Video", ("video",)),
    _Section("Sandbox", ("sandbox",), text="What it is: [sandbox.md](sandbox.md)."),
    _Section("Candidates", ("candidates",)),
    _Section("The whole scan", ("scan",)),
)

_HEAD: Final = """\
# Benchmarks

<!-- Written by `make bench-page` (benchmarks/page.py) from benchmarks/results.json. -->

Sluis beside what people use today. Every figure is from a run that anyone can repeat:

```sh
make bench                    # up to a million indicators, a quarter of an hour
make bench ARGS=--quick       # up to 100,000, two minutes
make bench ARGS=--full        # up to ten million, an hour; needs 8 GiB of memory
make bench ARGS="--only hashing --images ~/photos"
make bench-page               # this page, from the figures of the last run
```

`--resume` leaves out what was measured already with the same code on the same machine.

## How to read them

- **Compare ratios, not rates.** The ways take turns in one process, round by round, so that what
  else the machine does hits them alike. A rate is the median of the rounds, with the least and the
  most in brackets; a ratio is the median of the ratios within each round.
- **No speed without its recall.** Beside each rate stands how many of the pairs that brute force
  finds were found, or how far the codes are from the reference's.
- **One core** unless the table says otherwise. FAISS and usearch are given one thread.
- **Slow ways get fewer queries** than a batch has, and the table says how many. It does them no
  harm: none of them gets faster beyond a batch of 64.
- **What the rivals are**: FAISS `IndexBinaryFlat` compares with every indicator (asked for all
  within the radius, and for the nearest only); `IndexBinaryMultiHash`, and `threatexchange`'s
  `PDQIndex` which wraps it, use 16 hash tables; usearch has brute force and an HNSW graph, which
  is approximate. `pdqhash` is Meta's reference core for Python, and `threatexchange` hashes with
  it. "Best of FAISS" is whichever of its three was fastest at that size and batch.
"""


def terminal(made_tables: Sequence[Table]) -> Group:
    """Tables, for the end of a run."""
    shown = []
    for table in made_tables:
        made = RichTable(title=table.title, title_justify="left", caption=table.note or None,
                         caption_justify="left")  # fmt: skip
        for number, column in enumerate(table.columns):
            made.add_column(column, justify="left" if number < table.text_columns else "right")
        for row in table.rows:
            made.add_row(*row)
        shown.append(made)
    return Group(*shown)


def write(results: Results, docs: Path) -> None:
    """Write the page, its plots and its figures into `docs`."""
    folder = docs / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    plots = all_plots(results)
    for stale in folder.glob("*.svg"):
        stale.unlink()
    for plot in plots:
        (folder / f"{plot.name}.svg").write_text(plot.draw(), encoding="utf-8")
    results.write(folder / "results.json")
    (docs / "benchmarks.md").write_text(markdown(results, plots), encoding="utf-8")


def markdown(results: Results, plots: list[Plot]) -> str:
    """The page's text."""
    made = tables.all_tables(results)
    parts = [_HEAD, _taken(results)]
    goals, others = made[0], made[1:]
    parts.append(f"## {goals.title}\n\n{markdown_table(goals)}")
    for section in _SECTIONS:
        some = [table for table in others if table.key in section.tables]
        if not some:
            continue
        parts.append(f"## {section.heading}\n")
        if section.text:
            parts.append(f"{section.text}\n")
        parts += [
            f"![{plot.alt}]({FOLDER}/{plot.name}.svg)\n"
            for plot in plots
            if plot.name in section.plots
        ]
        parts += [f"**{table.title}**\n\n{markdown_table(table)}" for table in some]
    return "\n".join(parts).rstrip() + "\n"


def _taken(results: Results) -> str:
    """On what the figures were taken, once for all units that share it."""
    groups: dict[str, list[str]] = {}
    for unit, content in results.units.items():
        groups.setdefault(about(content["taken"]), []).append(unit)
    lines = ["## Taken on\n"]
    for sentence, units in groups.items():
        dates = sorted(results.units[unit]["taken"]["date"] for unit in units)
        when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
        which = "" if len(groups) == 1 else f" ({', '.join(units)})"
        loads = [load for unit in units if (load := results.units[unit]["taken"].get("load"))]
        busy = (
            f" Load of the machine before each part: {min(loads):g} to {max(loads):g}."
            if loads
            else ""
        )
        lines.append(f"- {when}{which}: {sentence}{busy}")
    return "\n".join(lines) + "\n"


def about(taken: dict[str, Any]) -> str:
    """On what something was measured, in a sentence."""
    machine = taken["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in taken["packages"].items())
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']:g} GiB, "
        f"{machine['system']}; Python {machine['python']}; {packages}; commit {taken['commit']}; "
        f"scale {taken['scale']}; codes from {taken['photos']['count']} photographs "
        f"(seed {taken['seed']})."
    )


def markdown_table(table: Table) -> str:
    """A Markdown table and its note."""
    figures = len(table.columns) - table.text_columns
    lines = [
        f"| {' | '.join(column or ' ' for column in table.columns)} |",
        f"| {' | '.join(['---'] * table.text_columns + ['---:'] * figures)} |",
        *(f"| {' | '.join(row)} |" for row in table.rows),
    ]
    note = f"\n{table.note}\n" if table.note else ""
    return "\n".join(lines) + "\n" + note
