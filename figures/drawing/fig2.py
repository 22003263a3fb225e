"""Drawing of Figure 2: the toy illustration in weight space and in loss space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from figures.drawing import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data

COLUMNS = ("Sequential", "ALRIGHT", "MAXRIGHT")


def draw(data: Data) -> Figure:
    """Draw weight space above loss space, one column per method, with Mix as a reference in grey."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 5.6))
    axes = figure.subplots(2, 3, sharex="row", sharey="row")
    paths = {
        name: {c: data.table[c][data.table["method"] == name] for c in data.table if c != "method"}
        for name in (*COLUMNS, "Mix")
    }
    for column, name in enumerate(COLUMNS):
        _draw_weights(axes[0, column], data, paths, name)
        _draw_losses(axes[1, column], data, paths, name)
        axes[0, column].set_title(f"({'abc'[column]}) {name}")
    axes[0, 0].set_ylabel(r"$\theta_2$")
    axes[1, 0].set_ylabel(r"$f_{\mathrm{SFT}}$")
    _draw_legend(figure)
    return figure


def _draw_path(ax: Axes, path: dict[str, np.ndarray], across: str, up: str, name: str, turn: int) -> None:
    """Draw a path; the two stages of Sequential differ in line style and marker, also in a grey print."""
    looks = style.METHODS[name].kwargs(linewidth=1.4)
    if name != "Sequential":
        ax.plot(path[across], path[up], **looks | {"markevery": [len(path["step"]) - 1], "markersize": 6})
        return
    first, second = path["step"] <= turn, path["step"] >= turn
    ax.plot(
        path[across][first],
        path[up][first],
        **looks | {"linestyle": "-", "markevery": [int(first.sum()) - 1]},
    )
    last = [int(second.sum()) - 1]
    ax.plot(
        path[across][second],
        path[up][second],
        **looks | {"markevery": last, "markersize": 6, "markerfacecolor": "white", "markeredgecolor": looks["color"]},
    )


def _draw_coins(ax: Axes, paths: np.ndarray) -> None:
    """Draw the paths of other coin sequences of ALRIGHT, faint; `paths` has shape (coins, m, 2)."""
    ax.plot(paths[..., 0].T, paths[..., 1].T, color=style.METHODS["ALRIGHT"].colour, linewidth=0.4, alpha=0.25)


def _draw_weights(ax: Axes, data: Data, paths: dict[str, dict[str, np.ndarray]], name: str) -> None:
    x, y, f_dpo, f_sft = (data.extra[k] for k in ("x", "y", "grid_f_dpo", "grid_f_sft"))
    levels = [0.05, 0.25, 1.0, 2.0, 4.0, 6.0]
    good = np.maximum(f_dpo, f_sft)
    ax.contourf(x, y, good, levels=[0.0, float(data.extra["good"])], colors=[style.GOOD])
    ax.contour(x, y, f_dpo, levels=levels, colors=style.CONTOUR_DPO, linewidths=0.6, linestyles="solid")
    ax.contour(x, y, f_sft, levels=levels, colors=style.CONTOUR_SFT, linewidths=0.6, linestyles="dashed")
    mix = style.METHODS["Mix"].kwargs(linewidth=0.9, marker=None)
    ax.plot(paths["Mix"]["theta_1"], paths["Mix"]["theta_2"], **mix)
    _draw_path(ax, paths[name], "theta_1", "theta_2", name, int(data.extra["stage_end"]))
    if name == "ALRIGHT":
        _draw_coins(ax, data.extra["coin_theta"])
    for (left, up), mark in zip(data.extra["optima"], style.OPTIMA.values(), strict=True):
        ax.plot(left, up, linestyle="none", zorder=6, **mark)
    ax.plot(paths[name]["theta_1"][0], paths[name]["theta_2"][0], linestyle="none", zorder=6, **style.START)
    ax.set_xlabel(r"$\theta_1$")
    ax.grid(visible=False)


def _draw_losses(ax: Axes, data: Data, paths: dict[str, dict[str, np.ndarray]], name: str) -> None:
    mix = style.METHODS["Mix"].kwargs(linewidth=0.9, marker=None)
    ax.plot(paths["Mix"]["f_dpo"], paths["Mix"]["f_sft"], **mix)
    _draw_path(ax, paths[name], "f_dpo", "f_sft", name, int(data.extra["stage_end"]))
    if name == "ALRIGHT":
        _draw_coins(ax, data.extra["coin_values"])
    ax.plot(paths[name]["f_dpo"][0], paths[name]["f_sft"][0], linestyle="none", zorder=6, **style.START)
    ax.plot(*data.extra["ideal"], linestyle="none", zorder=7, clip_on=False, **style.IDEAL)
    ax.set_xlabel(r"$f_{\mathrm{DPO}}$")
    ax.set_xlim(left=-0.15)
    ax.set_ylim(bottom=-0.15)


def _draw_legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    sequential = style.METHODS["Sequential"].kwargs()
    second = sequential | {"markerfacecolor": "white", "markeredgecolor": sequential["color"]}
    handles = {
        "Sequential, DPO stage": Line2D([], [], **sequential | {"linestyle": "-"}),
        "Sequential, SFT stage": Line2D([], [], **second),
        "ALRIGHT": Line2D([], [], **style.METHODS["ALRIGHT"].kwargs()),
        "MAXRIGHT": Line2D([], [], **style.METHODS["MAXRIGHT"].kwargs()),
        "Mix, for reference": Line2D([], [], **style.METHODS["Mix"].kwargs(marker=None)),
        r"contours of $f_{\mathrm{DPO}}$": Line2D([], [], color=style.CONTOUR_DPO, linewidth=0.8),
        r"contours of $f_{\mathrm{SFT}}$": Line2D([], [], color=style.CONTOUR_SFT, linewidth=0.8, linestyle="--"),
        "good for both": Patch(facecolor=style.GOOD),
        "start": Line2D([], [], linestyle="none", **style.START),
        "ideal point": Line2D([], [], linestyle="none", **style.IDEAL),
    }
    labels = (r"optimum of $f_{\mathrm{DPO}}$", r"optimum of $f_{\mathrm{SFT}}$", "optimum of their average")
    handles |= {
        label: Line2D([], [], linestyle="none", **mark)
        for label, mark in zip(labels, style.OPTIMA.values(), strict=True)
    }
    style.legend_above(figure, list(handles.values()), list(handles), columns=4)
