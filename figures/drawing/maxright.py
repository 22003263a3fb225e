"""Drawing of MAXRIGHT's best, average and last iterate with their bounds, one panel per k."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from figures.drawing import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data

# marker and colour of each iterate of MAXRIGHT (no colours of other methods), and the line of its bound
LOOKS = {"best": ("v", "#56B4E9"), "average": ("h", "#A5558C"), "last": ("^", style.METHODS["MAXRIGHT"].colour)}
BOUNDS: dict[str, dict[str, Any]] = {
    "best": {"linestyle": "-.", "linewidth": 1.4},
    "average": {"linestyle": "--", "linewidth": 1.4},
    "last": {"linestyle": "-", "linewidth": 1.4},
}


def draw(data: Data) -> Figure:
    """Draw one panel per k: attained values with markers, bounds as lines, the staleness term as a band."""
    from matplotlib.figure import Figure

    ks = np.unique(data.table["k"])
    figure = Figure(figsize=(style.PAGE, 5.4))
    axes = figure.subplots(2, (len(ks) + 1) // 2, sharex=True, sharey=True)
    for ax, k, letter in zip(axes.flat, ks, "abcdefgh", strict=False):
        _draw_panel(ax, data, k)
        ax.set_title(f"({letter}) $k = {k}$")
    for ax in axes[-1]:
        ax.set_xlabel("iterates $T$")
    for ax in axes[:, 0]:
        ax.set_ylabel(r"$F(\cdot) - \inf F$")
    _draw_legend(figure)
    return figure


def _draw_panel(ax: Axes, data: Data, k: int) -> None:
    for name in LOOKS:
        marker, colour = LOOKS[name]
        chosen = (data.table["k"] == k) & (data.table["iterate"] == name)
        T, bound, attained = (data.table[c][chosen] for c in ("T", "bound", "attained"))
        ax.plot(T, attained, marker=marker, color=colour, linewidth=0.5, markersize=4, zorder=3)
        ax.plot(T, bound, color=colour, zorder=2, **BOUNDS[name])
        if name == "last":
            without = bound - data.table["staleness"][chosen]
            ax.fill_between(T, without, bound, color=style.GOOD, zorder=1)
    if k == 1:
        ax.plot(data.extra["T"], data.extra["exact_bound"], linestyle=":", color=style.INK, linewidth=1.2, zorder=2)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_ylim(1e-5, 2.0 * float(data.table["bound"].max()))


def _draw_legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: dict[str, Any] = {}
    for name in LOOKS:
        marker, colour = LOOKS[name]
        handles[f"{name} iterate"] = Line2D([], [], marker=marker, color=colour, linewidth=0.5, markersize=4)
        handles[f"bound on the {name}"] = Line2D([], [], color=colour, **BOUNDS[name])
    handles["exact bound on the last"] = Line2D([], [], linestyle=":", color=style.INK, linewidth=1.2)
    handles["its staleness term"] = Patch(facecolor=style.GOOD)
    style.legend_above(figure, list(handles.values()), list(handles), columns=4)
