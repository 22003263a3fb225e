"""Drawing shared by the figures of the loss space: paths and final points, bars with intervals, legends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis.loss_space import GAPS
from figures.analysis.methods import METHODS
from figures.analysis.small_tables import rows_with, unpack
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
    "utilisation_increase": "increase in GPU utilization (%)",
    "tokens_increase": "increase in tokens (%)",
}
RUNTIMES = {"cpu_seconds": "CPU time (s)", "seconds": "wall-clock time (s)"}
SPREAD = 0.4  # an interval is drawn up to this share of the range of all seeds' values beyond that range
WIDE = 12.0  # ratio of largest to smallest value above which an axis is logarithmic
FAR = 6.0  # ratio of largest to median height above which an axis is linear only up to NEAR
NEAR = 0.1
PALE = 0.35
LEGEND_COLUMNS = 7

FRONT_CAPTION = (  # of the figures that `draw_fronts` draws
    "Losses on held-out rows; lower left is better, and the star is the ideal point f*, whose coordinates are the "
    "losses after training on each objective alone. (a) The final points of every λ, joined; larger marks stand for "
    "larger λ, the weight of DPO (for Sequential: the share of its steps on DPO); small pale marks are single seeds. "
    "(b) The paths during training, means over seeds; axes with a wide range are logarithmic, that of f_DPO linear "
    "up to 0.1. (c)-(e) Gaps to f* and the ideal distance, which is the Euclidean norm of both gaps. (f), (g) The "
    "cost of the training steps, in per cent more than Sequential's with the same λ and seed: runtime (on a CPU the "
    "CPU time, which other programs affect less than wall-clock time), and the GPU's utilization where it was "
    "recorded, else the number of tokens that passed the model. Bars are means over seeds, dots the seeds, lines 95 "
    "% intervals; a line that ends at the frame continues beyond it. An axis of gaps or distances with a wide range "
    "is linear up to 0.1 and logarithmic above."
)


def methods_of(data: Data) -> list[str]:
    """Return the methods with rows in the table or with bars, in the order of METHODS."""
    present = {*data.table["method"], *data.extra.get("bar_method", ())}
    return [method for method in METHODS if method in present]


def draw_losses(ax: Axes, values: Sequence[Mapping[str, np.ndarray]], data: Data) -> None:
    """Set up axes of the loss space, f_DPO over f_SFT, with the start and the ideal point.

    Where the losses span a wide range, the axis of f_SFT is logarithmic and that of f_DPO is logarithmic above NEAR and
    linear below, since f_DPO can be almost 0.

    values  f_sft and f_dpo of everything drawn
    """
    ax.plot(*data.extra["start"], linestyle="", zorder=6, **style.START)
    ax.plot(*data.extra["ideal"], linestyle="", zorder=7, **style.IDEAL)
    f_sft, f_dpo = (
        np.concatenate([*(v[name] for v in values), data.extra["ideal"][i : i + 1]])
        for i, name in enumerate(("f_sft", "f_dpo"))
    )
    f_dpo, f_sft = f_dpo[np.isfinite(f_dpo)], f_sft[np.isfinite(f_sft)]
    if len(f_dpo) and f_dpo.max() > WIDE * f_dpo.min():
        _draw_symlog(ax)
        ax.set_ylim(-0.02, f_dpo.max() * 1.5)
    if len(f_sft) and f_sft.max() > FAR * f_sft.min() > 0.0:
        ax.set_xscale("log")
        _draw_plain_ticks(ax)
    ax.set_xlabel(r"$f_{\mathrm{SFT}}$")
    ax.set_ylabel(r"$f_{\mathrm{DPO}}$")


def _draw_plain_ticks(ax: Axes) -> None:
    """Label a logarithmic axis with 0.1, 0.2, 0.5, 1 instead of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def draw_paths(ax: Axes, data: Data, *, pale: bool = False) -> list[dict[str, np.ndarray]]:
    """Draw and return the mean path of every method and λ."""
    paths = []
    for method in METHODS:
        own = unpack(data.extra, "path", method=method)
        for lam in np.unique(own["lam"]) if own else ():
            path = unpack(data.extra, "path", method=method, lam=lam)
            looks = style.METHODS[method].kwargs(marker="", linewidth=0.8 if pale else 1.4, alpha=PALE if pale else 1.0)
            ax.plot(path["f_sft"], path["f_dpo"], **looks)
            paths.append(path)
    return paths


def draw_ends(ax: Axes, data: Data, *, join: bool) -> list[dict[str, np.ndarray]]:
    """Draw the final points, larger marks for larger λ, and return their means over seeds.

    Marks of single seeds are small and pale; `join` connects the means of a method in the order of λ.
    """
    means = []
    for method in methods_of(data):
        path, rows = unpack(data.extra, "path", method=method), rows_with(data.table, method=method)
        if not path:
            continue
        ends = _last(path, "lam")
        looks = style.METHODS[method]
        for seed in np.unique(rows["seed"]):
            one = _last(rows_with(rows, seed=seed), "lam")
            pale = looks.kwargs(linestyle="", markersize=2.5, alpha=PALE, markeredgewidth=0.0)
            ax.plot(one["f_sft"], one["f_dpo"], **pale)
        if join:
            ax.plot(ends["f_sft"], ends["f_dpo"], **looks.kwargs(marker="", linewidth=0.9))
        for x, y, size in zip(ends["f_sft"], ends["f_dpo"], marker_sizes(len(ends["lam"])), strict=True):
            ax.plot(x, y, **looks.kwargs(linestyle="", markersize=size))
        means.append(ends)
    return means


def marker_sizes(count: int) -> np.ndarray:
    """Return the sizes of `count` markers in points, from the smallest λ to the largest."""
    return np.linspace(4.0, 8.0, count) if count > 1 else np.array([6.5])


def _last(rows: Mapping[str, np.ndarray], by: str) -> dict[str, np.ndarray]:
    """Return the row of the last step for every value of the column `by`, in ascending order."""
    chosen = []
    for value in np.unique(rows[by]):
        own = np.flatnonzero(rows[by] == value)
        chosen.append(int(own[np.argmax(rows["step"][own])]))
    return {name: column[chosen] for name, column in rows.items()}


def draw_bars(ax: Axes, data: Data, groups: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw a group of bars, one per method, for every label; intervals as lines, seeds as dots.

    groups  label -> column values that select the bars
    """
    methods = methods_of(data)
    width = 0.84 / len(methods)
    values: list[float] = []
    ends: list[float] = []
    for i, wanted in enumerate(groups.values()):
        for j, method in enumerate(methods):
            x = i + (j - (len(methods) - 1) / 2) * width
            bar = unpack(data.extra, "bar", method=method, **wanted)
            ax.bar(np.full(len(bar["value"]), x), bar["value"], width, **style.METHODS[method].bar())
            dots = unpack(data.extra, "dot", method=method, **wanted)["value"]
            draw_spread(ax, x, bar, dots)
            values += [*bar["value"], *dots]
            ends += [*bar["low"], *bar["high"]]
    ax.axhline(0.0, color=style.INK, linewidth=0.6)
    ax.set_xticks(range(len(groups)), list(groups))
    ax.grid(visible=False, axis="x")
    if all(wanted["quantity"] in GAPS for wanted in groups.values()):
        draw_far(ax, values)
    draw_limits(ax, values, ends)


def draw_spread(ax: Axes, x: float, bar: Mapping[str, np.ndarray], dots: np.ndarray, aside: float = 0.0) -> None:
    """Draw the interval of a mean as a line and its seeds as dots, `aside` to the right of the line."""
    if len(dots) > 1:
        ax.vlines(np.full(len(bar["low"]), x), bar["low"], bar["high"], color=style.INK, linewidth=0.8, zorder=3)
        looks: dict[str, Any] = {"color": "white", "markeredgecolor": style.INK, "markeredgewidth": 0.5}
        ax.plot(np.full(len(dots), x + aside), dots, linestyle="", marker="o", markersize=2.2, zorder=6, **looks)


def draw_far(ax: Axes, values: Sequence[float]) -> None:
    """Make the vertical axis logarithmic above NEAR where the largest value is far above the median."""
    heights = np.abs([v for v in values if np.isfinite(v) and v != 0.0])
    if len(heights) and heights.max() > max(NEAR, FAR * float(np.median(heights))):
        _draw_symlog(ax)


def _draw_symlog(ax: Axes) -> None:
    """Make the vertical axis logarithmic above NEAR and linear below."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    ax.set_yscale("symlog", linthresh=NEAR, linscale=0.6)
    ticks = [0.0, *(sign * v * 10.0**e for sign in (-1, 1) for e in range(-1, 3) for v in (1, 3))]
    ax.yaxis.set_major_locator(FixedLocator(ticks))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def draw_limits(ax: Axes, values: Sequence[float], ends: Sequence[float]) -> None:
    """Set vertical limits that show all values, and long intervals only in part; non-negative data begin at 0.

    With two seeds, an interval is 13 times as long as the distance of the seeds.
    """
    finite = np.array([0.0, *(v for v in values if np.isfinite(v))])
    spread = np.array([v for v in ends if np.isfinite(v)])
    low, high = float(finite.min()), float(finite.max())
    span = (high - low) or 1.0
    top = max(high, *np.clip(spread, low, high + SPREAD * span), high)
    bottom = min(low, *np.clip(spread, low - SPREAD * span, high), low) - 0.04 * span if low < 0.0 else 0.0
    ax.set_ylim(bottom, top + 0.06 * span)


def draw_legend(figure: Figure, methods: Sequence[str], *, bars: bool, points: bool = True) -> None:
    """Draw a legend of lines and markers above the axes, optionally with bars and with start and ideal point."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: dict[str, Any] = {}
    for method in methods:
        line = Line2D([], [], **style.METHODS[method].kwargs(markersize=5.5))
        handles[method] = (line, Patch(**style.METHODS[method].bar())) if bars else line
    draw_pairs(figure, handles, points=points)


def draw_pairs(figure: Figure, handles: Mapping[str, Any], *, points: bool = True) -> None:
    """Draw a legend above the axes; handles of a tuple stand side by side; start and ideal point come last."""
    from matplotlib.legend_handler import HandlerTuple
    from matplotlib.lines import Line2D

    single = {"start": style.START, "ideal point $f^*$": style.IDEAL} if points else {}
    handles = {**handles, **{name: Line2D([], [], linestyle="", **looks) for name, looks in single.items()}}
    together: dict[Any, Any] = {tuple: HandlerTuple(ndivide=None, pad=0.4)}
    rows = -(-len(handles) // LEGEND_COLUMNS)
    options: dict[str, Any] = {"loc": "outside upper center", "ncols": -(-len(handles) // rows), "columnspacing": 1.1}
    figure.legend(list(handles.values()), list(handles), handler_map=together, handlelength=3.6, **options)


def draw_scale(figure: Figure, data: Data, more: str = "") -> None:
    """Write the scale of the runs in small letters below the figure."""
    figure.supxlabel(f"{data.facts['scale']}{more}", fontsize=7.0, color=style.QUIET)


def draw_fronts(data: Data) -> Figure:
    """Draw Figures 3, 7 and 8: fronts and paths on the left; bars by λ on the right, one row per quantity."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 6.0))
    left, right = figure.subfigures(1, 2, width_ratios=(0.8, 1.0), squeeze=False)[0]
    top, bottom = left.subplots(2, 1)
    draw_losses(top, draw_ends(top, data, join=True), data)
    top.set_title("(a) final points")
    paths = draw_paths(bottom, data, pale=True)
    draw_ends(bottom, data, join=False)
    draw_losses(bottom, paths, data)
    bottom.set_title("(b) paths during training")
    quantities = list(dict.fromkeys(data.extra["bar_quantity"]))
    lams = np.unique(data.extra["bar_lam"])
    axes = right.subplots(len(quantities), 1, sharex=True)
    for ax, quantity, letter in zip(axes, quantities, "cdefg", strict=False):
        draw_bars(ax, data, {f"{lam:g}": {"quantity": quantity, "lam": lam} for lam in lams})
        ax.set_title(f"({letter}) {LABELS[quantity]}", pad=3.0)
    axes[-1].set_xlabel(r"$\lambda$")
    draw_legend(figure, methods_of(data), bars=True)
    draw_scale(figure, data)
    return figure
