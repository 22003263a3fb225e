"""Cost of the ideal distance (beyond the paper): by steps and by tokens, with f*, and by scale-free measures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis import loss_space, seeds, sweeps
from figures.analysis.loss_space import FinishedRuns
from figures.analysis.methods import NEEDS_OPTIMA
from figures.analysis.seeds import numeric
from figures.analysis.small_tables import pack
from figures.artefact import Artefact, Data, Request
from figures.drawing.cost import draw

if TYPE_CHECKING:
    import pandas as pd

HALF = "one"  # name of the grid with a single λ
PREPARED = {"reference": ("reference", "log_probs"), "optima": ("optima",)}


def parameters(request: Request) -> dict[str, Any]:
    """Return the runs of the four methods with λ = 0.5 and with all λ, Sequential with DPO first."""
    return {"grids": {HALF: sweeps.one_lam(request)["all"], **sweeps.in_order(request, "dpo-sft")}}


def compute(parameters: dict[str, Any]) -> Data:
    """Return the paths of one λ by steps and tokens, the runtime in parts, and two scale-free measures."""
    runs = loss_space.read_runs(parameters)
    grids = parameters["grids"]
    all_lams = loss_space.read_runs({**parameters, "grids": {n: grid for n, grid in grids.items() if n != HALF}})
    one = loss_space.read_runs({**parameters, "grids": {HALF: grids[HALF]}})
    parts, part_dots = loss_space.bars(one.results, _runtimes(one))
    distance = {"scale_free_distance": numeric(all_lams.results, "scale_free_distance")}
    free, free_dots = loss_space.bars(all_lams.results, distance)
    volumes, volume_dots = _volumes(all_lams.results)
    facts = loss_space.facts(parameters, one) | {"lam": float(one.results["lam"].iloc[0])}
    for method, quantity, value in zip(parts["method"], parts["quantity"], parts["value"], strict=True):
        if quantity in ("without", "with") and method in NEEDS_OPTIMA:
            facts[f"seconds_{quantity}_f*_{method}"] = value
    return Data(
        table=_table(runs),
        extra={
            **pack("path", loss_space.mean_paths(one.paths)),
            **pack("part", parts),
            **pack("partdot", part_dots),
            **pack("bar", _concatenated(free, volumes)),
            **pack("dot", _concatenated(free_dots, volume_dots)),
        },
        facts=facts,
        checks=loss_space.consistency_checks(parameters, runs),
    )


def _concatenated(*frames: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    return pd.concat(frames, ignore_index=True)


def _runtimes(runs: FinishedRuns) -> dict[str, pd.Series[float]]:
    """Return the runtime of every run in seconds: its own steps, reference, f*, and the totals without and with f*.

    The total with f* includes f* only for methods that need f* to train.
    """
    own, reference, optima = (
        numeric(runs.results, runs.runtime),
        _prepared(runs, "reference"),
        _prepared(runs, "optima"),
    )
    without = own + reference
    needed = runs.results["method"].isin(NEEDS_OPTIMA)
    return {
        "own": own,
        "reference": reference,
        "optima": optima,
        "without": without,
        "with": (without + optima).where(needed, without),
    }


def _prepared(runs: FinishedRuns, part: str) -> pd.Series[float]:
    """Return the seconds of a computation before the run; NaN where they were not recorded."""
    total = 0.0
    for name in PREPARED[part]:
        total = total + numeric(runs.results, f"{name}_{runs.runtime}")
    return total


def _table(runs: FinishedRuns) -> dict[str, np.ndarray]:
    """Return the evaluations of all runs, with the seconds of the preparation on the last row of each run."""
    table = loss_space.evaluations(runs)
    ends = {key: i for i, key in enumerate(_keys(runs.results[["method", "lam", "seed", "steps"]]))}
    rows = zip(*(table[name].tolist() for name in ("method", "lam", "seed", "step")), strict=True)
    names = [f"{part}_{kind}" for part in ("reference", "log_probs", "optima") for kind in ("seconds", "cpu_seconds")]
    last = runs.results.reindex([ends.get(row, -1) for row in rows])
    return table | seeds.columns(last.reindex(columns=names).astype(float), names)


def _keys(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    return list(frame.itertuples(index=False, name=None))


def _volumes(results: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables `bar` and `dot` of the hypervolume share of all λ of a method together; λ is NaN."""
    import pandas as pd

    shares = [
        {"method": method, "lam": math.nan, "k": 0, "seed": seed, "hypervolume_share": front_share(rows)}
        for (method, seed), rows in results.groupby(["method", "seed"], sort=False)
    ]
    frame = pd.DataFrame(shares)
    return loss_space.bars(frame, {"hypervolume_share": frame["hypervolume_share"]})


def front_share(results: pd.DataFrame) -> float:
    """Return the area that the final points dominate, up to their start, as a share of the ideal point's area.

    results  the runs of one method and seed, one per λ; NaN if start or f* are unknown, or the start is not above f*
    """
    from llm.study import hypervolume

    def pair(pattern: str) -> tuple[float, float]:
        dpo, sft = (float(numeric(results, pattern.format(name)).iloc[0]) for name in ("dpo", "sft"))
        return dpo, sft

    start, star = pair("f_{}_start"), pair("f_{}_star")
    if not all(s > best for s, best in zip(start, star, strict=True)):  # also where one is NaN
        return math.nan
    points: Sequence[Sequence[float]] = results[["f_dpo", "f_sft"]].to_numpy(dtype=float).tolist()
    return hypervolume(points, start) / hypervolume([star], start)


ARTEFACT = Artefact(
    name="cost",
    title="The cost of the ideal distance: steps, tokens, runtime, and the optima that MAXRIGHT needs",
    paper="beyond the paper",
    cost="seconds, after its runs",
    seconds=5.0,
    caption=(
        "(a), (b) The ideal distance on held-out rows during training, over the steps and over the tokens that "
        "passed the model: Mix computes both objectives in every step, MAXRIGHT evaluates both gaps every k steps. "
        "Lines are means over seeds, bands 95 % intervals. (c) The runtime in parts (on a CPU the CPU time): "
        "patterned, the training steps; grey, the reference and its log-probabilities; white, the two runs that "
        "compute f*, which MAXRIGHT alone needs. The optima f* are cached and shared by all λ, k and methods of a "
        "seed; the other methods use f* only to report their gaps. (d) The scale-free distance to the ideal point, "
        "whose gaps are normalized by the initial gaps f(θ₀) − f*: 0 at the ideal point, √2 at the start. (e) The "
        "area between the start and the final points of all λ of a method, as a share of the area between start and "
        "ideal point; 0 if no λ improved both objectives. Bars are means over seeds, dots the seeds, lines 95 % "
        "intervals; a line that ends at the frame continues beyond it. An axis of gaps or distances with a wide "
        "range is linear up to 0.1 and logarithmic above."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
