"""The looks of every figure, in one place; nothing here decides a number.

A method keeps its colour, marker and line style in all figures, so that they read in grey and to colour-blind
eyes (colours from the Okabe-Ito palette). Figures are made as `matplotlib.figure.Figure`, never by pyplot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

COLUMN = 3.4  # width of one column of a paper, in inches
PAGE = 7.0  # width of the text across both
INK = "#1a1a1a"
QUIET = "#767676"  # 4.5:1 on white
GRID = "#e3e3e3"
ACCENT = "#D55E00"


@dataclass(frozen=True)
class Method:
    """How one of the four methods is drawn."""

    colour: str
    marker: str
    line: str | tuple[int, tuple[float, ...]]
    zorder: float

    def kwargs(self, **changes: Any) -> dict[str, Any]:
        """Keyword arguments for `Axes.plot`; `changes` override or add."""
        looks: dict[str, Any] = {
            "color": self.colour,
            "marker": self.marker,
            "linestyle": self.line,
            "zorder": self.zorder,
            "markeredgecolor": "white",
            "markeredgewidth": 0.5,
        }
        return looks | changes


METHODS: dict[str, Method] = {
    "Sequential": Method("#D55E00", "s", (0, (5.0, 1.6)), 3.0),
    "Mix": Method("#7a7a7a", "D", (0, (1.0, 1.3)), 2.5),
    "ALRIGHT": Method("#0072B2", "o", "-", 4.0),
    "MAXRIGHT": Method("#009E73", "^", (0, (6.0, 1.4, 1.0, 1.4)), 5.0),
}


# What is not a method: contours, regions and single points.
CONTOUR_DPO, CONTOUR_SFT, GOOD = "#9ebfd6", "#d6a9c0", "#e6f0d8"
START: dict[str, Any] = {"marker": "P", "color": INK, "markersize": 6, "markeredgecolor": "white"}
IDEAL: dict[str, Any] = {"marker": "*", "color": INK, "markersize": 9, "markeredgecolor": "white"}
OPTIMA: dict[str, dict[str, Any]] = {
    "dpo": {"marker": "v", "color": "#2f5d7c", "markersize": 6, "markeredgecolor": "white"},
    "sft": {"marker": "<", "color": "#8c3b62", "markersize": 6, "markeredgecolor": "white"},
    "mix": {"marker": "X", "color": INK, "markersize": 6, "markeredgecolor": "white"},
}


def rc() -> dict[str, Any]:
    """Settings that hold while a figure is drawn and written; see `figures.render`.

    The fonts come with matplotlib, so that a figure looks the same on every machine.
    """
    return {
        "font.family": "STIXGeneral",
        "mathtext.fontset": "stix",
        "font.size": 9.0,
        "axes.titlesize": 9.5,
        "axes.labelsize": 9.0,
        "xtick.labelsize": 8.0,
        "ytick.labelsize": 8.0,
        "legend.fontsize": 8.0,
        "legend.frameon": False,
        "legend.handlelength": 2.6,
        "lines.linewidth": 1.3,
        "lines.markersize": 4.5,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "axes.linewidth": 0.6,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": GRID,
        "grid.linewidth": 0.5,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "xtick.direction": "out",
        "ytick.direction": "out",
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.major.size": 3.0,
        "ytick.major.size": 3.0,
        "figure.facecolor": "white",
        "figure.constrained_layout.use": True,
        "savefig.facecolor": "white",
        "pdf.fonttype": 42,  # TrueType: text stays text
        "pdf.compression": 6,
        "svg.hashsalt": "forget-neither",
    }


def legend_above(
    figure: Figure, handles: Sequence[Artist], labels: Sequence[str], columns: int | None = None
) -> Legend:
    """A legend above all axes of `figure`, where it covers no data (the layout makes room for it)."""
    count = len(labels) if columns is None else columns
    return figure.legend(handles, labels, loc="outside upper center", ncols=count)


def legend_beside(axes: Axes, **changes: Any) -> Legend:
    """A legend to the right of `axes`, outside of it."""
    return axes.legend(**({"loc": "center left", "bbox_to_anchor": (1.01, 0.5)} | changes))
