"""Figure `cosine`: forgetting of Sequential against the cosine of the mean gradients before training, on models."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis import loss_space, seeds, sweep_summary, sweeps
from figures.analysis.seeds import numeric, select
from figures.analysis.small_tables import pack
from figures.artefact import Artefact, Check, Data, Request, equal, upper
from figures.drawing.cosine import draw

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

DIALS = ("conflict", "overlap")
COLUMNS = (
    "grid", *DIALS, "seed", "step", "part", "f_dpo", "f_sft", "cosine", "error", "raw", "noise_dpo", "noise_sft",
    "forgetting", "forgetting_share", "gap_dpo", "gap_sft",
)  # fmt: skip
OF_RUNS = ("forgetting", "forgetting_share", "gap_dpo", "gap_sft")  # columns that are known at the last step


def parameters(request: Request) -> dict[str, Any]:
    """Return the runs of Sequential, DPO first and λ = 0.5, for the settings of `conflict`."""
    return {"grids": sweeps.cosines(request), "centre": sweeps.CENTRE}


def compute(parameters: dict[str, Any]) -> Data:
    """Return the cosines at all measured points, and the means of cosine and forgetting for each setting.

    Raises ValueError if a run has not been measured.
    """
    from toyopt.theorems import critical_angle

    runs = sweep_summary.read_grids(parameters)
    results = sweep_summary.all_results(runs, sweep_summary.options(parameters, DIALS))
    points = _points(parameters, results)
    critical = -math.cos(critical_angle())
    settings = _settings(points)
    steps, lam = float(results["steps"].max()), float(results["lam"].iloc[0])
    facts: dict[str, float | int | str | bool] = {
        "scale": loss_space.scale(parameters, results),
        "critical cosine": critical,
        "lam": lam,
        "first phase, steps": lam * steps,
        "centre": str(parameters["centre"]),
    }
    return Data(
        table=seeds.columns(points, COLUMNS),
        extra=pack("setting", settings) | pack("path", _path(points, parameters["centre"])),
        facts=facts,
        checks=sweep_summary.consistency_checks(parameters, runs)
        + _sanity(points, results)
        + _claims(points, settings, critical),
    )


def _points(parameters: Mapping[str, Any], results: pd.DataFrame) -> pd.DataFrame:
    """Return one row per measured point of every run; the results of the run stand at its last point."""
    import pandas as pd

    rows = []
    for about, result in seeds.measured(parameters, "cosine"):
        i, j = (result["names"].index(name) for name in ("dpo", "sft"))
        for point in result["points"]:
            numbers = {"cosine": point["cosines"][i][j], "error": point["errors"][i][j], "raw": point["raw"][i][j]}
            noise = {f"noise_{name}": point["noise"][name] for name in ("dpo", "sft")}
            values = {f"f_{name}": point["values"][name] for name in ("dpo", "sft")}
            place = {key: about[key] for key in ("grid", "run", "seed")} | {
                "step": point["step"],
                "part": point["part"],
            }
            rows.append(place | values | numbers | noise | {"groups": point["groups"]})
    if not rows:
        raise ValueError("cosine: none of the runs has been measured; remove their folder and run this again")
    points = pd.DataFrame(rows)
    points = points.merge(results[["grid", "run", *DIALS]], on=["grid", "run"])
    ends = results[["grid", "run", *OF_RUNS]].assign(step=results["steps"])
    return points.merge(ends, on=["grid", "run", "step"], how="left").sort_values(["grid", "seed", "step"])


def _settings(points: pd.DataFrame) -> pd.DataFrame:
    """Return one row per setting, by the mean cosine at the start: means over seeds, with their intervals.

    start, raw, end       cosines at the start (estimate and plain) and at the end; end_raw, the plain one there
    start_low, start_high  95 % interval of `start` over rows: the jackknife's error, root mean square over seeds
    forgetting            with its interval over seeds
    """
    import pandas as pd

    rows = []
    for grid, own in points.groupby("grid", sort=False):
        ordered = own.sort_values("step", kind="stable")
        first, last = ordered.drop_duplicates("seed"), ordered.drop_duplicates("seed", keep="last")
        start, forgotten = _mean(first, "cosine"), seeds.mean(last["forgetting"])
        half = _half_width(first)
        rows.append(
            {"grid": grid, **{name: float(own[name].iloc[0]) for name in DIALS}}
            | {"start": start, "start_low": start - half, "start_high": start + half, "raw": _mean(first, "raw")}
            | {"end": _mean(last, "cosine"), "end_raw": _mean(last, "raw")}
            | {"forgetting": forgotten.value, "forgetting_low": forgotten.low, "forgetting_high": forgotten.high}
        )
    return pd.DataFrame(rows).sort_values("start", ascending=False, kind="stable", ignore_index=True)


def _mean(rows: pd.DataFrame, column: str) -> float:
    """Return the mean of a column; NaN if a value is unknown."""
    return float(numeric(rows, column).to_numpy().mean())


def _half_width(rows: pd.DataFrame) -> float:
    """Return half the 95 % interval of a cosine over rows, from the jackknife's errors of the seeds' measurements.

    The seeds measure the same rows at several adapters, so that their errors do not average out.
    """
    from scipy.stats import t

    errors = numeric(rows, "error").to_numpy()
    return float(t.ppf(0.975, int(rows["groups"].min()) - 1) * np.sqrt(np.mean(errors**2)))


def _path(points: pd.DataFrame, centre: str) -> pd.DataFrame:
    """Return the mean cosine at every step of the runs at the centre, with its interval over rows."""
    import pandas as pd

    rows = []
    for step, own in select(points, grid=centre).groupby("step"):
        mean, half = _mean(own, "cosine"), _half_width(own)
        rows.append({"step": step, "value": mean, "low": mean - half, "high": mean + half, "raw": _mean(own, "raw")})
    return pd.DataFrame(rows)


def _sanity(points: pd.DataFrame, results: pd.DataFrame) -> tuple[Check, ...]:
    """Check that every run was measured, that plain cosines are at most 1, and that f_DPO begins at log 2."""
    start = numeric(points[points["step"] == 0], "f_dpo").to_numpy()
    measured = float(points["run"].nunique())
    largest = float(numeric(points, "raw").abs().max())
    off = float(np.abs(start - math.log(2.0)).max())
    return (
        equal("measured", "every run has measured cosines", float(results["run"].nunique()), measured, tolerance=0.0),
        upper("plain", "plain cosines are at most 1 in absolute value, up to 1e-6", 1.0 + 1e-6, largest),
        upper("log2", "f_DPO is log 2 where the policy is the reference, up to 1e-4 (largest difference)", 1e-4, off),
    )


def _claims(points: pd.DataFrame, settings: pd.DataFrame, critical: float) -> tuple[Check, ...]:
    """Judge over seeds: conflict at the start, the order of forgetting, and the side of the critical cosine."""
    from scipy.stats import spearmanr

    first = points[points["step"] == 0]
    last = points[points["forgetting"].notna()]
    claims = []
    for grid in settings["grid"]:
        value = seeds.mean(seeds.by_seed(select(first, grid=grid), "cosine").values())
        statement = "the objectives conflict before training (cosine of their mean gradients)"
        claims.append(sweep_summary.claim(f"conflict/{sweep_summary.key(grid)}", grid, statement, value, 0.0, "upper"))
    both = first[["grid", "seed", "cosine"]].merge(last[["grid", "seed", "forgetting"]], on=["grid", "seed"])
    beyond = dict(zip(settings["grid"], settings["start"] < critical, strict=True))
    both = both.assign(beyond=both["grid"].map(beyond))
    by_seed = [own for _, own in both.groupby("seed")]
    ranks = seeds.mean(float(spearmanr(-own["cosine"], own["forgetting"]).statistic) for own in by_seed)
    statement = "a larger conflict before training is forgotten more (Spearman's rank correlation over the settings)"
    claims.append(sweep_summary.claim("order", "", statement, ranks, 0.0, "lower"))
    if len(set(beyond.values())) == 2:
        rises = [own.groupby("beyond")["forgetting"].mean() for own in by_seed]
        more = seeds.mean(float(rise[True] - rise[False]) for rise in rises)
        statement = f"settings with a cosine below {critical:.3f} before training are forgotten more than the others"
        claims.append(sweep_summary.claim("critical", "", f"{statement} (difference of means)", more, 0.0, "lower"))
    return tuple(claims)


ARTEFACT = Artefact(
    name="cosine",
    title="Do the gradients conflict? Their cosine before training, and what Sequential forgets",
    paper="beyond the paper; S10 on models",
    cost="seconds, after its runs",
    seconds=5.0,
    caption=(
        "Theory (S10, figure angle): where the objectives' gradients have the cosine −cos ψ everywhere, a last phase "
        "as long as the first forgets for ever below −(√5 − 1)/2 = −0.618, and only for a while above. Here: models. "
        "The runs are those of conflict by Sequential, DPO first, λ = 0.5. The cosine is that of the mean gradients "
        "of f_DPO and f_SFT in the adapter's weights, before the first step on all training rows, later on held-out "
        "rows. A mean over few rows is partly noise, which draws the plain cosine towards 0; the estimate takes "
        "inner products of disjoint groups of rows, which are unbiased, and may exceed 1 by its error. (a) "
        "Forgetting (final f_DPO on held-out rows minus its minimum during the run) against the estimate before "
        "training. Marks are means over seeds, pale marks the seeds; the horizontal line is the 95 % interval over "
        "rows (the jackknife's), the vertical one over seeds, which share the rows and differ in the adapter's start "
        "and the batches. Dotted: the theory's value. The settings to the left of it are those that are forgotten "
        "most, and the size of what is forgotten is not ordered by the cosine. Five settings on either side do not "
        "place a threshold: a run this short cannot show what holds for ever, and the gap of a model need not be "
        "that of two rows. (b) The cosine along the runs at the centre: unlike the theory's it changes. It goes to "
        "0, with large errors, as the first phase satisfies the pairs, is back early in the second, and fades "
        "as SFT is learnt. Thin: seeds; band: 95 % interval over rows; open marks: the plain cosine. (c) Every "
        "setting before training (left marks) and at the end (right marks), the estimate (filled) and the plain "
        "cosine (open), joined."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
