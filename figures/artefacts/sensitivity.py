"""Sensitivity to the learning rate, the batch sizes and ALRIGHT's alternation (beyond the paper)."""

from __future__ import annotations

from typing import Any

from figures.analysis import loss_space, seeds, sweep_summary, sweeps
from figures.analysis.small_tables import pack
from figures.artefact import Artefact, Data, Request
from figures.drawing.sensitivity import draw

CENTRE = "as it is"  # the grid from which every other grid differs in one setting
DIALS = {
    "rate": ("lr",),
    "batches": ("batch_sft", "batch_preference"),
    "blocks": ("block",),
    "alternation": ("alternation",),
}
OPTIONS = tuple(option for names in DIALS.values() for option in names)
QUANTITIES = ("ideal_distance", "gap_dpo", "gap_sft", "scale_free_distance")


def parameters(request: Request) -> dict[str, Any]:
    """Return the runs of Sequential, ALRIGHT and MAXRIGHT with λ = 0.5 and one setting changed at a time."""
    return {"grids": sweeps.sensitivity(request)}


def compute(parameters: dict[str, Any]) -> Data:
    """Return the final gaps and distances of every run by the changed setting."""
    runs = sweep_summary.read_grids(parameters)
    settings = sweep_summary.options(parameters, OPTIONS)
    results = sweep_summary.all_results(runs, settings)
    panels = sweep_summary.panels(settings, DIALS, settings.loc[CENTRE].to_dict())
    values = {panel: ", ".join(own["label"]) for panel, own in panels.groupby("panel", sort=False)}
    return Data(
        table=seeds.columns(results, ("grid", *OPTIONS, *sweep_summary.RUN[1:])),
        extra=sweep_summary.packed_bars(results, QUANTITIES) | pack("panel", panels),
        facts={"scale": loss_space.scale(parameters, results), **values},
        checks=sweep_summary.consistency_checks(parameters, runs)
        + sweep_summary.distance_claims(results, {grid: grid for grid in runs}),
    )


ARTEFACT = Artefact(
    name="sensitivity",
    title="Sensitivity to the learning rate, the batch sizes and ALRIGHT's alternation",
    paper="beyond the paper",
    cost="seconds, after its runs",
    seconds=5.0,
    caption=(
        "The final points of Sequential (DPO first), ALRIGHT and MAXRIGHT with λ = 0.5 on held-out rows, with one "
        "setting changed at a time; all other settings are those of the other figures. One column per setting: the "
        "learning rate halved and doubled; the batches of both sets halved and doubled (with the same number of "
        "steps; not at scale smoke); the number of consecutive steps that share one draw of ALRIGHT, of which larger "
        "values make ALRIGHT more similar to Sequential; and ALRIGHT's coin against an even alternation with the "
        "same share of steps. The axes give the values. Rows: the ideal distance, the gaps to f*, and the scale-free "
        "distance, whose gaps are normalized by f(θ₀) − f*, since f* is computed with the same learning rate and "
        "batches and changes with these. The question is whether the order of the methods stays the same. Marks are "
        "means over seeds, pale dots the seeds, lines 95 % intervals; a line that ends at the frame continues beyond "
        "it."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
