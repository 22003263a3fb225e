"""Drawing of Figure 5: the reference objective and the chosen reference parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from figures.drawing.style import ACCENT, COLUMN, INK, QUIET

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from figures.artefact import Data


def draw(data: Data) -> Figure:
    """Draw the curve with the chosen point."""
    from matplotlib.figure import Figure

    theta, values = data.table["theta"], data.table["f_ref"]
    chosen, at = float(data.facts["theta_ref"]), float(data.facts["value_at_theta_ref"])
    figure = Figure(figsize=(COLUMN, 2.3))
    axes = figure.subplots()
    axes.plot(theta, values, color=INK)
    axes.axhline(0.0, color=QUIET, linewidth=0.7, linestyle=(0, (4, 3)))
    axes.plot([chosen], [at], "o", color=ACCENT, markersize=6, markeredgecolor="white", zorder=5)
    axes.annotate(
        rf"$\theta_{{\mathrm{{ref}}}} = {chosen:g}$" + f"\nvalue {at:.4f}",
        (chosen, at),
        xytext=(chosen + 0.4, 1.55),
        ha="left",
        va="bottom",
        arrowprops={"arrowstyle": "-", "color": QUIET, "linewidth": 0.7, "shrinkB": 4},
    )
    axes.text(theta[0] + 0.4, -0.12, "infimum 0, not attained", color=QUIET, fontsize=7.5, va="top")
    axes.set_xlim(theta[0], theta[-1])
    axes.set_ylim(-0.6, values.max() * 1.03)
    axes.set_xlabel(r"$\theta$")
    axes.set_ylabel(r"$-\log\,\pi_\theta(y_w\,|\,x_{\mathrm{DPO}})$")
    return figure
