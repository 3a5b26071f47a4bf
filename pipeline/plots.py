"""How our plots look, and how they get into a page: as inline SVG."""

from __future__ import annotations

import io
from typing import Any, Final

from markupsafe import Markup

INK: Final = "#23303b"


def figure(height: float) -> tuple[Any, Any]:
    """A figure of a page's width and so many inches, and its axes."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams.update(
        {
            "svg.fonttype": "none",
            "font.family": "sans-serif",
            "font.size": 10,
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": "#b8c0c8",
            "xtick.color": INK,
            "ytick.color": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#e4e8ec",
        }
    )
    drawn, axes = plt.subplots(figsize=(9, height), layout="constrained")
    return drawn, axes


def svg(drawn: Any) -> Markup:
    """The figure as an SVG element; it is closed."""
    from matplotlib import pyplot as plt

    buffer = io.StringIO()
    drawn.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    plt.close(drawn)
    text = buffer.getvalue()
    return Markup(text[text.index("<svg") :])  # noqa: S704 - matplotlib escapes its text
