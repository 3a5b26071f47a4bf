"""Results -> SVG plots for the page: throughput, growth, latency, hashing."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from benchmarks import drawing, hashing, rivals, timing
from benchmarks.growth import BATCHES
from benchmarks.results import Results
from benchmarks.tables import images_name, number, size_name

# Okabe and Ito's colours, told apart by people with any colour vision; ours is the strongest.
_COLOURS: Final = {
    rivals.OURS.name: "#d55e00",
    rivals.FLAT.name: "#0072b2",
    rivals.FLAT_NEAREST.name: "#56b4e9",
    rivals.MULTI_HASH.name: "#009e73",
    rivals.THREATEXCHANGE.name: "#cc79a7",
}
_OTHERS: Final = ("#7f7f7f", "#b0a000")
_MARKS: Final = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True)
class Plot:
    """A plot: its file's name, what it shows in words for who cannot see it, how to draw it."""

    name: str
    alt: str
    draw: Callable[[], str]


def all_plots(results: Results) -> list[Plot]:
    """Every plot that the results have figures for."""
    made = [throughput(results), growth(results), latency(results), hashing_speed(results)]
    return [plot for plot in made if plot is not None]


def throughput(results: Results) -> Plot | None:
    """Queries a second by batch size, a panel for each number of indicators."""
    found = results.measured("lookup")
    if not found:
        return None
    return Plot(
        "throughput",
        "Queries a second against queries in a call, both on logarithmic axes, a panel for each "
        f"number of indicators. {_best_sentence(found)}",
        functools.partial(_draw_throughput, found),
    )


def _draw_throughput(found: dict[int, dict[str, Any]]) -> str:
    figure, panels = drawing.panels(len(found), height=3.8)
    for axes, (size, one) in zip(panels, found.items(), strict=True):
        for place, way in enumerate(dict.fromkeys(entry["way"] for entry in one["speed"])):
            entries = [entry for entry in one["speed"] if entry["way"] == way]
            batches = [entry["batch"] for entry in entries]
            spreads = [timing.spread(entry["seconds_per_query"]) for entry in entries]
            _line(axes, batches, [1 / s.median for s in spreads], way, place)
            axes.fill_between(
                batches,
                [1 / s.most for s in spreads],
                [1 / s.least for s in spreads],
                color=_colour(way, place),
                alpha=0.18,
                linewidth=0,
            )
        _log_axes(axes, [entry["batch"] for entry in one["speed"]], "{:,}".format)
        axes.set_title(f"{size_name(size)} indicators")
        axes.set_xlabel("queries in a call")
    panels[0].set_ylabel("queries a second")
    _legend(figure, panels[0])
    return drawing.svg(figure, "throughput")


def growth(results: Results) -> Plot | None:
    """Microseconds a query by number of indicators, with the fitted lines."""
    for found in results.measured("growth").values():
        return Plot(
            "growth",
            "Microseconds a query against number of indicators, both on logarithmic axes, a panel "
            "for each batch size; dotted: the fitted lines. The table below has every point.",
            functools.partial(_draw_growth, found),
        )
    return None


def _draw_growth(found: dict[str, Any]) -> str:
    figure, panels = drawing.panels(len(BATCHES), height=3.8)
    for axes, batch in zip(panels, BATCHES, strict=True):
        fits = [fit for fit in found["fits"] if fit["batch"] == batch]
        for place, fit in enumerate(fits):
            points = [
                point
                for point in found["points"]
                if (point["way"], point["batch"]) == (fit["way"], batch)
            ]
            sizes = [point["indicators"] for point in points]
            costs = [timing.spread(point["seconds_per_query"]).median for point in points]
            fitted = [
                fit["base_seconds"] + fit["seconds_per_million"] * size / 1e6 for size in sizes
            ]
            colour = _colour(fit["way"], place)
            axes.plot(sizes, [1e6 * cost for cost in fitted], color=colour, linestyle=":")
            axes.plot(
                sizes,
                [1e6 * cost for cost in costs],
                color=colour,
                marker=_MARKS[place],
                linestyle="none",
                label=fit["way"],
            )
        _log_axes(axes, [point["indicators"] for point in found["points"]], size_name)
        axes.set_title("one at a time" if batch == 1 else f"batches of {batch:,}")
        axes.set_xlabel("indicators")
    panels[0].set_ylabel("microseconds a query")
    _legend(figure, panels[0])
    return drawing.svg(figure, "growth")


def latency(results: Results) -> Plot | None:
    """Percentiles of single queries, a panel for each number of indicators."""
    found = results.measured("lookup")
    if not found:
        return None
    return Plot(
        "latency",
        "Median, 95th and 99th percentile and maximum of the time of one query on a logarithmic "
        "axis, a panel for each number of indicators. The tables below have every value.",
        functools.partial(_draw_latency, found),
    )


def _draw_latency(found: dict[int, dict[str, Any]]) -> str:
    names = ("p50", "p95", "p99", "max")
    figure, panels = drawing.panels(len(found), height=3.4)
    for axes, (size, one) in zip(panels, found.items(), strict=True):
        for place, entry in enumerate(one["latency"]):
            places = range(len(names))
            values = [1e6 * entry[name] for name in names]
            _line(axes, places, values, entry["way"], place)
        _log_heights(axes)
        axes.set_xticks(range(len(names)), names)
        axes.set_title(f"{size_name(size)} indicators")
    panels[0].set_ylabel("microseconds, one query")
    _legend(figure, panels[0])
    return drawing.svg(figure, "latency")


def hashing_speed(results: Results) -> Plot | None:
    """Images a second of every hasher, a panel for each kind of image."""
    for found in results.measured("hashing").values():
        return Plot(
            "hashing",
            "Images hashed a second by every way, a panel for photographs at their own size and "
            "one each for 12 megapixels as baseline and as progressive JPEG. The table below has "
            "every value.",
            functools.partial(_draw_hashing, found),
        )
    return None


def _draw_hashing(found: dict[str, Any]) -> str:
    tables = found["tables"]
    figure, panels = drawing.panels(len(tables), height=2.6)
    for axes, one in zip(panels, tables, strict=True):
        ways = [entry["way"] for entry in one["ways"]]
        speeds = [1 / timing.spread(entry["seconds_per_image"]).median for entry in one["ways"]]
        colours = ["#d55e00" if way in {hashing.EXACT, hashing.FAST} else "#8a97a3" for way in ways]
        bars = axes.barh(range(len(ways)), speeds, color=colours, height=0.66)
        axes.bar_label(bars, [number(value) for value in speeds], padding=3, fontsize=9)
        axes.set_yticks(range(len(ways)), ways)
        axes.set_ylim(len(ways) - 0.5, -0.5)  # the first on top
        axes.grid(axis="y", visible=False)
        axes.set_xlim(0, max(speeds) * 1.25)
        axes.set_title(f"{images_name(one)}, {one['megapixels']:.2g} MP")
        axes.set_xlabel("images a second")
    return drawing.svg(figure, "hashing")


def _best_sentence(found: dict[int, dict[str, Any]]) -> str:
    """What the plot shows, said for the largest size."""
    size = max(found)
    best: dict[str, float] = {}
    for entry in found[size]["speed"]:
        rate = 1 / timing.spread(entry["seconds_per_query"]).median
        best[entry["way"]] = max(rate, best.get(entry["way"], 0))
    said = ", ".join(
        f"{way} {number(rate)}" for way, rate in sorted(best.items(), key=lambda item: -item[1])
    )
    return f"Highest rates at {size_name(size)}: {said}."


# --- drawing --------------------------------------------------------------------------------


def _line(axes: Any, x: Any, y: list[float], way: str, place: int) -> None:
    axes.plot(
        x, y, color=_colour(way, place), marker=_MARKS[place % len(_MARKS)], label=way,
        linewidth=2.4 if way == rivals.OURS.name else 1.4, markersize=5,
    )  # fmt: skip


def _colour(way: str, place: int) -> str:
    return _COLOURS.get(way, _OTHERS[place % len(_OTHERS)])


def _log_axes(axes: Any, at: list[int], name: Callable[[int], str]) -> None:
    """Logarithmic both ways; marked along x where something was measured."""
    from matplotlib.ticker import NullLocator

    places = sorted(set(at))
    axes.set_xscale("log")
    axes.set_xticks(places, [name(place) for place in places], rotation=30, ha="right")
    axes.xaxis.set_minor_locator(NullLocator())
    _log_heights(axes)


def _log_heights(axes: Any) -> None:
    """1k and 10M along y, not powers of ten."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: size_name(int(value)) if value >= 1 else f"{value:g}")
    )
    axes.yaxis.set_minor_formatter(NullFormatter())


def _legend(figure: Any, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(3, len(labels)), frameon=False
    )
