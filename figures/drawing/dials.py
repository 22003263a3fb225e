"""Drawing of a quantity over the values of one setting (a dial), one panel per setting."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis.methods import METHODS
from figures.analysis.small_tables import unpack
from figures.drawing import style
from figures.drawing.loss_space import PALE, draw_limits

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from figures.artefact import Data

APART = 0.1  # horizontal distance between two methods at one value of the setting
GAINS: dict[str, dict[str, Any]] = {
    "gain_dpo": {**style.OPTIMA["dpo"], "linestyle": "-"},
    "gain_sft": {**style.OPTIMA["sft"], "linestyle": (0, (4.0, 1.5))},
}


def draw_dial(ax: Axes, data: Data, panel: str, quantity: str) -> tuple[list[float], list[float]]:
    """Draw means, intervals and seeds of all methods over the settings of a panel; return (values, interval ends)."""
    grids = unpack(data.extra, "panel", panel=panel)["grid"]
    present = [m for m in METHODS if all(_has(data, m, grid) for grid in grids)]
    values: list[float] = []
    ends: list[float] = []
    for j, method in enumerate(present):
        looks = style.METHODS[method].kwargs()
        shift = (j - (len(present) - 1) / 2) * APART
        _draw_line(ax, data, (grids, quantity, method), shift, looks, values, ends)
    draw_places(ax, data, panel)
    return values, ends


def draw_gains(ax: Axes, data: Data, panel: str) -> tuple[list[float], list[float]]:
    """Draw the initial gaps of both objectives over the settings of a panel; return (values, interval ends)."""
    grids = unpack(data.extra, "panel", panel=panel)["grid"]
    values: list[float] = []
    ends: list[float] = []
    for shift, (quantity, looks) in zip((-APART / 2, APART / 2), GAINS.items(), strict=True):
        _draw_line(ax, data, (grids, quantity, ""), shift, {**looks, "zorder": 3}, values, ends)
    draw_places(ax, data, panel)
    return values, ends


def _has(data: Data, method: str, grid: str) -> bool:
    return len(unpack(data.extra, "bar", method=method, grid=grid)["value"]) > 0


def _draw_line(
    ax: Axes,
    data: Data,
    selection: tuple[np.ndarray, str, str],
    shift: float,
    looks: dict[str, Any],
    values: list[float],
    ends: list[float],
) -> None:
    """Draw one quantity of one method over the settings; append to `values` and to the interval `ends`.

    selection  (grids of the panel, quantity, method)
    """
    grids, quantity, method = selection
    wanted = {"quantity": quantity, "method": method}
    bars = [unpack(data.extra, "bar", grid=grid, **wanted) for grid in grids]
    x = np.arange(len(grids)) + shift
    means, low, high = (np.concatenate([bar[name][:1] for bar in bars]) for name in ("value", "low", "high"))
    ax.plot(x, means, clip_on=False, **looks)  # markers at the lower edge stay whole
    ax.vlines(x, low, high, color=looks["color"], linewidth=0.8, zorder=looks["zorder"])
    for place, grid in zip(x, grids, strict=True):
        dots = unpack(data.extra, "dot", grid=grid, **wanted)["value"]
        if len(dots) > 1:
            pale = {"color": looks["color"], "alpha": PALE, "markersize": 2.5, "markeredgewidth": 0.0}
            ax.plot(np.full(len(dots), place), dots, linestyle="", marker="o", zorder=2, **pale)
        values += list(dots)
    values += list(means)
    ends += [*low, *high]


def draw_places(ax: Axes, data: Data, panel: str) -> None:
    """Label the horizontal axis with the settings of a panel."""
    labels = unpack(data.extra, "panel", panel=panel)["label"]
    ax.set_xticks(range(len(labels)), list(labels))
    ax.set_xlim(-0.4, len(labels) - 0.6)
    ax.grid(visible=False, axis="x")


def draw_row(axes: Iterable[Axes], spans: Sequence[tuple[list[float], list[float]]]) -> None:
    """Give the axes of one row the same vertical limits, with numbers at the first one only.

    spans  (values, interval ends) of each of the axes
    """
    values, ends = ([value for span in spans for value in span[i]] for i in (0, 1))
    for i, ax in enumerate(axes):
        draw_limits(ax, values, ends)
        ax.axhline(0.0, color=style.INK, linewidth=0.6, zorder=1)
        ax.tick_params(labelleft=i == 0)
