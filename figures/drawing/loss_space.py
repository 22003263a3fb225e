"""What Figures 1, 3, 4, 7 and 8 share of drawing: paths and last points in loss space, bars with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis.loss_space import GAPS, METHODS, chosen, select
from figures.drawing import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data

LABELS = {
    "gap_dpo": r"$f_{\mathrm{DPO}}-f^*_{\mathrm{DPO}}$",
    "gap_sft": r"$f_{\mathrm{SFT}}-f^*_{\mathrm{SFT}}$",
    "ideal_distance": "ideal distance",
    "runtime_increase": "increase in runtime (%)",
    "utilisation_increase": "increase in GPU utilisation (%)",
    "tokens_increase": "increase in tokens (%)",
}
HATCHES = {"Sequential": "", "Mix": "......", "ALRIGHT": "/////", "MAXRIGHT": "xxxxx"}
RUNTIMES = {"cpu_seconds": "processor seconds", "seconds": "seconds"}
SPREAD = 0.4  # an interval may be longer than what is shown of it: this share of the height beyond all seeds' values
WIDE = 12.0  # a loss whose largest value is so many times its least has a logarithmic axis
FAR = 6.0  # heights whose largest is so many times their median are drawn linearly up to NEAR only
NEAR = 0.1
PALE = 0.35
IN_A_ROW = 7  # entries of a legend


def draw_losses(ax: Axes, values: Sequence[Mapping[str, np.ndarray]], data: Data) -> None:
    """Axes of the loss space, f_DPO over f_SFT, with start and ideal point.

    Where the losses span far, f_DPO's axis is logarithmic beyond NEAR and linear below, for it can be all but 0, and
    f_SFT's is logarithmic.
    """
    ax.plot(*data.extra["start"], linestyle="", zorder=6, **style.START)
    ax.plot(*data.extra["ideal"], linestyle="", zorder=7, **style.IDEAL)
    f_sft, f_dpo = (
        np.concatenate([*(v[name] for v in values), data.extra["ideal"][i : i + 1]])
        for i, name in enumerate(("f_sft", "f_dpo"))
    )
    f_dpo, f_sft = f_dpo[np.isfinite(f_dpo)], f_sft[np.isfinite(f_sft)]
    if len(f_dpo) and f_dpo.max() > WIDE * f_dpo.min():
        _draw_far(ax)
        ax.set_ylim(-0.02, f_dpo.max() * 1.5)
    if len(f_sft) and f_sft.max() > FAR * f_sft.min() > 0.0:
        ax.set_xscale("log")
        _draw_plain_ticks(ax)
    ax.set_xlabel(r"$f_{\mathrm{SFT}}$")
    ax.set_ylabel(r"$f_{\mathrm{DPO}}$")


def _draw_plain_ticks(ax: Axes) -> None:
    """0.1, 0.2, 0.5, 1 instead of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def draw_paths(ax: Axes, data: Data, *, pale: bool = False) -> list[dict[str, np.ndarray]]:
    """The mean path of every method and λ; returns them."""
    found = []
    for method in METHODS:
        own = select(data.extra, "path", method=method)
        for lam in np.unique(own["lam"]) if own else ():
            path = select(data.extra, "path", method=method, lam=lam)
            looks = style.METHODS[method].kwargs(marker="", linewidth=0.8 if pale else 1.4, alpha=PALE if pale else 1.0)
            ax.plot(path["f_sft"], path["f_dpo"], **looks)
            found.append(path)
    return found


def draw_ends(ax: Axes, data: Data, *, join: bool) -> list[dict[str, np.ndarray]]:
    """The last points: of every seed small and pale, their means by λ, joined if asked for; a larger mark is a larger
    λ. Returns the means.
    """
    found = []
    for method in METHODS:
        path, rows = select(data.extra, "path", method=method), chosen(data.table, method=method)
        if not path:
            continue
        ends = _last(path, "lam")
        looks = style.METHODS[method]
        for seed in np.unique(rows["seed"]):
            one = _last(chosen(rows, seed=seed), "lam")
            pale = looks.kwargs(linestyle="", markersize=2.5, alpha=PALE, markeredgewidth=0.0)
            ax.plot(one["f_sft"], one["f_dpo"], **pale)
        if join:
            ax.plot(ends["f_sft"], ends["f_dpo"], **looks.kwargs(marker="", linewidth=0.9))
        for x, y, size in zip(ends["f_sft"], ends["f_dpo"], sizes(len(ends["lam"])), strict=True):
            ax.plot(x, y, **looks.kwargs(linestyle="", markersize=size))
        found.append(ends)
    return found


def sizes(count: int) -> np.ndarray:
    """Of the marks, from the smallest λ to the largest."""
    return np.linspace(4.0, 8.0, count) if count > 1 else np.array([6.5])


def _last(rows: Mapping[str, np.ndarray], by: str) -> dict[str, np.ndarray]:
    """The row of the last step for every value of the column `by`, in its order."""
    chosen = []
    for value in np.unique(rows[by]):
        here = np.flatnonzero(rows[by] == value)
        chosen.append(int(here[np.argmax(rows["step"][here])]))
    return {name: column[chosen] for name, column in rows.items()}


def bar_looks(method: str) -> dict[str, Any]:
    """Of a bar: its method's colour and pattern."""
    return {"facecolor": style.METHODS[method].colour, "hatch": HATCHES[method], "edgecolor": "white", "linewidth": 0.0}


def draw_bars(ax: Axes, data: Data, groups: Mapping[str, Mapping[str, Any]]) -> None:
    """Bars of all methods, a group for every label with what to select; intervals as lines, seeds as dots."""
    width = 0.84 / len(METHODS)
    seen: list[float] = []
    ends: list[float] = []
    for i, wanted in enumerate(groups.values()):
        for j, method in enumerate(METHODS):
            x = i + (j - (len(METHODS) - 1) / 2) * width
            bar = select(data.extra, "bar", method=method, **wanted)
            ax.bar(np.full(len(bar["value"]), x), bar["value"], width, **bar_looks(method))
            dots = select(data.extra, "dot", method=method, **wanted)["value"]
            draw_spread(ax, x, bar, dots)
            seen += [*bar["value"], *dots]
            ends += [*bar["low"], *bar["high"]]
    ax.axhline(0.0, color=style.INK, linewidth=0.6)
    ax.set_xticks(range(len(groups)), list(groups))
    ax.grid(visible=False, axis="x")
    if all(wanted["quantity"] in GAPS for wanted in groups.values()):
        draw_far(ax, seen)
    draw_limits(ax, seen, ends)


def draw_spread(ax: Axes, x: float, bar: Mapping[str, np.ndarray], dots: np.ndarray, aside: float = 0.0) -> None:
    """The interval of a mean as a line, and the seeds that it is of as dots, so far to its right."""
    if len(dots) > 1:
        ax.vlines(np.full(len(bar["low"]), x), bar["low"], bar["high"], color=style.INK, linewidth=0.8, zorder=3)
        looks: dict[str, Any] = {"color": "white", "markeredgecolor": style.INK, "markeredgewidth": 0.5}
        ax.plot(np.full(len(dots), x + aside), dots, linestyle="", marker="o", markersize=2.2, zorder=6, **looks)


def draw_far(ax: Axes, values: Sequence[float]) -> None:
    """A vertical axis that is logarithmic beyond NEAR, where the largest value would dwarf the others."""
    heights = np.abs([v for v in values if np.isfinite(v) and v != 0.0])
    if len(heights) and heights.max() > max(NEAR, FAR * float(np.median(heights))):
        _draw_far(ax)


def _draw_far(ax: Axes) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    ax.set_yscale("symlog", linthresh=NEAR, linscale=0.6)
    ticks = [0.0, *(sign * v * 10.0**e for sign in (-1, 1) for e in range(-1, 3) for v in (1, 3))]
    ax.yaxis.set_major_locator(FixedLocator(ticks))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def draw_limits(ax: Axes, seen: Sequence[float], ends: Sequence[float]) -> None:
    """Show all values, and as much of their intervals as leaves the values room: with two seeds an interval is nine
    times their distance. What is not negative begins at 0.
    """
    values = np.array([0.0, *(v for v in seen if np.isfinite(v))])
    spread = np.array([v for v in ends if np.isfinite(v)])
    low, high = float(values.min()), float(values.max())
    room = (high - low) or 1.0
    top = max(high, *np.clip(spread, low, high + SPREAD * room), high)
    bottom = min(low, *np.clip(spread, low - SPREAD * room, high), low) - 0.04 * room if low < 0.0 else 0.0
    ax.set_ylim(bottom, top + 0.06 * room)


def draw_legend(figure: Figure, *, bars: bool, points: bool = True, methods: Sequence[str] = METHODS) -> None:
    """The methods' lines and marks above, with start and ideal point if there are any, and with the bars' patterns."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: dict[str, Any] = {}
    for method in methods:
        line = Line2D([], [], **style.METHODS[method].kwargs(markersize=5.5))
        handles[method] = (line, Patch(**bar_looks(method))) if bars else line
    draw_pairs(figure, handles, points=points)


def draw_pairs(figure: Figure, handles: Mapping[str, Any], *, points: bool = True) -> None:
    """A legend above, in which a pair of handles stands side by side; start and ideal point come last."""
    from matplotlib.legend_handler import HandlerTuple
    from matplotlib.lines import Line2D

    single = {"start": style.START, "ideal point $f^*$": style.IDEAL} if points else {}
    handles = {**handles, **{name: Line2D([], [], linestyle="", **looks) for name, looks in single.items()}}
    together: dict[Any, Any] = {tuple: HandlerTuple(ndivide=None, pad=0.4)}
    rows = -(-len(handles) // IN_A_ROW)
    options: dict[str, Any] = {"loc": "outside upper center", "ncols": -(-len(handles) // rows), "columnspacing": 1.1}
    figure.legend(list(handles.values()), list(handles), handler_map=together, handlelength=3.6, **options)


def draw_scale(figure: Figure, data: Data, more: str = "") -> None:
    """At what scale this is, in small letters below."""
    figure.supxlabel(f"{data.facts['scale']}{more}", fontsize=7.0, color=style.QUIET)


def draw_fronts(data: Data) -> Figure:
    """Figures 3, 7 and 8: fronts and paths on the left; bars by λ on the right, a row a quantity."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 6.0))
    left, right = figure.subfigures(1, 2, width_ratios=(0.8, 1.0), squeeze=False)[0]
    top, bottom = left.subplots(2, 1)
    draw_losses(top, draw_ends(top, data, join=True), data)
    top.set_title("(a) where they end")
    paths = draw_paths(bottom, data, pale=True)
    draw_ends(bottom, data, join=False)
    draw_losses(bottom, paths, data)
    bottom.set_title("(b) how they get there")
    quantities = list(dict.fromkeys(data.extra["bar_quantity"]))
    lams = np.unique(data.extra["bar_lam"])
    axes = right.subplots(len(quantities), 1, sharex=True)
    for ax, quantity, letter in zip(axes, quantities, "cdefg", strict=False):
        draw_bars(ax, data, {f"{lam:g}": {"quantity": quantity, "lam": lam} for lam in lams})
        ax.set_title(f"({letter}) {LABELS[quantity]}", pad=3.0)
    axes[-1].set_xlabel(r"$\lambda$")
    draw_legend(figure, bars=True)
    draw_scale(figure, data)
    return figure
