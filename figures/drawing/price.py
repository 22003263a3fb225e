"""Drawing of √T times ALRIGHT's gap against T, for the coin and the even alternation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from figures.drawing import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data

COIN, EVEN = style.METHODS["ALRIGHT"], "#8A3FA0"
THEOREM: dict[str, Any] = {"color": style.INK, "linestyle": (0, (1.0, 1.4))}
LEAST = 1e-4  # smaller values are not drawn
LIMIT = r"limit $\frac{\alpha_0}{4}\Sigma_i\lambda_i\|\nabla f_i(\theta^*_\lambda)\|^2$"
BAND: dict[str, Any] = {"facecolor": "#cfe3f1", "edgecolor": "none", "zorder": 1.0}


def draw(data: Data) -> Figure:
    """Draw one panel for each λ, on logarithmic axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 3.2))
    lams = np.unique(data.table["lam"])
    axes = figure.subplots(1, len(lams), sharex=True, sharey=True, squeeze=False)[0]
    for ax, lam in zip(axes, lams, strict=True):
        own = {name: column[data.table["lam"] == lam] for name, column in data.table.items()}
        _draw_panel(ax, own)
        ax.set_title(rf"$\lambda = {lam:g}$")
        ax.set_xlabel(r"iterates $T$")
    axes[0].set_ylim(bottom=LEAST)
    axes[0].set_ylabel(r"$\sqrt{T}\ \mathbf{E}\, G_{\mathrm{Mix},\lambda}(\theta_T)$")
    handles, labels = axes[-1].get_legend_handles_labels()
    style.legend_above(figure, handles, labels, columns=3)
    return figure


def _draw_panel(ax: Axes, own: dict[str, np.ndarray]) -> None:
    """Draw bounds, limit and gaps of one λ."""
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    T, limit, error = own["T"], own["limit"], own["error"]
    close = error < limit
    ax.fill_between(T[close], (limit - error)[close], (limit + error)[close], label="limit, proven error", **BAND)
    ax.plot(T, own["theorem_41"], label="Theorem 4.1", **THEOREM)
    ax.plot(T, limit, label=LIMIT, color=style.INK, linewidth=0.9, zorder=2.0)
    ax.plot(T, own["coin"], **COIN.kwargs(markersize=4.5), label="coin, exact")
    ax.plot(T, own["even_bound"], color=EVEN, linestyle=(0, (5.0, 1.6)), linewidth=1.0, label="even alternation, bound")
    even: dict[str, Any] = {"marker": "v", "markersize": 4.5, "markeredgecolor": "white", "markeredgewidth": 0.5}
    ax.plot(T, own["even"], color=EVEN, linewidth=1.0, zorder=3.0, label="even alternation", **even)
