"""The four methods on three model families: GPT-NeoX, Llama, and an encoder-decoder (beyond the paper)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from figures.analysis import loss_space, seeds, sweep_summary, sweeps
from figures.artefact import Artefact, Data, Request
from figures.drawing.families import NAMES, draw
from figures.pipeline.paths import grid_of

LAM = 0.5


def parameters(request: Request) -> dict[str, Any]:
    """Return the runs on the embedded world's three families with λ = 0.5; Llama with SFT first, as in Figure 8."""
    request = sweeps.embedded(request)
    families = {
        "neox": sweeps.one_lam(request),
        "llama": sweeps.llama(request),
        "t5": sweeps.encoder_decoder(request),
    }
    return {"grids": {name: {**grids["all"], "lams": [LAM]} for name, grids in families.items()}}


def compute(parameters: dict[str, Any]) -> Data:
    """Return the final points of every run by family, and the scale-free distances."""
    runs = sweep_summary.read_grids(parameters)
    results = sweep_summary.all_results(runs)
    extra = sweep_summary.packed_bars(results, ("f_dpo", "f_sft", *sweep_summary.SHARES[1:]))
    for grid, own in runs.items():
        extra |= {f"{name}_{grid}": point for name, point in loss_space.points(own.results).items()}
    settings = {f"setting_{grid}": _setting(spec) for grid, spec in parameters["grids"].items()}
    return Data(
        table=seeds.columns(results, sweep_summary.RUN),
        extra=extra,
        facts={"scale": loss_space.scale(parameters, results), **settings},
        checks=sweep_summary.consistency_checks(parameters, runs)
        + sweep_summary.distance_claims(results, {grid: NAMES[grid] for grid in runs}),
    )


def _setting(spec: Mapping[str, Any]) -> str:
    """Return the settings that may differ between families: the first objective of Sequential, the LoRA targets."""
    grid = grid_of(spec)
    order = (grid.orders or (grid.base.order,))[0]
    return f"{'DPO' if order == 'dpo-sft' else 'SFT'} first; LoRA on {', '.join(grid.base.lora_targets)}"


ARTEFACT = Artefact(
    name="families",
    title="Three model families: decoders with and without gates, and an encoder-decoder",
    paper="beyond the paper",
    cost="seconds, after its runs",
    seconds=5.0,
    caption=(
        "The final points of the four methods with λ = 0.5 in the loss space of held-out rows, on three embedded base "
        "models of the same world: (a) GPT-NeoX, as in Figure 1, (b) Llama, as in Figure 8, (c) an encoder-decoder, a "
        "family that the paper does not study. Small letters give further differences: the first objective of "
        "Sequential, and the layers that LoRA adapts. Large marks are means over seeds, small marks the seeds; lower "
        "left is better, the star is the ideal point f* of the family. (d) The scale-free distance to the ideal point, "
        "whose gaps are normalized by the initial gaps f(θ₀) − f*: 0 at the ideal point, √2 at the start. Bars are "
        "means over seeds, dots the seeds, lines 95 % intervals; a line that ends at the frame continues beyond it."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
