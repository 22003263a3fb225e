"""The paper's empirical claims (Section 6, Appendix B), judged on runs: seen, not seen or mixed, by an interval.

Each is one comparison of means over seeds. A verdict is read from the 95 % interval (Student's t, seeds as the unit):
`seen` if it lies wholly on the claimed side of the bound, `not seen` if wholly on the other, else `mixed`. Where the
text says "minimal" or "comparable" without a number at hand, the bound is ours, and the statement names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from figures.analysis import seeds, sweeps
from figures.analysis.seeds import Mean, Row
from figures.artefact import Check, Request, empirical

JOINT = ("ALRIGHT", "MAXRIGHT")
ABOUT_AS_MUCH = 10.0  # per cent more time than Sequential still count as "about as much"


def grids(request: Request) -> dict[str, Any]:
    """All runs that the claims are judged on, by "where/grid"."""
    wheres = {
        "DPO first": sweeps.in_order(request, "dpo-sft"),
        "SFT first": sweeps.in_order(request, "sft-dpo"),
        "Llama": sweeps.llama(request),
        "k": sweeps.stale(request),
        "judged": sweeps.judged(request),
    }
    return {f"{where}/{name}": spec for where, specs in wheres.items() for name, spec in specs.items()}


def judge(parameters: Mapping[str, Any]) -> tuple[Check, ...]:
    """Every claim as a check with its verdict. Claims that the runs cannot tell (no such measure) are left out."""
    rows, paths = seeds.results(parameters), seeds.paths(parameters)
    checks: list[Check] = []
    for where in ("DPO first", "SFT first", "Llama"):
        here = _at(rows, where)
        checks += _forgetting(where, here, _at(paths, where))
        checks += _control(where, here)
        checks += _distance(where, here)
        checks += _cost(where, here)
    checks += _staleness(_at(rows, "k"), _at(paths, "k"))
    checks += _benchmarks(_at(rows, "judged"))
    return tuple(checks)


def _at(rows: Sequence[Row], where: str) -> list[Row]:
    return [row for row in rows if row["grid"].partition("/")[0] == where]


def _key(where: str) -> str:
    return where.lower().replace(" ", "-")


def _forgetting(where: str, rows: Sequence[Row], paths: Sequence[Row]) -> list[Check]:
    """Sequential's first objective rises again in the second stage."""
    first = "dpo" if where == "DPO first" else "sft"
    rises: dict[int, list[float]] = {}
    for run in {row["run"]: row for row in seeds.where(rows, method="Sequential")}.values():
        values = [line[f"f_{first}"] for line in paths if line["run"] == run["run"]]
        rises.setdefault(run["seed"], []).append(values[-1] - min(values))
    statement = (
        f"{where}: Sequential forgets: the first objective's loss at the end is above its least value on the way, by a "
        "tenth of what there was to gain"
    )
    gain = np.mean([row[f"f_{first}_start"] - row[f"f_{first}_star"] for row in rows])
    return [_empirical(f"forgetting/{_key(where)}", statement, _per_seed(rises), 0.1 * float(gain), "lower")]


def _control(where: str, rows: Sequence[Row]) -> list[Check]:
    """ALRIGHT's points are spread along the front as λ changes, and more evenly than Sequential's are."""
    if len({row["lam"] for row in rows}) < 2:
        return []
    ours, theirs = (_balances(seeds.where(rows, method=m)) for m in ("ALRIGHT", "Sequential"))
    what = "the balance (SFT's share of both gaps, each in units of what there was to gain)"
    reach = seeds.mean(np.ptp(ours[seed]) - np.ptp(theirs[seed]) for seed in ours)
    jump = seeds.mean(np.abs(np.diff(ours[s])).max() - np.abs(np.diff(theirs[s])).max() for s in ours)
    first = f"{where}: λ controls ALRIGHT better than Sequential: {what} ranges further from the least λ to the largest"
    second = f"{where}: λ controls ALRIGHT more evenly: the largest change of the balance between two λ is smaller"
    return [
        _empirical(f"control/{_key(where)}/range", first, reach, 0.0, "lower"),
        _empirical(f"control/{_key(where)}/evenness", second, jump, 0.0, "upper"),
    ]


def _balances(rows: Sequence[Row]) -> dict[int, np.ndarray]:
    """Seed -> the balance for each λ, from the least."""
    found: dict[int, list[float]] = {}
    for row in sorted(rows, key=lambda row: row["lam"]):
        found.setdefault(row["seed"], []).append(balance(row))
    return {seed: np.array(values) for seed, values in found.items()}


def balance(row: Row) -> float:
    """SFT's share of the two gaps in units of what there was to gain, in [0, 1]: 0 if all that is left is DPO's gap."""
    dpo, sft = (max(0.0, row[f"gap_{n}"]) / (row[f"f_{n}_start"] - row[f"f_{n}_star"]) for n in ("dpo", "sft"))
    return float(sft / (dpo + sft)) if dpo + sft > 0.0 else 0.5


def _distance(where: str, rows: Sequence[Row]) -> list[Check]:
    """MAXRIGHT is nearest to the ideal point; ALRIGHT is nearer than Sequential."""
    found = []
    pairs = [("MAXRIGHT", other) for other in ("Sequential", "Mix", "ALRIGHT")] + [("ALRIGHT", "Sequential")]
    for ours, other in pairs:
        gap = seeds.difference(seeds.where(rows, method=ours), seeds.where(rows, method=other), "ideal_distance")
        statement = f"{where}: {ours} is nearer to the ideal point than {other}, in the mean over λ (the difference)"
        found.append(_empirical(f"distance/{_key(where)}/{_pair(ours, other)}", statement, gap, 0.0, "upper"))
    return found


def _cost(where: str, rows: Sequence[Row]) -> list[Check]:
    """ALRIGHT and MAXRIGHT take about as long as Sequential, Mix takes longer."""
    base = seeds.by_seed(seeds.where(rows, method="Sequential"), "cpu_seconds")
    found = []
    for method in ("ALRIGHT", "MAXRIGHT", "Mix"):
        mine = seeds.by_seed(seeds.where(rows, method=method), "cpu_seconds")
        more = seeds.mean(100.0 * (mine[seed] / base[seed] - 1.0) for seed in base)
        name, time = f"cost/{_key(where)}/{method.lower()}", "processor time of training, in % more than Sequential"
        if method == "Mix":
            statement = f"{where}: Mix costs more, by over {ABOUT_AS_MUCH:g} % ({time})"
            found.append(_empirical(name, statement, more, ABOUT_AS_MUCH, "lower"))
        else:
            statement = f"{where}: {method} costs about as much, within {ABOUT_AS_MUCH:g} % ({time})"
            found.append(_empirical(name, statement, more, ABOUT_AS_MUCH, "upper"))
    return found


def _staleness(rows: Sequence[Row], paths: Sequence[Row]) -> list[Check]:
    """Small k stays near the ideal point, large k oscillates and ends further off."""
    own = seeds.where(rows, method="MAXRIGHT")
    ks = sorted({row["k"] for row in own})
    small, large = (seeds.where(own, k=k) for k in (ks[0], ks[-1]))
    far = seeds.difference(large, small, "ideal_distance")
    swings = {k: _swings(seeds.where(paths, method="MAXRIGHT", k=k)) for k in (ks[0], ks[-1])}
    more = seeds.mean(swings[ks[-1]][seed] - swings[ks[0]][seed] for seed in swings[ks[0]])
    between = f"k = {ks[-1]} against k = {ks[0]}"
    return [
        _empirical(
            "k/dpo-first/distance",
            f"DPO first: MAXRIGHT with rare evaluation ends further from the ideal point, {between}",
            far,
            0.0,
            "lower",
        ),
        _empirical(
            "k/dpo-first/oscillation",
            "DPO first: MAXRIGHT with rare evaluation oscillates, by its mean move between two evaluations "
            f"of the second half, {between}",
            more,
            0.0,
            "lower",
        ),
    ]


def _swings(paths: Sequence[Row]) -> dict[int, float]:
    """Seed -> how far its run moves between two evaluations; paths are of one run a seed."""
    return {
        seed: seeds.swing(sorted(seeds.where(paths, seed=seed), key=lambda line: line["step"]))
        for seed in {line["seed"] for line in paths}
    }


def _benchmarks(rows: Sequence[Row]) -> list[Check]:
    """ALRIGHT and MAXRIGHT do better than Sequential on the benchmarks."""
    names = {"answers_win_rate": "win rate", "questions_accuracy": "accuracy on multiple choice"}
    keys = {"answers_win_rate": "win-rate", "questions_accuracy": "choice"}
    found = []
    first = [row for row in rows if row["grid"] != "judged/sft_first"]
    for column, name in names.items():
        if any(row.get(column) is None for row in first):
            continue
        for method in JOINT:
            ours, base = (seeds.where(first, method=m) for m in (method, "Sequential"))
            more = seeds.difference(ours, base, column)
            order = {"dpo-sft": "DPO", "sft-dpo": "SFT"}[base[0]["order"]]
            statement = f"{order} first: {method} has a higher {name} than Sequential, in the mean over λ"
            key = f"benchmarks/{order.lower()}-first/{keys[column]}-{method.lower()}"
            found.append(_empirical(key, statement, more, 0.0, "lower"))
    return found


def _empirical(name: str, statement: str, found: Mean, bound: float, kind: Any) -> Check:
    return empirical(name, f"{statement} [{found.n} seeds]", found.value, found.interval, bound, kind)


def _pair(ours: str, other: str) -> str:
    return f"{ours.lower()}-{other.lower()}"


def _per_seed(values: Mapping[int, Iterable[float]]) -> Mean:
    return seeds.mean(float(np.mean(list(found))) for found in values.values())
