"""Figure 4: MAXRIGHT with gap evaluations every k steps (arXiv 2410.15483v3, section 6)."""

from __future__ import annotations

from typing import Any

from figures.analysis import loss_space, seeds, sweeps
from figures.analysis.seeds import numeric
from figures.analysis.small_tables import pack
from figures.artefact import Artefact, Data, Request
from figures.drawing.fig4 import draw


def parameters(request: Request) -> dict[str, Any]:
    """Return the runs of MAXRIGHT for every k, and of Sequential and ALRIGHT for comparison."""
    return {"grids": sweeps.stale(request)}


def compute(parameters: dict[str, Any]) -> Data:
    """Return paths by k, and the effect of k on distance, oscillation, share of DPO and runtime."""
    runs = loss_space.read_runs(parameters)
    results = runs.results
    quantities = {
        "ideal_distance": numeric(results, "ideal_distance"),
        "swing": results["run"].map(lambda run: seeds.mean_move(runs.path(run))).astype(float),
        "share_dpo": results["steps_dpo"] / results["steps"],
        "runtime": numeric(results, runs.runtime),
    }
    means, dots = loss_space.bars(results, quantities)
    extra = pack("path", loss_space.mean_paths(runs.paths)) | pack("bar", means) | pack("dot", dots)
    return Data(
        table=loss_space.evaluations(runs),
        extra=extra | loss_space.points(results),
        facts=loss_space.facts(parameters, runs),
        checks=loss_space.consistency_checks(parameters, runs),
    )


ARTEFACT = Artefact(
    name="fig4",
    title="MAXRIGHT with gap evaluations every k steps",
    paper="Figure 4",
    cost="seconds, after its runs",
    seconds=5.0,
    caption=(
        "MAXRIGHT with λ = 0.5 for several k, the number of steps between evaluations of both gaps; Sequential (DPO "
        "first) and ALRIGHT are shown as lines for comparison. (a) Mean paths over seeds in loss space, with a small "
        "mark at every evaluation on held-out rows and a large mark at the last one; lower left is better, the star is "
        "the ideal point f*. (b) The final ideal distance. (c) The mean move in loss space between two successive "
        "evaluations on held-out rows in the second half of a run. Steady progress contributes as well as oscillation, "
        "so that Sequential is left out. (d) The share of the steps on DPO. (e) The runtime of the training steps (on "
        "a CPU the CPU time, which other programs affect less than wall-clock time). Marks are means over seeds, white "
        "dots the seeds, lines and bands 95 % intervals; a line that ends at the frame continues beyond it. An axis of "
        "gaps or distances with a wide range is linear up to 0.1 and logarithmic above."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
