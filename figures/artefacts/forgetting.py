"""Theorem 3.3 in one panel: Sequential's gap grows with the number of steps, those of the other methods vanish."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from figures.artefact import Artefact, Check, Data, Request, lower, upper
from figures.drawing.forgetting import draw

METHODS = ("Sequential", "Mix", "ALRIGHT", "MAXRIGHT")
DECADES = {"smoke": 3, "embedded": 5, "paper": 6}
SEEDS = {"smoke": 10, "embedded": 24, "paper": 200}
TOTAL, LEVEL = 19, 1  # what is proven: a total step c²Σα of 19 on the last objective leaves a gap of 1
SMALL = 0.05  # upper limit of the other methods' final gaps


def parameters(request: Request) -> dict[str, Any]:
    """Return λ, the steps and the seeds of ALRIGHT's coin."""
    return {
        "lam": 0.5,
        "alpha0": 4.0,
        "theta_1": 5.0,
        "decades": DECADES[request.size],
        "per_decade": 4,
        "seed": request.seed,
        "seeds": request.toy_runs or SEEDS[request.size],
        "total": TOTAL,
        "level": LEVEL,
    }


def compute(parameters: dict[str, Any]) -> Data:
    """Return every method's gap after 2T steps of α0/√(2T), and the length from which Sequential's is proven."""
    from toyopt.certify import sequential_gap_any_steps
    from toyopt.examples import LowerBound

    family = LowerBound()
    lengths = np.unique(
        np.round(np.logspace(1, parameters["decades"], (parameters["decades"] - 1) * parameters["per_decade"] + 1))
    )
    table = {"T": lengths.astype(np.int64), **_gaps(family, parameters, lengths.astype(int).tolist())}
    record = sequential_gap_any_steps("1/2", parameters["level"], total=parameters["total"]).record
    # c² α0/√(2T) T >= total, and no step is above 1, as the certificate asks
    least = max(
        (parameters["total"] / (family.c**2 * parameters["alpha0"])) ** 2 * 2.0, parameters["alpha0"] ** 2 / 2.0
    )
    proven = math.ceil(least) if record.verdict == "holds" else -1
    facts: dict[str, Any] = {"proven_from": proven, "level": parameters["level"], "proof": record.statement}
    facts |= {f"gap_{name}": float(table[name][-1]) for name in METHODS} | {"T": int(lengths[-1])}
    return Data(table=table, facts=facts, checks=checks(table, proven, float(parameters["level"])))


def _gaps(family: Any, parameters: dict[str, Any], lengths: list[int]) -> dict[str, np.ndarray]:
    """Return the gap of each method, and the range of ALRIGHT's over the seeds, for each length."""
    from toyopt import Alright, Constant, Maxright, Mix, Sequential, simulate
    from toyopt.optimum import lower_bound_minimiser

    problem, lam = family.problem(), float(parameters["lam"])
    best = float(problem.f_mix(np.array([lower_bound_minimiser(family, lam)]), lam))
    seeds = range(parameters["seed"], parameters["seed"] + parameters["seeds"])
    out: dict[str, list[float]] = {name: [] for name in (*METHODS, "low", "high")}
    for T in lengths:
        shared: dict[str, Any] = {"theta0": [float(parameters["theta_1"])], "steps": 2 * T}
        schedule = Constant(float(parameters["alpha0"]) / math.sqrt(2 * T))
        rules = (Sequential((T, T)), Mix(lam), Alright(lam), Maxright(lam, (0.0, 0.0)))  # both infima are 0
        for name, rule in zip(METHODS, rules, strict=True):
            own: dict[str, Any] = {"seeds": seeds} if name == "ALRIGHT" else {}
            gaps = problem.f_mix(simulate(problem, rule, schedule, **shared, **own).last, lam) - best
            out[name].append(float(gaps.mean()))
            if own:
                out["low"].append(float(gaps.min()))
                out["high"].append(float(gaps.max()))
    return {name: np.array(values) for name, values in out.items()}


def checks(table: dict[str, np.ndarray], proven: int, level: float) -> tuple[Check, ...]:
    """Check that Sequential's gap is at least the proven level and grows, and that the others vanish."""
    late = table["T"] >= proven
    worst = max(float(table[name][-1]) for name in METHODS[1:])
    return (
        lower("proven", "The level is proven from some number of steps on (that number)", 1.0, float(proven)),
        lower(
            "level",
            f"From that number on Sequential's gap is at least {level:g} (smallest)",
            level,
            float(table["Sequential"][late].min()) if late.any() else math.nan,
        ),
        lower(
            "grows",
            "Sequential's gap at the last length is larger than at a tenth of it (difference)",
            0.0,
            float(table["Sequential"][-1] - table["Sequential"][table["T"] <= table["T"][-1] / 10][-1]),
        ),
        upper("vanish", f"The other methods' gaps end below {SMALL:g} (largest)", SMALL, worst),
    )


ARTEFACT = Artefact(
    name="forgetting",
    title="Sequential training forgets, however long it trains",
    paper="Theorem 3.3, in one panel",
    cost="3 s",
    seconds=3.0,
    caption=(
        "The paper's lower-bound example with λ = 1/2: the gap of the weighted sum after T steps on DPO and then T on "
        "SFT (Sequential), and after 2T steps of the other methods, all with the same step α0/√(2T), α0 = 4. Longer "
        "training makes Sequential worse, by about ¼ log T; the gaps of Mix, ALRIGHT (mean over coins, shaded from the "
        "least to the largest) and MAXRIGHT vanish. The hatched region has no run of Sequential, of this or any other "
        "sequence of steps with the same total, as ball arithmetic proves."
    ),
    reconstructed="The data (Table 2) are reconstructed: the paper's text at hand has lost these numbers.",
    parameters=parameters,
    compute=compute,
    draw=draw,
)
