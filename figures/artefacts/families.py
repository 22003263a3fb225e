"""The four methods on three families of models: GPT-NeoX, Llama, and an encoder-decoder (beyond the paper)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis import loss_space, seeds, sweep_summary, sweeps
from figures.artefact import Artefact, Data, Request
from figures.pipeline.training import grid_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = {"neox": "GPT-NeoX", "llama": "Llama", "t5": "encoder-decoder (T5)"}
LAM = 0.5


def parameters(request: Request) -> dict[str, Any]:
    """The embedded world's three families with λ = 0.5, as other figures train them; Llama with SFT first."""
    if request.scale == "paper":
        request = dataclasses.replace(request, scale="embedded")
    found = {
        "neox": sweeps.one_lam(request),
        "llama": sweeps.llama(request),
        "t5": sweeps.encoder_decoder(request),
    }
    return {"grids": {name: {**grids["all"], "lams": [LAM]} for name, grids in found.items()}}


def compute(parameters: dict[str, Any]) -> Data:
    """Where every run ends, in each family."""
    found = sweep_summary.find(parameters)
    every = sweep_summary.rows(found)
    means, dots = sweep_summary.bars(every, ("f_dpo", "f_sft", *sweep_summary.SHARES[1:]))
    extra = loss_space.packed("bar", means) | loss_space.packed("dot", dots)
    for grid, here in found.items():
        extra |= {f"{name}_{grid}": point for name, point in loss_space.points(here.results).items()}
    every_run = [row for here in found.values() for row in here.results]
    settings = {f"setting_{grid}": _setting(spec) for grid, spec in parameters["grids"].items()}
    return Data(
        table=seeds.columns(every, sweep_summary.RUN),
        extra=extra,
        facts={"scale": loss_space.scale(parameters, every_run), **settings},
        checks=sweep_summary.sound(parameters, found) + sweep_summary.nearer(every, {g: NAMES[g] for g in found}),
    )


def _setting(spec: Mapping[str, Any]) -> str:
    """What, besides the model, may differ from family to family: who is first in Sequential, and what LoRA adapts."""
    from llm.presets import EMBEDDED_TARGETS

    grid = grid_of(spec)
    targets, order = grid.base.lora_targets, (grid.orders or (grid.base.order,))[0]
    whole = set(targets) == set(EMBEDDED_TARGETS[grid.base.world_family])
    return f"{'DPO' if order == 'dpo-sft' else 'SFT'} first; LoRA on {'all layers' if whole else ', '.join(targets)}"


def draw(data: Data) -> Figure:
    """Above, a loss space for every family; below, the distances in units of what there was to gain."""
    from matplotlib.figure import Figure

    from figures.drawing import style
    from figures.drawing.loss_space import draw_bars, draw_legend, draw_scale

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
    axes["bars"].set_title(f"({'abcd'[len(families)]}) ideal distance in units of what there was to gain")
    draw_legend(figure, bars=True)
    draw_scale(figure, data, more=f", λ = {np.unique(data.table['lam'])[0]:g}")
    return figure


def _draw_family(ax: Axes, data: Data, grid: str) -> None:
    """The last points of every seed, small and pale, and their means."""
    from figures.drawing import style
    from figures.drawing.loss_space import PALE, draw_losses

    means = []
    for method in loss_space.METHODS:
        own = loss_space.chosen(data.table, grid=grid, method=method)
        looks = style.METHODS[method].kwargs(linestyle="")
        ax.plot(own["f_sft"], own["f_dpo"], **looks | {"markersize": 3.0, "alpha": PALE, "markeredgewidth": 0.0})
        f_dpo, f_sft = (
            loss_space.select(data.extra, "bar", grid=grid, method=method, quantity=name)["value"]
            for name in ("f_dpo", "f_sft")
        )
        ax.plot(f_sft, f_dpo, **looks | {"markersize": 6.5})
        means.append({"f_dpo": f_dpo, "f_sft": f_sft})
    points = {name: data.extra[f"{name}_{grid}"] for name in ("start", "ideal")}
    draw_losses(ax, means, dataclasses.replace(data, extra=points))


ARTEFACT = Artefact(
    name="families",
    title="Three families of models: decoders with and without gates, and an encoder-decoder",
    paper="beyond the paper",
    cost="seconds, after its runs",
    caption=(
        "The last points of the four methods with λ = 0.5 in the loss space of held-out rows, on three embedded bases "
        "of the same world: (a) GPT-NeoX, as in Figure 1, (b) Llama, as in Figure 8, (c) an encoder-decoder, which the "
        "paper has none of. Small letters say what else differs: which objective comes first in Sequential, and what "
        "LoRA adapts. Large marks are means over seeds, small ones the seeds; lower left is better, the star is the "
        "ideal point f*, and each family has its own. (d) The distance to it, where each objective counts by how much "
        "of it there was to gain: 0 at the ideal point, √2 at the start. Bars are means over seeds, dots the seeds, "
        "lines 95 % intervals; one that ends at the frame goes on beyond it."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
