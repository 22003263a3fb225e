"""Curvature of a model's objectives, which the theorems assume to be convex, and the decay of the gap."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis import loss_space, seeds, sweeps
from figures.analysis.loss_space import FinishedRuns
from figures.analysis.seeds import numeric, select
from figures.analysis.small_tables import pack
from figures.artefact import Artefact, Check, Data, Request, empirical, equal
from figures.drawing.curvature import draw

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "method", "lam", "order", "seed", "step", "objective", "value", "smallest", "largest", "residual", "margin",
    "grad_norm", "along_gradient", "negative", "gap_mix",
)  # fmt: skip
SPECTRUM = ("smallest", "largest", "along_gradient")
HELD_OUT = "mix (held out)"  # the objective of the gap's rows
SHAPED = ("ALRIGHT", "Sequential")  # methods whose gap has a shape by a theorem


def parameters(request: Request) -> dict[str, Any]:
    """Return the runs of the four methods with λ = 0.5 that keep intermediate adapters."""
    return {"grids": sweeps.curved(request)}


def compute(parameters: dict[str, Any]) -> Data:
    """Return the extreme eigenvalues of the Hessians, their signs, and the gap of the mix with fitted shapes.

    Raises ValueError if no run has been measured.
    """
    import pandas as pd

    runs = loss_space.read_runs(parameters)
    measured = pd.DataFrame(
        [about | row for about, result in seeds.measured(parameters, "curvature") for row in result["rows"]]
    )
    if not len(measured):
        raise ValueError("curvature: none of the runs has been measured; remove their folder and run this again")
    gaps = runs.paths.assign(objective=HELD_OUT, gap_mix=gap_mix(runs.paths))
    gap_means = _means(gaps, ("gap_mix",))
    shapes, factors = _shapes(gap_means)
    largest = np.maximum(np.abs(measured["smallest"]), np.abs(measured["largest"])).clip(lower=1e-30)
    width = (measured["largest"] - measured["smallest"]).clip(lower=1e-30)
    about = {
        "points": int(measured["step"].nunique()),
        "largest_residual_share": float((measured["residual"] / largest).max()),
        "largest_margin_share": float((measured["margin"] / width).max()),
    }
    means, dots = _shares(measured)
    return Data(
        table=seeds.columns(pd.concat([measured, gaps], ignore_index=True), COLUMNS),
        extra={
            **pack("mean", _means(measured, SPECTRUM)),
            **pack("gap", gap_means),
            **pack("shape", shapes),
            **pack("bar", means),
            **pack("dot", dots),
        },
        facts=loss_space.facts(parameters, runs) | about | factors,
        checks=(*loss_space.consistency_checks(parameters, runs), *_checks(runs, measured)),
    )


def gap_mix(paths: pd.DataFrame) -> pd.Series[float]:
    """Return λ (f_DPO − f_DPO*) + (1−λ) (f_SFT − f_SFT*), the gap of the mix to both optima at once."""
    lam = paths["lam"].astype(float)
    return lam * numeric(paths, "gap_dpo") + (1.0 - lam) * numeric(paths, "gap_sft")


def _means(rows: pd.DataFrame, names: tuple[str, ...]) -> pd.DataFrame:
    """Return means with intervals over the seeds with a finite value, for each step of (method, objective)."""
    key = ["method", "objective", "step"]
    table = rows[key].drop_duplicates().sort_values(key, ignore_index=True)
    for name in names:
        values = rows[key].assign(value=numeric(rows, name))
        means = seeds.summarize(values[np.isfinite(values["value"])], key).drop(columns="n")
        means = means.rename(columns={"value": name, "low": f"{name}_low", "high": f"{name}_high"})
        table = table.merge(means, on=key, how="left")
    return table


def _shares(measured: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables `bar` and `dot`: shares of a run's points with negative curvature.

    negative   the smallest eigenvalue of the objective's Hessian is negative
    downwards  the curvature along the gradient is negative
    """
    signs = measured.assign(negative=numeric(measured, "negative"))
    signs["downwards"] = (numeric(measured, "along_gradient") < 0.0).astype(float)
    by = ["method", "objective", "seed"]
    shares = signs.groupby(by, as_index=False, sort=False)[["negative", "downwards"]].mean()
    return loss_space.bars(shares, {name: shares[name] for name in ("negative", "downwards")}, by[:2])


def shape(method: str, t: np.ndarray) -> np.ndarray:
    """Return the gap of a method after t steps by the theorems, up to a factor.

    ALRIGHT: log t/√t (Theorem 4.1); Sequential: a constant (Theorem 3.3).
    """
    return np.ones_like(t) if method == "Sequential" else np.log(t) / np.sqrt(t)


def fit(method: str, t: np.ndarray, gap: np.ndarray) -> float:
    """Return the factor of `shape` with the least squared error in logarithms over the second half of the steps.

    NaN if fewer than two gaps of that half are positive.
    """
    late = (t > 1.0) & (2.0 * t >= t.max(initial=0.0)) & np.isfinite(gap)
    late[late] = gap[late] > 0.0
    if late.sum() < 2:
        return math.nan
    return float(np.exp(np.mean(np.log(gap[late]) - np.log(shape(method, t[late])))))


def _shapes(gaps: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return (table of method, step, value of the fitted shapes; factor of each)."""
    import pandas as pd

    tables, factors = [], {}
    for method in SHAPED:
        own = select(gaps[gaps["step"] > 1], method=method)
        t = own["step"].to_numpy(dtype=float)
        factors[f"factor_{method}"] = factor = fit(method, t, own["gap_mix"].to_numpy())
        tables.append(pd.DataFrame({"method": method, "step": t, "value": factor * shape(method, t)}))
    return pd.concat(tables, ignore_index=True), factors


def _checks(runs: FinishedRuns, measured: pd.DataFrame) -> tuple[Check, ...]:
    """Check that every run was measured, and judge the claim that both objectives are convex at the visited points."""
    expected, known = len(runs.results), measured["run"].nunique()
    checks = [equal("measured", "every run has a measured curvature", expected, known, tolerance=0.0)]
    for objective in ("dpo", "sft"):
        share = seeds.mean(seeds.by_seed(select(measured, objective=objective), "negative").values())
        statement = (
            f"f_{objective.upper()} is convex in LoRA's weights, as the theorems assume, at the points during training "
            "(share of the points with a negative eigenvalue of the Hessian)"
        )
        p_value = share.p_value(0.0)
        name = f"convex/{objective}"
        checks.append(empirical(name, statement, share.value, share.interval, 0.0, "upper", p_value=p_value))
    return tuple(checks)


ARTEFACT = Artefact(
    name="curvature",
    title="Not convex: the curvature of the objectives in LoRA's weights, and the gap beside the theorems' shapes",
    paper="beyond the paper",
    cost="seconds, after its runs",
    seconds=5.0,
    caption=(
        "The theorems assume convex objectives, whose Hessians have no negative eigenvalue; the objectives of a model "
        "need not be convex. Runs of the four methods with λ = 0.5 (Sequential with DPO first) kept their adapters "
        "during training, and at these adapters the two ends of the spectrum of the Hessian in the adapter's weights "
        "were computed by the Lanczos method, on a fixed sample of training rows. (a), (b) The largest value (filled "
        "marks) and the smallest value (open marks) of the method. A negative value proves a negative eigenvalue, up "
        "to rounding. The method may miss the ends: at probability 0.99 no eigenvalue lies further outside than the "
        "column margin of the data (largest_margin_share is its largest share of the distance between both "
        "values), so that a positive smallest value does not prove convexity. LoRA's product B A is not convex in (A, "
        "B), so that negative eigenvalues are expected at the start. (c) The share of the points with a negative "
        "smallest value, a lower bound of the share with a negative eigenvalue; dots are seeds, lines 95 % intervals. "
        "(d), (e) The curvature along the gradient, the direction of a step. (f) The gap of the mix on held-out rows, "
        "λ times DPO's gap plus (1−λ) times SFT's gap, each to its own optimum. No model need attain both optima at "
        "once, so that this gap need not vanish for any method; values ≤ 0 are not shown. Dotted: the shape log t/√t "
        "of Theorem 4.1, for ALRIGHT; dashed: a constant (Theorem 3.3: the gap does not vanish), for Sequential; each "
        "with a factor fitted to the second half of the steps. They are shapes, not bounds: the theorems concern the "
        "last of T steps with a step size that depends on T. In (a), (b), (d), (e), (f) thin lines are seeds and "
        "marks their means; axes of curvature are logarithmic on both sides of 0."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
