"""Counts -> SVG plots: recall by edit and by radius, nearest strangers, hashers by their errors."""

from __future__ import annotations

import functools
from typing import Any, Final

import numpy as np

from benchmarks import drawing
from benchmarks.effectiveness import bounds
from benchmarks.effectiveness.shares import RADIUS_BITS, all_kinds, percent, unit
from benchmarks.plots import Plot
from benchmarks.results import Results

_COLOURS: Final = {
    "plain": "#7f7f7f",
    "standard": "#56b4e9",
    "thorough": "#0072b2",
    "refine": "#d55e00",
}
_PEER_COLOURS: Final = ("#000000", "#7f7f7f", "#009e73", "#cc79a7", "#b0a000")
_MARKS: Final = {"plain": "o", "standard": "s", "thorough": "^", "refine": "D"}


def all_plots(results: Results) -> list[Plot]:
    """Every plot that the results have figures for."""
    made = []
    if recall := unit(results, "recall"):
        made += [_by_edit(recall), _by_radius(recall)]
    if long_list := unit(results, "natural"):
        made.append(_nearest(long_list))
    if peers := unit(results, "peers"):
        made.append(_hashers(peers))
    return made


def _first(recall: dict[str, Any]) -> dict[str, Any]:
    """The kind of pictures that the page is about."""
    found: dict[str, Any] = next(iter(recall["kinds"].values()))
    return found


def _by_edit(recall: dict[str, Any]) -> Plot:
    return Plot(
        "recall",
        f"Recall at {RADIUS_BITS} bits after every edit, a mark for each profile with its 95% "
        "interval. The table below has every value.",
        functools.partial(_draw_by_edit, recall),
    )


def _draw_by_edit(recall: dict[str, Any]) -> str:
    found = _first(recall)
    place = recall["radii"].index(RADIUS_BITS)
    edits = found["edits"]
    figure, (axes,) = drawing.panels(1, height=0.27 * len(edits) + 1.2)
    for column, profile in enumerate(recall["profiles"]):
        within = [edit["within"][column][place] for edit in edits]
        shares = [bounds.wilson(one, found["pictures"]) for one in within]
        heights = np.arange(len(edits)) + 0.18 * (column - 1.5)
        axes.hlines(
            heights,
            [100 * one.least for one in shares],
            [100 * one.most for one in shares],
            color=_COLOURS[profile],
            alpha=0.6,
            linewidth=1.4,
        )
        axes.plot(
            [100 * one.share for one in shares], heights, _MARKS[profile], label=profile,
            color=_COLOURS[profile], markersize=4,
        )  # fmt: skip
    axes.set_yticks(range(len(edits)), [edit["name"] for edit in edits])
    axes.set_ylim(len(edits) - 0.4, -0.6)
    axes.set_xlim(-1, 101)
    axes.set_xlabel("recall, %")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return drawing.svg(figure, "recall")


def _by_radius(recall: dict[str, Any]) -> Plot:
    found = _first(recall)
    said = []
    for column, profile in enumerate(recall["profiles"]):
        within = sum(one["within"][column][RADIUS_BITS] for one in found["groups"].values())
        edits = sum(one["edits"] for one in found["groups"].values())
        said.append(f"{profile} {percent(within / edits / found['pictures'])}%")
    return Plot(
        "radius",
        "Mean recall against radius, a panel for each kind of edit, a line for each profile. Mean "
        f"over all edits at {RADIUS_BITS}: {', '.join(said)}.",
        functools.partial(_draw_by_radius, recall),
    )


def _draw_by_radius(recall: dict[str, Any]) -> str:
    found = _first(recall)
    figure, all_axes = drawing.panels(len(found["groups"]), height=5.2, columns=4)
    for axes, (group, one) in zip(all_axes, found["groups"].items(), strict=False):
        for column, profile in enumerate(recall["profiles"]):
            within = np.array(one["within"][column]) / one["edits"] / found["pictures"]
            axes.plot(
                range(8, 61), 100 * within[8:61], color=_COLOURS[profile], label=profile,
                linewidth=2.2 if profile == "refine" else 1.5,
            )  # fmt: skip
        axes.axvline(RADIUS_BITS, color="#b8c0c8", linewidth=1)
        axes.set_title(group)
        axes.set_ylim(-2, 102)
        axes.set_xlabel("radius, bits")
    all_axes[0].set_ylabel("recall, %")
    handles, labels = all_axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return drawing.svg(figure, "radius")


def _nearest(found: dict[str, Any]) -> Plot:
    return Plot(
        "nearest",
        "Share of pictures that have another picture within so many bits, on a logarithmic axis, "
        "for each profile; dashed, the 95% upper bound, which goes on where nothing was seen; "
        "dotted, the exponential model, a guess.",
        functools.partial(_draw_nearest, found),
    )


def _draw_nearest(found: dict[str, Any]) -> str:
    figure, (axes,) = drawing.panels(1, height=4.2)
    bits = np.arange(20, 100)
    for column, profile in enumerate(found["closest"]):
        counts = all_kinds(found["nearest"], column)
        total = int(counts.sum())
        below = np.cumsum(counts)[bits]
        colour = _COLOURS[profile]
        seen = below > 0
        axes.step(
            bits[seen], 100 * below[seen] / total, where="post", color=colour, label=profile,
            linewidth=2,
        )  # fmt: skip
        most = [100 * bounds.at_most(int(one), total) for one in below]
        axes.step(bits, most, "--", where="post", color=colour, linewidth=1)
        model = bounds.fit(counts, 0.15)
        if model:
            modelled = bits[bits <= model.start_bits]
            shares = [100 * model.share_within(float(one)) for one in modelled]
            axes.plot(modelled, shares, ":", color=colour)
    axes.axvline(RADIUS_BITS, color="#23303b", linewidth=1)
    axes.set_yscale("log")
    axes.set_ylim(1e-4, 120)
    axes.set_xlabel(f"bits to the nearest of {found['codes']:,} codes of other pictures")
    axes.set_ylabel("pictures, %")
    axes.legend(frameon=False, loc="lower right")
    return drawing.svg(figure, "nearest")


def _hashers(peers: dict[str, Any]) -> Plot:
    return Plot(
        "hashers",
        "Mean recall over all edits against the share of pairs of distinct photographs that are "
        "confused, a line for each hasher over all its thresholds; at the left edge, thresholds "
        "at which no pair is. The table below has the points that matter.",
        functools.partial(_draw_hashers, peers),
    )


def _draw_hashers(peers: dict[str, Any]) -> str:
    figure, (axes,) = drawing.panels(1, height=4.6)
    least = 0.3 / peers["ways"][0]["pairs"]
    others = iter(_PEER_COLOURS)
    for way in peers["ways"]:
        profile = way["name"].removeprefix("Sluis, ")
        is_ours = profile in _COLOURS
        colour = _COLOURS[profile] if is_ours else next(others)
        wrong = np.maximum(np.array(way["confused"]) / way["pairs"], least)
        right = 100 * np.array(way["found"]) / way["tried"]
        shown = wrong < 0.1
        axes.plot(
            wrong[shown], right[shown], color=colour, label=way["name"],
            linestyle="-" if is_ours else "--", linewidth=2 if is_ours else 1.4,
        )  # fmt: skip
        usual = way["thresholds"]["usual"]
        axes.plot(wrong[usual], right[usual], "o", color=colour, markersize=6)
    axes.set_xscale("log")
    axes.set_xlabel("pairs of distinct photographs confused (left edge: none), share")
    axes.set_ylabel("mean recall over all edits, %")
    axes.set_ylim(0, 100)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return drawing.svg(figure, "hashers")
