"""Drawing of several tasks in a row: a heat map of task by stage for each method, and the measures of all methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis.small_tables import unpack
from figures.drawing import style
from figures.drawing.real import made_line, method_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data

ACROSS = 4  # heat maps in a row
SHADES = ("#ffffff", "#0072B2")  # of a performance of 0 and of 1
DARK = 0.6  # performance from which numbers are white
KINDS = {"sft": "SFT", "preference": "pref."}
MEASURES = {
    "average": "average at the end",
    "forgetting": "forgetting",
    "backward_transfer": "backward transfer",
    "forward_transfer": "forward transfer",
}


def draw(data: Data) -> Figure:
    """Draw the heat maps above, the measures below."""
    from matplotlib.figure import Figure

    if not len(data.table["label"]):
        return _draw_nothing(data)
    labels = list(dict.fromkeys(data.extra["cell_label"].tolist()))
    rows = -(-(len(labels) + 1) // ACROSS)
    figure = Figure(figsize=(style.PAGE, 1.3 * rows + 0.21 * len(labels) + 1.1))
    heights = (1.3 * rows, 0.21 * len(labels) + 0.6)
    upper, lower = figure.subfigures(2, 1, height_ratios=heights, squeeze=False)[:, 0]
    axes = upper.subplots(rows, ACROSS, squeeze=False)
    for place, label in enumerate(labels):
        ax = axes.flat[place]
        _draw_map(ax, data, label)
        ax.set_title(f"({'abcdefghijkl'[place]}) {label}", fontsize=8.5, pad=3.0)
        ax.tick_params(labelleft=place % ACROSS == 0)
    for ax in axes.flat[len(labels) :]:
        ax.set_axis_off()
    _draw_key(axes.flat[len(labels)])
    for ax, (quantity, title) in zip(lower.subplots(1, len(MEASURES), sharey=True), MEASURES.items(), strict=True):
        _draw_measure(ax, data, quantity, labels)
        ax.set_title(title, fontsize=8.5)
    figure.supxlabel(f"{made_line(data)}; {_stage(data)}", fontsize=7.0, color=style.QUIET)
    return figure


def _draw_nothing(data: Data) -> Figure:
    """Draw the line of a figure of which nothing is recorded."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 0.5))
    figure.text(0.5, 0.5, str(data.facts["scale"]), ha="center", va="center", fontsize=8.0, color=style.QUIET)
    return figure


def _stage(data: Data) -> str:
    """Return the number of steps of a stage as text."""
    steps = data.table["step"][data.table["stage"] == 1]
    return f"{int(steps[0])} steps a stage"


def _draw_map(ax: Axes, data: Data, label: str) -> None:
    """Draw one method's performance on each task after each stage, with numbers in the cells."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle

    tasks = data.extra["task"].tolist()
    cells = unpack(data.extra, "cell", label=label)
    stages = np.unique(cells["stage"]).astype(int)
    grid = np.full((len(tasks), len(stages)), np.nan)
    shades = LinearSegmentedColormap.from_list("performance", SHADES)
    for stage, task, value, trained in zip(
        *(cells[n] for n in ("stage", "task", "performance", "trained")), strict=True
    ):
        x, y = int(stage), tasks.index(task)
        grid[y, x] = value
        colour = "white" if value > DARK else style.INK
        ax.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=6.5, color=colour)
        if trained:
            frame: dict[str, Any] = {"fill": False, "edgecolor": style.ACCENT, "linewidth": 1.4, "zorder": 4.0}
            ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1.0, 1.0, **frame))
    ax.imshow(grid, cmap=shades, vmin=0.0, vmax=1.0, aspect="auto")
    kinds = [KINDS[kind] for kind in data.extra["kind"].tolist()]
    ax.set_yticks(range(len(tasks)), [f"{task} ({kind})" for task, kind in zip(tasks, kinds, strict=True)])
    ax.set_xticks(range(len(stages)), [str(stage) for stage in stages])
    ax.tick_params(length=0.0, labelsize=7.0, pad=2.0)
    ax.grid(visible=False)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)


def _draw_key(ax: Axes) -> None:
    """Explain cells, frames and columns."""
    from matplotlib.patches import Rectangle

    text: dict[str, Any] = {"transform": ax.transAxes, "fontsize": 7.0, "va": "center"}
    for k, value in enumerate((0.0, 0.25, 0.5, 0.75, 1.0)):
        colour = [a + value * (b - a) for a, b in zip(*map(_rgb, SHADES), strict=True)]
        box: dict[str, Any] = {"transform": ax.transAxes, "facecolor": colour, "edgecolor": style.GRID}
        ax.add_patch(Rectangle((0.06 + 0.18 * k, 0.72), 0.18, 0.2, **box))
        white = "white" if value > DARK else style.INK
        ax.text(0.15 + 0.18 * k, 0.82, f"{value:g}", ha="center", color=white, **text)
    ax.text(0.06, 0.56, r"performance $e^{-f}$, held out", **text)
    frame: dict[str, Any] = {"fill": False, "edgecolor": style.ACCENT, "linewidth": 1.4, "transform": ax.transAxes}
    ax.add_patch(Rectangle((0.06, 0.25), 0.16, 0.18, **frame))
    ax.text(0.27, 0.34, "the task's own stage", **text)
    ax.text(0.06, 0.08, "columns: stages (0: untrained)", **text)


def _rgb(colour: str) -> tuple[float, ...]:
    from matplotlib.colors import to_rgb

    return to_rgb(colour)


def _draw_measure(ax: Axes, data: Data, quantity: str, labels: list[str]) -> None:
    """Draw one measure of all methods: means, intervals and seeds, one method a line."""
    ends: list[float] = []
    for y, label in enumerate(labels):
        mean = unpack(data.extra, "mean", label=label, quantity=quantity)
        if not len(mean["value"]):
            ax.text(0.5, y, "–", ha="center", va="center", color=style.QUIET, transform=ax.get_yaxis_transform())
            continue
        looks = style.METHODS[method_of(label)].kwargs(linestyle="", markersize=5.5)
        dots = unpack(data.extra, "dot", label=label, quantity=quantity)["value"]
        ax.hlines(y, mean["low"], mean["high"], color=looks["color"], linewidth=0.8, zorder=2.0)
        ax.plot(mean["value"], [y], **looks)
        if len(dots) > 1:
            style.draw_seeds(ax, dots, np.full(len(dots), y))
        ends += [*dots, *mean["value"]]
    ends = [*ends, 0.0]
    room = 0.08 * (max(ends) - min(ends) or 1.0)
    ax.set_xlim(min(ends) - room, max(ends) + room)
    ax.axvline(0.0, color=style.INK, linewidth=0.6, zorder=1.0)
    ax.set_yticks(range(len(labels)), labels, fontsize=7.5)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.tick_params(axis="x", labelsize=7.0)
    ax.locator_params(axis="x", nbins=4, steps=[1, 2, 5, 10])
    ax.grid(visible=False, axis="y")
