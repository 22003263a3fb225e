"""Forgetting as a function of label conflict and prompt overlap (beyond the paper)."""

from __future__ import annotations

from typing import Any

from figures.analysis import loss_space, seeds, sweep_summary, sweeps
from figures.analysis.small_tables import pack
from figures.artefact import Artefact, Data, Request
from figures.drawing.conflict import draw

DIALS = {"conflict": ("conflict",), "overlap": ("overlap",)}


def parameters(request: Request) -> dict[str, Any]:
    """Return the runs of the four methods with λ = 0.5; one setting changes while the other is at the centre."""
    return {"grids": sweeps.conflict(request), "centre": {name: sweeps.SMALL[name] for name in DIALS}}


def compute(parameters: dict[str, Any]) -> Data:
    """Return final losses, gaps and forgetting of every run, absolute and normalized, and the initial gaps."""
    runs = sweep_summary.read_grids(parameters)
    settings = sweep_summary.options(parameters, tuple(DIALS))
    results = sweep_summary.all_results(runs, settings)
    extra = sweep_summary.packed_bars(results, (*sweep_summary.ABSOLUTE, *sweep_summary.SHARES), initial_gaps=True)
    places = {grid: grid for grid in runs}
    return Data(
        table=seeds.columns(results, ("grid", *DIALS, *sweep_summary.RUN[1:])),
        extra=extra | pack("panel", sweep_summary.panels(settings, DIALS, parameters["centre"])),
        facts={"scale": loss_space.scale(parameters, results)},
        checks=sweep_summary.consistency_checks(parameters, runs)
        + sweep_summary.distance_claims(results, places)
        + sweep_summary.forgetting_claims(results, places),
    )


ARTEFACT = Artefact(
    name="conflict",
    title="Forgetting under label conflict and prompt overlap",
    paper="beyond the paper",
    cost="seconds, after its runs",
    seconds=5.0,
    caption=(
        "The final points of the four methods with λ = 0.5 (Sequential with DPO first) in embedded worlds that differ "
        "in two settings: label conflict, the share of rejected answers with the style that SFT teaches, and prompt "
        "overlap, the share of preference prompts with the wording of SFT's prompts (constant at scale smoke). While "
        "one setting changes, the other is 0.5. Forgetting: final f_DPO on held-out rows minus the minimum of f_DPO "
        "during the run. Below: the gaps to f* and the ideal distance. Other data have another start and other optima "
        "f*, so that absolute gaps of different worlds are not comparable: on the right, the same quantities are "
        "normalized by the initial gap f(θ₀) − f*, which the lowest row shows; the normalized ideal distance is the "
        "scale-free distance. Marks are means over seeds, pale dots the seeds, lines 95 % intervals; a line that ends "
        "at the frame continues beyond it."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
