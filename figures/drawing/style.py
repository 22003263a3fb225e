"""Style of all figures: sizes, colours, markers and matplotlib's settings.

A method keeps its colour, marker and line style in all figures, which stay legible in grey and to colour-blind readers
(colours from the Okabe-Ito palette). Figures are made as `matplotlib.figure.Figure`, never by pyplot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from figures.analysis.methods import NAMES

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend
    from numpy.typing import ArrayLike

COLUMN = 3.4  # width of one column of a paper, in inches
PAGE = 7.0  # width of the text across both
INK = "#1a1a1a"
QUIET = "#767676"  # 4.5:1 on white
GRID = "#e3e3e3"
ACCENT = "#D55E00"


@dataclass(frozen=True)
class MethodStyle:
    """Colour, marker, line, hatch and short label of a method; equal in all figures."""

    colour: str
    marker: str
    line: str | tuple[int, tuple[float, ...]]
    zorder: float
    hatch: str
    short: str

    def kwargs(self, **changes: Any) -> dict[str, Any]:
        """Return keyword arguments for `Axes.plot`; `changes` override or add."""
        looks: dict[str, Any] = {
            "color": self.colour,
            "marker": self.marker,
            "linestyle": self.line,
            "zorder": self.zorder,
            "markeredgecolor": "white",
            "markeredgewidth": 0.5,
        }
        return looks | changes

    def bar(self) -> dict[str, Any]:
        """Return keyword arguments for `Axes.bar`."""
        return {"facecolor": self.colour, "hatch": self.hatch, "edgecolor": "white", "linewidth": 0.0}


# One line per decision rule, by its key; the printed names are the rules' own (toyopt.algorithms).
_STYLES = {
    "sequential": MethodStyle("#D55E00", "s", (0, (5.0, 1.6)), 3.0, "", "Seq."),
    "mix": MethodStyle("#7a7a7a", "D", (0, (1.0, 1.3)), 2.5, "......", "Mix"),
    "alright": MethodStyle("#0072B2", "o", "-", 4.0, "/////", "ALR."),
    "maxright": MethodStyle("#009E73", "^", (0, (6.0, 1.4, 1.0, 1.4)), 5.0, "xxxxx", "MAXR."),
    "replay": MethodStyle("#CC79A7", ">", (0, (3.0, 1.2)), 3.5, "\\\\\\\\\\", "Repl."),
}
METHODS: dict[str, MethodStyle] = {NAMES[key]: style for key, style in _STYLES.items()}


# Contours, regions and single points.
CONTOUR_DPO, CONTOUR_SFT, GOOD = "#9ebfd6", "#d6a9c0", "#e6f0d8"
START: dict[str, Any] = {"marker": "P", "color": INK, "markersize": 6, "markeredgecolor": "white"}
IDEAL: dict[str, Any] = {"marker": "*", "color": INK, "markersize": 9, "markeredgecolor": "white"}
CRITICAL: dict[str, Any] = {"color": INK, "linewidth": 0.8, "linestyle": (0, (1.0, 1.6)), "zorder": 1.5}  # a line
OPTIMA: dict[str, dict[str, Any]] = {
    "dpo": {"marker": "v", "color": "#2f5d7c", "markersize": 6, "markeredgecolor": "white"},
    "sft": {"marker": "<", "color": "#8c3b62", "markersize": 6, "markeredgecolor": "white"},
    "mix": {"marker": "X", "color": INK, "markersize": 6, "markeredgecolor": "white"},
}


def draw_seeds(ax: Axes, x: ArrayLike, y: ArrayLike, **changes: Any) -> None:
    """Draw the values of single seeds as small white dots, above the marks of their mean.

    x, y     one number per seed
    changes  keyword arguments of `Axes.plot` that override or add
    """
    dots: dict[str, Any] = {
        "linestyle": "", "marker": "o", "color": "white", "markeredgecolor": INK, "markeredgewidth": 0.5,
        "markersize": 2.4, "zorder": 6,
    }  # fmt: skip
    ax.plot(x, y, **(dots | changes))


def rc() -> dict[str, Any]:
    """Return matplotlib's settings for drawing and writing a figure (see `figures.drawing.render`).

    The fonts are part of matplotlib, so that a figure is the same on every machine.
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
    """Add a legend above all axes of `figure`, where it covers no data; the layout reserves its height."""
    count = len(labels) if columns is None else columns
    return figure.legend(handles, labels, loc="outside upper center", ncols=count)
