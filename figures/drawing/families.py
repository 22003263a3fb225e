"""Drawing of the final points on three model families, and of their scale-free distances."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis.small_tables import rows_with, unpack
from figures.drawing import style
from figures.drawing.loss_space import PALE, draw_bars, draw_legend, draw_losses, draw_scale, methods_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures.artefact import Data

NAMES = {"neox": "GPT-NeoX", "llama": "Llama", "t5": "encoder-decoder (T5)"}


def draw(data: Data) -> Figure:
    """Draw the loss space of every family above, and the scale-free distances below."""
    from matplotlib.figure import Figure

    families = [name for name in NAMES if f"start_{name}" in data.extra]
    figure = Figure(figsize=(style.PAGE, 5.2))
    layout: list[Any] = [families, ["bars"] * len(families)]
    axes = figure.subplot_mosaic(layout, height_ratios=(1.1, 1.0))
    for name, letter in zip(families, "abc", strict=False):
        ax = axes[name]
        _draw_family(ax, data, name)
        ax.set_title(f"({letter}) {NAMES[name]}", pad=13.0)
        note: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 7.0, "color": style.QUIET}
        ax.text(0.5, 1.015, str(data.facts[f"setting_{name}"]), transform=ax.transAxes, **note)
    draw_bars(axes["bars"], data, {NAMES[n]: {"grid": n, "quantity": "scale_free_distance"} for n in families})
    axes["bars"].set_title(
        f"({'abcd'[len(families)]}) scale-free ideal distance: gaps normalized by $f(\\theta_0)-f^*$"
    )
    draw_legend(figure, methods_of(data), bars=True)
    draw_scale(figure, data, more=f", λ = {np.unique(data.table['lam'])[0]:g}")
    return figure


def _draw_family(ax: Axes, data: Data, grid: str) -> None:
    """Draw the final points of every seed, small and pale, and their means."""
    means = []
    for method in methods_of(data):
        own = rows_with(data.table, grid=grid, method=method)
        looks = style.METHODS[method].kwargs(linestyle="")
        ax.plot(own["f_sft"], own["f_dpo"], **looks | {"markersize": 3.0, "alpha": PALE, "markeredgewidth": 0.0})
        f_dpo, f_sft = (
            unpack(data.extra, "bar", grid=grid, method=method, quantity=name)["value"] for name in ("f_dpo", "f_sft")
        )
        ax.plot(f_sft, f_dpo, **looks | {"markersize": 6.5})
        means.append({"f_dpo": f_dpo, "f_sft": f_sft})
    points = {name: data.extra[f"{name}_{grid}"] for name in ("start", "ideal")}
    draw_losses(ax, means, dataclasses.replace(data, extra=points))
