"""Empirical claims of the paper (Section 6, Appendix B), judged on runs: seen, not seen or mixed.

Each claim compares means over seeds with a bound. Its verdict is read from the 95 % interval (Student's t, seeds as the
unit): `seen` if the interval lies on the claimed side of the bound, `not seen` if it lies on the other side, else
`mixed`. Where the paper claims "minimal" or "comparable" without a number, the bound is ours and part of the statement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from figures.analysis import seeds, sweeps
from figures.analysis.seeds import numeric, select
from figures.analysis.sweep_summary import FORGOTTEN, claim, key
from figures.artefact import Check, Request

if TYPE_CHECKING:
    import pandas as pd

JOINT = ("ALRIGHT", "MAXRIGHT")
COMPARABLE = 10.0  # % more CPU time than Sequential that still count as comparable
FRONTS = ("DPO first", "SFT first", "Llama")  # the places with all methods and several λ
STALENESS, JUDGED = "k", "judged"


@dataclass(frozen=True)
class PlaceRuns:
    """Results and evaluations of the runs at one place."""

    place: str
    results: pd.DataFrame
    paths: pd.DataFrame

    def results_of(self, method: str) -> pd.DataFrame:
        """Return the results of one method."""
        return select(self.results, method=method)


def parameters(request: Request) -> dict[str, Any]:
    """Return the grids that the claims are judged on, and `places`: place -> names of its grids."""
    grids = {
        "DPO first": sweeps.in_order(request, "dpo-sft"),
        "SFT first": sweeps.in_order(request, "sft-dpo"),
        "Llama": sweeps.llama(request),
        STALENESS: sweeps.stale(request),
        JUDGED: sweeps.judged(request),
    }
    return {
        "grids": {f"{place}/{name}": spec for place, specs in grids.items() for name, spec in specs.items()},
        "places": {place: [f"{place}/{name}" for name in specs] for place, specs in grids.items()},
    }


def judge(parameters: Mapping[str, Any]) -> tuple[Check, ...]:
    """Return every claim as a check with its verdict; claims about a measure that the runs lack are left out."""
    results, paths = seeds.results(parameters), seeds.paths(parameters)
    places = {
        place: PlaceRuns(place, results[results["grid"].isin(grids)], paths[paths["grid"].isin(grids)])
        for place, grids in parameters["places"].items()
    }
    checks: list[Check] = []
    for runs in (places[place] for place in FRONTS):
        checks += [*_forgetting(runs), *_control(runs), *_distance(runs), *_cost(runs)]
    return (*checks, *_staleness(places[STALENESS]), *_benchmarks(places[JUDGED]))


def _forgetting(runs: PlaceRuns) -> list[Check]:
    """Judge the claim: the loss of Sequential's first objective rises again in the second stage."""
    first = "f_dpo" if runs.place == "DPO first" else "f_sft"
    own = runs.results_of("Sequential").drop_duplicates("run", keep="last")
    evaluations = numeric(runs.paths, first).groupby(runs.paths["run"])
    rise = (evaluations.last() - evaluations.min()).reindex(own["run"]).to_numpy()
    statement = (
        "Sequential forgets: the loss of the first objective rises from its minimum during the run to the end by at "
        f"least {FORGOTTEN:g} of the initial gap"
    )
    gain = float(np.mean(runs.results[f"{first}_start"] - runs.results[f"{first}_star"]))
    rises = seeds.mean(seeds.by_seed(own.assign(rise=rise), "rise").values())
    name = f"forgetting/{key(runs.place)}"
    return [claim(name, runs.place, statement, rises, FORGOTTEN * gain, "lower")]


def _control(runs: PlaceRuns) -> list[Check]:
    """Judge the claim: λ moves ALRIGHT's final points along the front, more widely and evenly than Sequential's."""
    if runs.results["lam"].nunique() < 2:
        return []
    ours, theirs = (_balances(runs.results_of(method)) for method in ("ALRIGHT", "Sequential"))
    wider = seeds.mean(np.ptp(ours[seed]) - np.ptp(theirs[seed]) for seed in ours)
    jump = seeds.mean(np.abs(np.diff(ours[s])).max() - np.abs(np.diff(theirs[s])).max() for s in ours)
    balance = "the balance (SFT's share of the sum of both gaps, each normalized by its initial gap)"
    name = f"control/{key(runs.place)}"
    first = f"λ controls ALRIGHT over a wider range than Sequential: {balance} ranges further over all λ"
    second = "λ controls ALRIGHT more evenly than Sequential: the largest change of the balance between neighboring λ"
    return [
        claim(f"{name}/range", runs.place, first, wider, 0.0, "lower"),
        claim(f"{name}/evenness", runs.place, f"{second} is smaller", jump, 0.0, "upper"),
    ]


def _balances(results: pd.DataFrame) -> dict[int, np.ndarray]:
    """Return seed -> the balance for each λ in ascending order."""
    rows = results.assign(balance=balance(results)).sort_values("lam", kind="stable")
    return {int(seed): own["balance"].to_numpy() for seed, own in rows.groupby("seed", sort=False)}


def balance(results: pd.DataFrame) -> pd.Series[float]:
    """Return SFT's share of the sum of both gaps, each normalized by its initial gap, in [0, 1]; 0.5 without gaps."""
    dpo, sft = (
        results[f"gap_{name}"].clip(lower=0.0) / (results[f"f_{name}_start"] - results[f"f_{name}_star"])
        for name in ("dpo", "sft")
    )
    return (sft / (dpo + sft)).where(dpo + sft > 0.0, 0.5)


def _distance(runs: PlaceRuns) -> list[Check]:
    """Judge the claim: MAXRIGHT ends nearest to the ideal point, and ALRIGHT nearer than Sequential."""
    claims = []
    pairs = [("MAXRIGHT", other) for other in ("Sequential", "Mix", "ALRIGHT")] + [("ALRIGHT", "Sequential")]
    for ours, other in pairs:
        difference = seeds.difference(runs.results_of(ours), runs.results_of(other), "ideal_distance")
        statement = (
            f"{ours} ends nearer to the ideal point than {other}, in the mean over λ (difference of the distances)"
        )
        name = f"distance/{key(runs.place)}/{key(ours)}-{key(other)}"
        claims.append(claim(name, runs.place, statement, difference, 0.0, "upper"))
    return claims


def _cost(runs: PlaceRuns) -> list[Check]:
    """Judge the claim: ALRIGHT and MAXRIGHT take about as much time as Sequential, and Mix takes more."""
    base = seeds.by_seed(runs.results_of("Sequential"), "cpu_seconds")
    claims = []
    for method in ("ALRIGHT", "MAXRIGHT", "Mix"):
        own = seeds.by_seed(runs.results_of(method), "cpu_seconds")
        increase = seeds.mean(100.0 * (own[seed] / base[seed] - 1.0) for seed in base)
        time = "increase of the CPU time of training over Sequential, in %"
        if method == "Mix":
            statement = f"Mix takes more time than Sequential, by over {COMPARABLE:g} % ({time})"
        else:
            statement = f"{method} takes about as much time as Sequential, at most {COMPARABLE:g} % more ({time})"
        name = f"cost/{key(runs.place)}/{key(method)}"
        kind = "lower" if method == "Mix" else "upper"
        claims.append(claim(name, runs.place, statement, increase, COMPARABLE, kind))
    return claims


def _staleness(runs: PlaceRuns) -> list[Check]:
    """Judge the claim: MAXRIGHT with a large k oscillates and ends further from the ideal point than with a small k."""
    own = runs.results_of("MAXRIGHT")
    low, high = int(own["k"].min()), int(own["k"].max())
    small, large = (select(own, k=k) for k in (low, high))
    distance = seeds.difference(large, small, "ideal_distance")
    moves = {k: _mean_moves(select(runs.paths, method="MAXRIGHT", k=k)) for k in (low, high)}
    difference = seeds.mean(moves[high][seed] - moves[low][seed] for seed in moves[low])
    between = f"k = {high} against k = {low}"
    far = f"MAXRIGHT with rare gap evaluations ends further from the ideal point, {between}"
    oscillation = (
        "MAXRIGHT with rare gap evaluations oscillates: the mean move between two evaluations in the second half, "
        f"{between}"
    )
    return [
        claim("k/dpo-first/distance", "DPO first", far, distance, 0.0, "lower"),
        claim("k/dpo-first/oscillation", "DPO first", oscillation, difference, 0.0, "lower"),
    ]


def _mean_moves(paths: pd.DataFrame) -> dict[int, float]:
    """Return seed -> mean move between two evaluations; the paths have one run per seed."""
    return {int(seed): seeds.mean_move(own.sort_values("step")) for seed, own in paths.groupby("seed")}


def _benchmarks(runs: PlaceRuns) -> list[Check]:
    """Judge the claim: ALRIGHT and MAXRIGHT score higher than Sequential on the benchmarks."""
    names = {"answers_win_rate": "win rate", "questions_accuracy": "accuracy on multiple choice"}
    keys = {"answers_win_rate": "win-rate", "questions_accuracy": "choice"}
    claims = []
    results = runs.results[runs.results["grid"] != f"{JUDGED}/sft_first"]
    for column, name in names.items():
        if numeric(results, column).isna().any():
            continue
        for method in JOINT:
            ours, base = (select(results, method=m) for m in (method, "Sequential"))
            difference = seeds.difference(ours, base, column)
            first = {"dpo-sft": "DPO", "sft-dpo": "SFT"}[base["order"].iloc[0]]
            statement = f"{method} has a higher {name} than Sequential, in the mean over λ"
            check = f"benchmarks/{key(first)}-first/{keys[column]}-{key(method)}"
            claims.append(claim(check, f"{first} first", statement, difference, 0.0, "lower"))
    return claims
