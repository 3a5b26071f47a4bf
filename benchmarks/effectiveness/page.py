"""Results -> `docs/effectiveness.md` with its plots, and the tables that end a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.effectiveness import plots, tables
from benchmarks.effectiveness.shares import unit
from benchmarks.page import about, markdown_table
from benchmarks.plots import Plot
from benchmarks.results import Results

FOLDER: Final = "effectiveness"  # beside the page


class _Section(NamedTuple):
    heading: str
    tables: tuple[str, ...]
    plots: tuple[str, ...] = ()
    text: str = ""


_SECTIONS: Final = (
    _Section("In short", ("summary",), ("radius",)),
    _Section(
        "Recall, edit by edit",
        ("recall photographs",),
        ("recall",),
        """\
Every picture is listed as it is, with one plain PDQ code, and uploaded after every edit, with
random parameters from the range that the edit's name states. It is found if any view of the upload
is within 31 bits of the listed code. "refine" looks for candidates within 47 bits, fits a crop box
to each, and reports what then comes within 31 as a near match for review, never as a match.

The frames of screenshots were drawn for this page, with words and buttons next to the picture, and
not by who chose the views. What is found then hangs on the frame more than on the picture: real
applications have to be measured by themselves.""",
    ),
    _Section(
        "Other pictures, other radii",
        ("kinds", "radii"),
        text="""\
Where recall on the tuned-on set is higher than on the others, tuning flattered it. Cut-outs are
the hard case: a thing on white looks like a picture with white borders, and trimming cuts them.""",
    ),
    _Section(
        "False matches: all pairs",
        ("pairs", "closest pairs"),
        text="""\
An upload must not match what it does not show. Every picture is uploaded as it is and compared with
every other listed picture: each view of the one with the plain code of the other. What comes
nearest is not drawn at random: in every run so far it was simple pictures, one round or long thing
on even ground (a planet, a ball, a plate, a squash, a hammer).""",
    ),
    _Section(
        "False matches: a long list",
        ("natural", "closest natural"),
        ("nearest",),
        """\
The list holds crops of the photographs, 30 to 100% of either side, in all eight turns; an upload's
own crops are left out. It is a pessimistic list: a real one of a million has a million sources,
this one has a few hundred, with many crops that are nearly alike and many close-ups of something
simple.""",
    ),
    _Section(
        "False matches of edited pictures",
        ("edited", "closest fitted"),
        text="""\
Trimming, captions and frames could make different pictures alike, so every edited upload, too, is
compared with all that it does not show.""",
    ),
    _Section(
        "The lower tail: what zero means",
        ("tail",),
        text="""\
No false match seen is not "no false matches". With n independent pictures and none flagged, the
share of pictures that would be flagged in *such a list* is below 3/n with 95% confidence (the rule
of three; the tables give the exact bound). Nothing measured here bounds the rate per million: that
takes millions of pictures. Models that extend the tail are shown because people will draw them
anyway, and because they disagree by decades, which is the point. They are not bounds.""",
    ),
    _Section(
        "Other hashers",
        ("hashers", "hashers by edit"),
        ("hashers",),
        """\
The same uploads of the same photographs, each hasher with its own package and decoded as that
package would. A threshold alone says nothing, so each is also read where it confuses as many pairs
as the others do. The shorter a code, the more it must confuse: 64 bits have few thresholds between
finding nothing and confusing much.""",
    ),
)

_HEAD: Final = """\
# Effectiveness

<!-- Written by `make effectiveness` (benchmarks/effectiveness/page.py). -->

What Sluis finds after an edit, what it misses, and what it confuses. All of it is from one run that
anyone can repeat:

```sh
make effectiveness ARGS=--quick     # the demo's photographs, a few minutes; writes no page
make effectiveness ARGS="--images ~/held-out/photographs --simple ~/held-out/cut-outs \\
    --tuned ~/imagenet-sample"      # this page, with pictures of your own
```

`python -m benchmarks.effectiveness.gather` makes the two held-out folders out of free Debian
packages. A stopped run goes on where it was.
"""

_ASKED: Final = {
    "effectiveness": "recall per edit, per profile and radius, with 95% intervals, on pictures "
    "that were never used to choose anything",
    "false positives": "all pairs, a long list, edited uploads: counts with bounds, never a rate "
    "extrapolated from them",
    "false negatives": "100% minus recall, edit by edit; the group 'beyond the views' was chosen "
    "to fail",
    "the form's figures A, B, C": "not here: they are those of a deployment (flagged; of these "
    "not confirmed; reviewed). No share below can stand in for B/A",
    "state of the art, least intrusive": "other hashers on the same uploads at comparable error; "
    "profiles with fewer views for whoever needs fewer errors",
    "independence": "the makers wrote this page. So pictures, edits and statistics are code in "
    "this repository, seeded, and take pictures of your own (`--images`): a third party can "
    "repeat it, and should",
}
"""What is asked of a technology, and what of it is answered here."""

_VETTING: Final = """\
## For a vetting

What is asked of a detection technology (COM(2022) 209 art. 10 and 50, the Council's progress report
10666/24 on vetting, the form of Implementing Regulation 2024/2916), and where this page answers:

| asked | answered by |
| --- | --- |
{asked}

**What it does not show.** How often each edit occurs in anyone's traffic: a mean over this list is
a mean over this list. Recall against people who know the algorithm and mean to evade it.
Screenshots of real applications: the frames are drawn here. Text-heavy pictures, memes of one
template, the material itself: no such picture was used, and none of the last may be. Video. Any
rate per million. A list made with another PDQ tool: Meta's file tool lands 7 to 9 bits away on
large pictures, which comes out of the radius.
"""


def write(results: Results, docs: Path) -> None:
    """Write the page, its plots and its figures into `docs`."""
    folder = docs / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    made = plots.all_plots(results)
    for stale in folder.glob("*.svg"):
        stale.unlink()
    for plot in made:
        (folder / f"{plot.name}.svg").write_text(plot.draw(), encoding="utf-8")
    results.write(folder / "results.json")
    (docs / "effectiveness.md").write_text(markdown(results, made), encoding="utf-8")


def markdown(results: Results, made: list[Plot]) -> str:
    """The page's text."""
    shown = tables.all_tables(results)
    parts = [_HEAD]
    for section in _SECTIONS:
        some = [table for table in shown if table.key in section.tables]
        if not some:
            continue
        parts.append(f"## {section.heading}\n")
        if section.text:
            parts.append(f"{section.text}\n")
        parts += [
            f"![{plot.alt}]({FOLDER}/{plot.name}.svg)\n"
            for plot in made
            if plot.name in section.plots
        ]
        parts += [f"**{table.title}**\n\n{markdown_table(table)}" for table in some]
        if section.heading == "In short":
            asked = "\n".join(f"| {one} | {answer} |" for one, answer in _ASKED.items())
            parts.append(_VETTING.format(asked=asked))
            parts.append(_pictures(results))
    return "\n".join(parts).rstrip() + "\n"


def _pictures(results: Results) -> str:
    """Which pictures, and when and on what it was measured."""
    lines = ["## The pictures\n"]
    about_them: dict[str, Any] = unit(results, "corpora") or {"corpora": []}
    lines += [
        f"- **{one['name']}** ({one['kind']}), {one['pictures']} pictures: {one['about']}"
        for one in about_them["corpora"]
    ]
    lines.append(
        "\nA picture whose own PDQ quality is under 50 is uploaded but not listed, as lists leave "
        "it out. Each edit draws from a seed, the picture's bytes and the edit's name.\n"
    )
    said = dict.fromkeys(
        about(content["taken"]) for content in results.units.values() if "taken" in content
    )
    lines += [f"- {one}" for one in said]
    return "\n".join(lines) + "\n"
