"""Figures as SVG text, all in one style: what every plot begins and ends with."""

from __future__ import annotations

import io
from typing import Any, Final

_INK: Final = "#23303b"


def panels(count: int, height: float, columns: int | None = None) -> tuple[Any, list[Any]]:
    """A figure of so many panels, beside each other unless there are more than `columns`."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams.update(
        {
            "svg.fonttype": "none",
            "font.family": "sans-serif",
            "font.size": 10,
            "axes.titlesize": 11,
            "text.color": _INK,
            "axes.labelcolor": _INK,
            "axes.edgecolor": "#b8c0c8",
            "xtick.color": _INK,
            "ytick.color": _INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#e4e8ec",
        }
    )
    columns = columns or count
    rows = -(-count // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(10, height), sharey=True, layout="constrained", squeeze=False
    )
    for unused in axes.flat[count:]:
        unused.remove()
    return figure, list(axes.flat[:count])


def svg(figure: Any, name: str) -> str:
    """The figure as the text of an SVG file; the figure is closed."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):  # the same figures give the same file
        # White, not transparent: the page may be read on a dark ground.
        figure.savefig(buffer, format="svg", facecolor="white", metadata={"Date": None})
    plt.close(figure)
    return buffer.getvalue()
