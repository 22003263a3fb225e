"""Drawing of Theorem 3.3 in one panel, with the methods' names at their lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from figures.drawing import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from figures.artefact import Data

_PROVEN: dict[str, Any] = {"facecolor": "#ececec", "edgecolor": "#767676", "hatch": "////", "linewidth": 0.0}
JOINT = ("Mix", "ALRIGHT", "MAXRIGHT")  # their lines end at 0 and have their names one below the other


def draw(data: Data) -> Figure:
    """Draw the gap of each method against the steps on each objective."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE * 0.66, 3.0))
    ax = figure.subplots()
    T, facts = data.table["T"], data.facts
    proven = int(facts["proven_from"])
    if proven > 0:
        ax.fill_between([proven, T[-1]], 0.0, float(facts["level"]), zorder=0.5, **_PROVEN)
        box: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        where = ((proven * float(T[-1])) ** 0.5, 0.55 * float(facts["level"]))
        ax.annotate("proven: Sequential never ends here", where, ha="center", va="center", fontsize=8, bbox=box)
    ax.fill_between(
        T, data.table["low"], data.table["high"], color=style.METHODS["ALRIGHT"].colour, alpha=0.2, linewidth=0.0
    )
    for name in ("Sequential", *JOINT):
        ax.plot(T, data.table[name], **style.METHODS[name].kwargs(markersize=3.5))
    middle = len(T) * 2 // 3
    above: dict[str, Any] = {"xytext": (-8, 6), "textcoords": "offset points", "ha": "right", "fontsize": 9}
    where = (float(T[middle]), float(data.table["Sequential"][middle]))
    ax.annotate("Sequential", where, color=style.METHODS["Sequential"].colour, **above)
    for j, name in enumerate(JOINT):
        height = 1.0 - 0.22 * j
        ax.annotate(name, (1.25 * float(T[0]), height), color=style.METHODS[name].colour, fontsize=9)
    ax.annotate(
        "",
        (2.0 * float(T[0]), 0.1),
        xytext=(2.0 * float(T[0]), 0.5),
        arrowprops={"arrowstyle": "->", "color": style.INK},
    )
    ax.set_xscale("log")
    ax.set_xlim(float(T[0]), float(T[-1]))
    ax.set_ylim(bottom=0.0)
    ax.set_xlabel(r"steps $T$ on each objective")
    ax.set_ylabel(r"gap $G_{\mathrm{Mix},\lambda}$, $\lambda = \frac{1}{2}$")
    return figure
