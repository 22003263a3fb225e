"""Drawing of the Pareto fronts of the two toy problems with the final points of the methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from figures.drawing import style
from figures.drawing.loss_space import methods_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data

PANELS = ("table2", "table3")


def draw(data: Data) -> Figure:
    """Draw both problems in logarithmic loss space: front, rays of equal weighted gaps, final points."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.PAGE, 3.9))
    axes = figure.subplots(1, 2)
    titles = ("(a) Table 2: opposite pulls", "(b) Table 3, with weight decay")
    for ax, name, title in zip(axes, PANELS, titles, strict=True):
        _draw_panel(ax, data, name)
        ax.set_title(title)
        ax.set_xlabel(r"$f_{\mathrm{DPO}}$")
    axes[0].set_ylabel(r"$f_{\mathrm{SFT}}$")
    _draw_legend(figure, methods_of(data))
    return figure


def _draw_panel(ax: Axes, data: Data, name: str) -> None:
    front = data.extra[f"front_{name}"]
    ax.plot(front[:, 0], front[:, 1], color="#c4c4c4", linewidth=4.0, zorder=1, solid_capstyle="round")
    here = data.table["problem"] == name
    for method in methods_of(data):
        chosen = here & (data.table["method"] == method)
        looks = style.METHODS[method].kwargs(linewidth=0.7, markersize=6)
        ax.plot(data.table["f_dpo"][chosen], data.table["f_sft"][chosen], **looks)
    chosen = here & (data.table["method"] == "MAXRIGHT")
    ax.set_xscale("log")
    ax.set_yscale("log")
    left, low = 0.6 * data.table["f_dpo"][here].min(), 0.4 * data.table["f_sft"][here].min()
    right, high = 2.5 * data.table["f_dpo"][here].max(), 2.5 * data.table["f_sft"][here].max()
    for lam, f_dpo, f_sft in zip(*(data.table[c][chosen] for c in ("lam", "f_dpo", "f_sft")), strict=True):
        ax.axline((f_dpo, f_sft), (2 * f_dpo, 2 * f_dpo * lam / (1 - lam)), color=style.GRID, linewidth=0.6, zorder=0)
        ax.annotate(
            f"{lam:g}",
            (f_dpo, f_sft),
            xytext=(6, 5),
            textcoords="offset points",
            fontsize=7.0,
            color=style.QUIET,
        )
    ax.set_xlim(left, right)
    ax.set_ylim(low, high)
    ax.grid(visible=False)


def _draw_legend(figure: Figure, methods: list[str]) -> None:
    from matplotlib.lines import Line2D

    handles = {
        method: Line2D([], [], **style.METHODS[method].kwargs(linewidth=0.7, markersize=6)) for method in methods
    }
    handles["Pareto front"] = Line2D([], [], color="#c4c4c4", linewidth=4.0)
    style.legend_above(figure, list(handles.values()), list(handles), columns=5)
