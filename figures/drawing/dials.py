"""What the artefacts beyond the paper share of drawing: a quantity over the places of a dial."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis.loss_space import METHODS, select
from figures.drawing import style
from figures.drawing.loss_space import PALE, draw_limits

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from figures.artefact import Data

APART = 0.1  # between two methods at one place
GAINS: dict[str, dict[str, Any]] = {
    "gain_dpo": {**style.OPTIMA["dpo"], "linestyle": "-"},
    "gain_sft": {**style.OPTIMA["sft"], "linestyle": (0, (4.0, 1.5))},
}


def draw_dial(ax: Axes, data: Data, panel: str, quantity: str) -> tuple[list[float], list[float]]:
    """Means of all methods over a panel's places with their intervals and seeds; returns (values, interval ends)."""
    grids = select(data.extra, "panel", panel=panel)["grid"]
    present = [m for m in METHODS if all(_has(data, m, grid) for grid in grids)]
    seen: list[float] = []
    ends: list[float] = []
    for j, method in enumerate(present):
        looks = style.METHODS[method].kwargs()
        shift = (j - (len(present) - 1) / 2) * APART
        _draw_line(ax, data, (grids, quantity, method), shift, looks, seen, ends)
    draw_places(ax, data, panel)
    return seen, ends


def draw_gains(ax: Axes, data: Data, panel: str) -> tuple[list[float], list[float]]:
    """What there was to gain of both objectives over a panel's places, as `draw_dial`."""
    grids = select(data.extra, "panel", panel=panel)["grid"]
    seen: list[float] = []
    ends: list[float] = []
    for shift, (quantity, looks) in zip((-APART / 2, APART / 2), GAINS.items(), strict=True):
        _draw_line(ax, data, (grids, quantity, ""), shift, {**looks, "zorder": 3}, seen, ends)
    draw_places(ax, data, panel)
    return seen, ends


def _has(data: Data, method: str, grid: str) -> bool:
    return len(select(data.extra, "bar", method=method, grid=grid)["value"]) > 0


def _draw_line(
    ax: Axes,
    data: Data,
    what: tuple[np.ndarray, str, str],
    shift: float,
    looks: dict[str, Any],
    seen: list[float],
    ends: list[float],
) -> None:
    """A line over the places of one quantity of one method; adds to what is seen, and to the intervals' ends."""
    grids, quantity, method = what
    wanted = {"quantity": quantity, "method": method}
    found = [select(data.extra, "bar", grid=grid, **wanted) for grid in grids]
    x = np.arange(len(grids)) + shift
    values, low, high = (np.concatenate([bar[name][:1] for bar in found]) for name in ("value", "low", "high"))
    ax.plot(x, values, clip_on=False, **looks)  # whole marks at the lower edge
    ax.vlines(x, low, high, color=looks["color"], linewidth=0.8, zorder=looks["zorder"])
    for place, grid in zip(x, grids, strict=True):
        dots = select(data.extra, "dot", grid=grid, **wanted)["value"]
        if len(dots) > 1:
            pale = {"color": looks["color"], "alpha": PALE, "markersize": 2.5, "markeredgewidth": 0.0}
            ax.plot(np.full(len(dots), place), dots, linestyle="", marker="o", zorder=2, **pale)
        seen += list(dots)
    seen += list(values)
    ends += [*low, *high]


def draw_places(ax: Axes, data: Data, panel: str) -> None:
    """The places of a panel, named."""
    labels = select(data.extra, "panel", panel=panel)["label"]
    ax.set_xticks(range(len(labels)), list(labels))
    ax.set_xlim(-0.4, len(labels) - 0.6)
    ax.grid(visible=False, axis="x")


def draw_row(axes: Iterable[Axes], spans: Sequence[tuple[list[float], list[float]]]) -> None:
    """One scale for axes that stand beside each other, numbered at the first."""
    seen, ends = ([value for span in spans for value in span[i]] for i in (0, 1))
    for i, ax in enumerate(axes):
        draw_limits(ax, seen, ends)
        ax.axhline(0.0, color=style.INK, linewidth=0.6, zorder=1)
        ax.tick_params(labelleft=i == 0)
