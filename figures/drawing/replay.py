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
KEPT: dict[str, dict[str, Any]] = {
    "skill_exact_match": {"label": "skill, exact answers", "color": REPLAY.colour, "marker": "o", "linestyle": "-"},
    "accuracy": {"label": "preferences", "color": style.OPTIMA["dpo"]["color"], "marker": "v", "linestyle": ":"},
}


def draw(data: Data) -> Figure:
    """Draw (a) the lower-bound example, (b) models, and (c) recorded runs of a real model, if there are any."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 3.3))
    kept = unpack(data.extra, "kept")
    ratios = (1.15, 1.05, 0.8) if kept else (1.15, 1.0)
    axes = figure.subplots(1, len(ratios), width_ratios=ratios)
    _draw_toy(axes[0], data)
    _draw_models(axes[1], data)
    if kept:
        _draw_recorded(axes[2], data)
    recorded = f"\nin (c) recorded results: {data.facts['recorded']}" if kept else ""
    draw_scale(figure, data, more=f" in (b), λ = {data.facts['lam']:g}{recorded}")
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


def _draw_recorded(ax: Axes, data: Data) -> None:
    """Draw the shares of kept skill and preferences of the recorded runs against the share, at equal distances."""
    shares = np.unique(unpack(data.extra, "kept")["p"])
    dots = unpack(data.extra, "real")
    ax.axhline(0.5, color=style.QUIET, linewidth=0.6, zorder=1.0)
    for k, (quantity, looks) in enumerate(KEPT.items()):
        mean = unpack(data.extra, "kept", quantity=quantity)
        x = np.searchsorted(shares, mean["p"]) + 0.08 * (k - 0.5)
        ax.vlines(x, np.maximum(mean["low"], 0.0), np.minimum(mean["high"], 1.0), color=looks["color"], linewidth=0.8)
        ax.plot(x, mean["value"], markersize=5.5, markeredgecolor="white", markeredgewidth=0.5, **looks)
        if np.nanmax(mean["n"]) > 1:
            style.draw_seeds(ax, np.searchsorted(shares, dots["p"]) + 0.08 * (k - 0.5), dots[quantity])
    ax.set_xticks(range(len(shares)), [f"{share:g}" for share in shares])
    ax.set_xlim(-0.4, len(shares) - 0.6)
    ax.set_ylim(0.0, 1.25)  # room for the legend
    ax.set_yticks(np.linspace(0.0, 1.0, 5))
    ax.set_xlabel(r"share of replay $p$")
    ax.set_ylabel("share at the end")
    ax.set_title("(c) real model, recorded")
    ax.legend(loc="upper center", handlelength=2.2, labelspacing=0.2, borderaxespad=0.1)


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
    ax.set_ylim(min(0.0, 1.1 * float(values.min())) - 0.04 * top, 1.3 * top)  # room for the legend
    ax.set_xlabel(r"share of replay $p$ (0: Sequential)")
    ax.set_ylabel(r"gap to $f^*$, held-out rows")
    ax.set_title("(b) models")
    ax.legend(loc="upper center", ncols=2, handlelength=2.0, columnspacing=0.8, labelspacing=0.2, borderaxespad=0.1)
