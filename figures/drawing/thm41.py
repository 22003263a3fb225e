"""Drawing of ALRIGHT's expected gap against T, with Theorem 4.1's bound and the sharper bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from figures.drawing import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data

CONSTANT, DECAY = style.METHODS["ALRIGHT"].colour, "#8A3FA0"  # colours of the two step-size schedules
# (series, step sizes) -> label and style
BOUNDS: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {
    ("Theorem 4.1", "constant"): ("Theorem 4.1", {"color": "#1a1a1a", "linestyle": "-"}),
    ("Theorem 4.1, harmonic", "constant"): ("its harmonic form", {"color": "#1a1a1a", "linestyle": (0, (1, 1.4))}),
    ("exact worst case", "constant"): ("exact worst case", {"color": CONSTANT, "linestyle": (0, (6, 1.6))}),
    ("exact worst case", "linear decay"): (r"linear decay: $DC/\sqrt{T}$", {"color": DECAY, "linestyle": "-."}),
}


def draw(data: Data) -> Figure:
    """Draw gap and bounds against T; below, the same divided by DC/√T, where a logarithm is a slope."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 5.4))
    lams = np.unique(data.table["lam"])
    axes = figure.subplots(2, len(lams), sharex=True, sharey="row", squeeze=False)
    for column, lam in enumerate(lams):
        for row in (0, 1):
            _draw_panel(axes[row, column], data, float(lam), bool(row))
        axes[0, column].set_title(rf"$\lambda = {lam:g}$")
        axes[0, column].set_yscale("log")
        axes[1, column].set_xlabel(r"iterates $T$")
    axes[0, 0].set_ylabel(r"$\mathbf{E}\, f_{\mathrm{Mix}}(\theta_T) - f^*_{\mathrm{Mix}}$")
    axes[1, 0].set_ylabel(r"divided by $DC/\sqrt{T}$")
    axes[1, 0].set_ylim(bottom=0.0)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    style.legend_above(figure, handles, labels, columns=3)
    return figure


def _select(data: Data, lam: float, series: str, steps: str) -> dict[str, np.ndarray]:
    t = data.table
    chosen = (t["lam"] == lam) & (t["series"] == series) & (t["steps"] == steps)
    return {name: t[name][chosen] for name in ("T", "value", "low", "high", "relative")}


def _draw_panel(ax: Axes, data: Data, lam: float, is_relative: bool) -> None:
    def put(line: dict[str, np.ndarray], label: str, **looks: Any) -> None:
        ax.plot(line["T"], line["relative" if is_relative else "value"], label=label, **looks)

    ax.set_xscale("log")
    for (series, steps), (label, looks) in BOUNDS.items():
        put(_select(data, lam, series, steps), label, linewidth=1.3, **looks)
    for steps, colour in (("constant", CONSTANT), ("linear decay", DECAY)):
        put(
            _select(data, lam, "attained by the worst function", steps),
            "attained by a convex function" if steps == "constant" else "_",
            linestyle="none",
            marker="x",
            markersize=4.5,
            color=colour,
        )
    alright = style.METHODS["ALRIGHT"]
    put(_select(data, lam, "gap", "constant"), "ALRIGHT, exact", **alright.kwargs(markersize=4))
    hollow = {"color": DECAY, "marker": "p", "markerfacecolor": "white", "markersize": 3.6, "linewidth": 1.0}
    put(_select(data, lam, "gap", "linear decay"), "ALRIGHT, linear decay, exact", **hollow)
    if is_relative:
        return
    runs = _select(data, lam, "gap, runs", "constant")
    ends = np.stack([runs["value"] - runs["low"], runs["high"] - runs["value"]])
    looks = {"fmt": "D", "color": style.QUIET, "markersize": 3.4, "markerfacecolor": "white", "elinewidth": 0.9}
    ax.errorbar(runs["T"], runs["value"], yerr=ends, capsize=2.0, label="ALRIGHT, runs", zorder=6, **looks)
