"""Draw Sequential's gap with adapters against the number of steps, and θ during the second phase."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis.small_tables import rows_with
from figures.drawing import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data

# start -> colour and marker
LOOKS: dict[str, tuple[str, str]] = {
    "all weights": (style.METHODS["Sequential"].colour, "s"),
    "LoRA": ("#0072B2", "o"),
    "LoRA, rank 3, small": ("#009E73", "^"),
    "balanced": ("#7d3f61", "D"),
}
LABELS = {
    "all weights": "all weights",
    "LoRA": r"LoRA, $r=1$, $\Vert a\Vert=1$",
    "LoRA, rank 3, small": r"LoRA, $r=3$, $\Vert a\Vert=0.01$",
    "balanced": r"balanced, $b=a$",
}


def draw(data: Data) -> Figure:
    """Draw the gap against T, and the second phase."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 2.9))
    left, right = figure.subplots(1, 2)
    _draw_gaps(left, data)
    _draw_paths(right, data)
    left.set_title("(a) the gap")
    right.set_title("(b) the second phase")
    return figure


def _draw_gaps(ax: Axes, data: Data) -> None:
    """Draw the runs, their bounds and the laws."""
    for name, (colour, marker) in LOOKS.items():
        own = rows_with(data.table, start=name)
        ax.fill_between(own["T"], own["low"], own["high"], color=colour, alpha=0.25, linewidth=0.0)
        late = own["T"] >= 30
        ax.plot(own["T"][late], own["law"][late], color=colour, linewidth=0.9, zorder=2.5)
        white: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.4}
        ax.plot(own["T"], own["gap"], color=colour, marker=marker, linestyle="none", markersize=4.2, zorder=4.0,
                label=LABELS[name], **white)  # fmt: skip
    ax.set_xscale("log")
    ax.set_ylim(bottom=0.0)
    ax.set_xlabel(r"steps $T$ on each objective")
    ax.set_ylabel(r"gap $G_{\mathrm{Mix},\lambda}(\theta_T)$, $\lambda=\frac{1}{2}$")
    ax.legend(loc="upper left", handlelength=1.0, labelspacing=0.3, borderaxespad=0.2)


def _draw_paths(ax: Axes, data: Data) -> None:
    """Draw θ against the steps of the second phase, and the balanced adapter's base."""
    for name, (colour, _) in LOOKS.items():
        path = data.extra[f"path_{name}"]
        ax.plot(np.arange(1, len(path)), path[1:], color=colour, linewidth=1.3)
    dotted: dict[str, Any] = {"color": style.QUIET, "linewidth": 0.8, "linestyle": (0, (1.0, 1.6)), "zorder": 1.5}
    ax.axhline(float(data.facts["base of balanced"]), **dotted)
    ax.set_xscale("log")
    ax.set_xlabel(r"steps on $f_{\mathrm{SFT}}$")
    ax.set_ylabel(r"$\theta$")
