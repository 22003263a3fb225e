"""Drawing of the gap against the share of replay: theory beside the simulator, and models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis.small_tables import unpack
from figures.drawing import style
from figures.drawing.loss_space import draw_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data

REPLAY = style.METHODS["Replay"]
SHADES = ("#e3b6cd", REPLAY.colour, "#7d3f61")  # short to long runs, shades of Replay's colour
MARKERS = ("o", "s", "^")
_LAW: dict[str, Any] = {"color": style.INK, "linewidth": 0.8, "linestyle": (0, (4.0, 2.5)), "zorder": 6.0}
_PROVEN: dict[str, Any] = {"facecolor": "#dcdcdc", "edgecolor": "white", "linewidth": 0.6, "zorder": 1.0}
PARTS = {
    "gap_mix": (r"$\lambda f_{\mathrm{DPO}}+(1-\lambda)f_{\mathrm{SFT}}$", REPLAY.colour, "o", "-"),
    "gap_dpo": (r"$f_{\mathrm{DPO}}$", style.OPTIMA["dpo"]["color"], "v", (0, (5.0, 1.6))),
    "gap_sft": (r"$f_{\mathrm{SFT}}$", style.OPTIMA["sft"]["color"], "<", (0, (1.0, 1.3))),
}


def draw(data: Data) -> Figure:
    """Draw (a) the lower-bound example and (b) models."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 3.3))
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1.0))
    _draw_toy(left, data)
    _draw_models(right, data)
    draw_scale(figure, data, more=f" in (b), λ = {data.facts['lam']:g}")
    return figure


def _draw_toy(ax: Axes, data: Data) -> None:
    """Draw law, proven boxes, full gradients and coins against the share."""
    toy = unpack(data.extra, "toy")
    for k, (least, most, low, high) in enumerate(data.extra["box"]):
        label = r"limit $T\to\infty$, proven" if k == 0 else None
        ax.fill_between([least, most], low, high, label=label, **_PROVEN)
    lengths = np.unique(toy["T"])
    for T, colour, marker in zip(lengths, SHADES[-len(lengths) :], MARKERS, strict=False):
        own = toy["T"] == T
        p, mean = toy["p"][own], toy["mean"][own]
        ax.plot(p, toy["gap"][own], color=colour, linewidth=1.2, zorder=3.0)
        ends = np.stack([mean - toy["mean_low"][own], toy["mean_high"][own] - mean])
        power = round(float(np.log10(T)))
        ax.errorbar(
            p, mean, ends, color=colour, marker=marker, markersize=4.0, markeredgecolor="white", markeredgewidth=0.4,
            linestyle="none", elinewidth=0.8, zorder=4.0, label=rf"$T=10^{{{power}}}$",
        )  # fmt: skip
    law = toy["T"] == lengths[0]
    ax.plot(toy["p"][law], toy["law"][law], label=r"$\lambda\log(1/p)+\lambda c\theta_{\mathrm{ref}}-f^*$", **_LAW)
    ax.set_xscale("log")
    ax.set_ylim(0.0, None)
    ax.set_xlabel(r"share of replay $p$")
    ax.set_ylabel(r"gap $G_{\mathrm{Mix},\lambda}(\theta_T)$")
    ax.set_title("(a) lower-bound example")
    ax.legend(loc="upper right", handlelength=1.8, labelspacing=0.3, borderaxespad=0.2)


def _draw_models(ax: Axes, data: Data) -> None:
    """Draw the gaps of models against the share, at equal distances."""
    means = unpack(data.extra, "mean")
    dots = unpack(data.extra, "model")
    shares = np.unique(means["p"])
    place = {share: k for k, share in enumerate(shares)}
    for k, (quantity, (label, colour, marker, line)) in enumerate(PARTS.items()):
        mean = unpack(data.extra, "mean", quantity=quantity)
        x = np.array([place[p] for p in mean["p"]]) + 0.08 * (k - 1)
        at = np.array([place[p] for p in dots["p"]]) + 0.08 * (k - 1)
        ax.plot(at, dots[quantity], marker=".", linestyle="none", color=colour, alpha=0.35, markersize=4.0)
        ax.vlines(x, mean["low"], mean["high"], color=colour, linewidth=0.8)
        ax.plot(
            x, mean["value"], color=colour, marker=marker, linestyle=line, markeredgecolor="white",
            markeredgewidth=0.5, markersize=5.5, label=label,
        )  # fmt: skip
    ax.set_xticks(range(len(shares)), [f"{share:g}" for share in shares])
    ax.set_xlim(-0.4, len(shares) - 0.6)
    values = np.concatenate([dots[quantity] for quantity in PARTS])
    ends = np.clip(means["high"], None, 1.1 * values.max())
    top = float(np.nanmax(np.append(values, ends)))
    ax.set_ylim(min(0.0, 1.1 * float(values.min())) - 0.04 * top, 1.22 * top)  # room for the legend
    ax.set_xlabel(r"share of replay $p$ (0: Sequential)")
    ax.set_ylabel(r"gap to $f^*$, held-out rows")
    ax.set_title("(b) models")
    ax.legend(loc="upper center", ncols=3, handlelength=2.2, columnspacing=1.0, borderaxespad=0.1)
