"""The Pareto fronts of the two toy problems, and the final points of the four methods for each λ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from figures.artefact import Artefact, Check, Data, Request, lower, upper
from figures.drawing.pareto import draw

if TYPE_CHECKING:
    from toyopt.algorithms import Rule

METHODS = ("Sequential", "Mix", "ALRIGHT", "MAXRIGHT")
STEPS = {"smoke": 20_000, "embedded": 100_000, "paper": 400_000}


def parameters(request: Request) -> dict[str, Any]:
    """Return both problems; Table 3 has the weight decay of Figure 2, without which no objective has a minimizer."""
    return {
        "lams": [0.1, 0.3, 0.5, 0.7, 0.9],
        "front": [1e-5, 0.99999, 121],
        "steps": STEPS[request.size],
        "seed": request.seed,
        "seeds": request.toy_runs or 20,
        "table2": {"alpha": 0.2, "weight_decay": 0.0, "start": [5.0]},
        "table3": {"alpha": 0.2, "weight_decay": 0.001, "start": [5.0, -9.9]},
    }


def compute(parameters: dict[str, Any]) -> Data:
    """Return the fronts by scalarization and the final points by simulation; ALRIGHT's losses are means over coins."""
    from toyopt import minimise
    from toyopt.examples import Figure2, table2

    problems = {"table2": table2(), "table3": Figure2().problem()}
    low, high, count = parameters["front"]
    logits = np.linspace(np.log(low / (1 - low)), np.log(high / (1 - high)), count)
    lams = 1.0 / (1.0 + np.exp(-logits))
    rows: list[dict[str, Any]] = []
    extra: dict[str, np.ndarray] = {}
    checks: list[Check] = []
    for name, problem in problems.items():
        decay = parameters[name]["weight_decay"]
        extra[f"front_{name}"] = np.stack([minimise(problem, w, weight_decay=decay).values for w in lams])
        ends = [row for lam in parameters["lams"] for row in _endpoints(problem, lam, parameters, parameters[name])]
        rows += [{"problem": name} | row for row in ends]
        checks += _checks(name, ends)
    table = {column: np.array([row[column] for row in rows]) for column in rows[0]}
    return Data(table=table, extra=extra, facts={"steps": parameters["steps"]}, checks=tuple(checks))


def _endpoints(problem: Any, lam: float, shared: dict[str, Any], own: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the final losses of each method for this λ, its gap to inf f_Mix,λ, and its largest weighted gap."""
    from toyopt import Alright, Constant, Maxright, Mix, Sequential, minimise, simulate

    steps, decay = shared["steps"], own["weight_decay"]
    first = round(lam * steps)  # λ is the share of Sequential's steps on DPO
    rules: dict[str, Rule] = {
        "Sequential": Sequential((first, steps - first)),
        "Mix": Mix(lam),
        "ALRIGHT": Alright(lam),
        "MAXRIGHT": Maxright(lam, (0.0, 0.0)),  # every infimum is 0 and not attained
    }
    least = minimise(problem, lam, weight_decay=decay).value
    out = []
    for name, rule in rules.items():
        seeds = range(shared["seed"], shared["seed"] + (shared["seeds"] if name == "ALRIGHT" else 1))
        run = simulate(
            problem,
            rule,
            Constant(own["alpha"]),
            theta0=own["start"],
            steps=steps,
            seeds=seeds,
            weight_decay=decay,
        )
        values = problem.values(run.last)
        mixed = values @ [lam, 1.0 - lam] + decay / 2 * (run.last**2).sum(axis=1)
        f_dpo, f_sft = values.mean(axis=0)
        out.append(
            {
                "method": name,
                "lam": lam,
                "f_dpo": f_dpo,
                "f_sft": f_sft,
                "gap_mix": float(mixed.mean()) - least,
                "worst": max(lam * f_dpo, (1.0 - lam) * f_sft),
            }
        )
    return out


def _checks(name: str, ends: list[dict[str, Any]]) -> list[Check]:
    """Check the order of the methods by both merit functions on one problem."""
    by = {method: [row for row in ends if row["method"] == method] for method in METHODS}

    def column(method: str, key: str) -> np.ndarray:
        return np.array([row[key] for row in by[method]])

    best = np.min([column(method, "worst") for method in METHODS], axis=0)
    ray = column("MAXRIGHT", "lam") * column("MAXRIGHT", "f_dpo")
    other = (1 - column("MAXRIGHT", "lam")) * column("MAXRIGHT", "f_sft")
    return [
        upper(
            f"{name}-mix",
            f"{name}: Mix is within 1e-3 of inf f_Mix,λ, for every λ",
            1e-3,
            float(column("Mix", "gap_mix").max()),
        ),
        lower(
            f"{name}-sequential",
            f"{name}: Sequential's gap to inf f_Mix,λ is at least 10 times ALRIGHT's, for every λ",
            10.0,
            float((column("Sequential", "gap_mix") / column("ALRIGHT", "gap_mix")).min()),
        ),
        upper(
            f"{name}-maxright",
            f"{name}: MAXRIGHT's largest weighted gap is at most 1/0.97 times that of any method, for every λ",
            1 / 0.97,
            float((column("MAXRIGHT", "worst") / best).max()),
        ),
        upper(
            f"{name}-ray",
            f"{name}: the weighted gaps of MAXRIGHT's final point differ by at most 5 %, for every λ",
            0.05,
            float((np.abs(ray - other) / np.maximum(ray, other)).max()),
        ),
    ]


ARTEFACT = Artefact(
    name="pareto",
    title="The Pareto front and the final points of each method",
    paper="beyond the paper",
    cost="seconds",
    seconds=5.0,
    caption=(
        "Final points of the methods after the same number of steps, for λ = 0.1, 0.3, 0.5, 0.7, 0.9 (the small "
        "numbers beside MAXRIGHT's marks); thin lines join the points of a method. The broad grey line is the front: "
        "the optima of f_Mix,λ for all λ. ALRIGHT's marks are means over its coins. Sequential takes a share λ of "
        "its steps on DPO, first. (a) In one dimension every θ is Pareto optimal, so that all marks lie on the "
        "front; but Sequential ends near the end of the front for every λ. (b) With weight decay the objectives in "
        "the plane have minimizers. Mix and ALRIGHT end at the minimum of f_Mix,λ; MAXRIGHT ends where the weighted "
        "gaps are equal, on the grey rays, as problem (15) requires."
    ),
    reconstructed=(
        "The data (Tables 2 and 3), the start and the weight decay are reconstructed: the paper's text at hand has "
        "lost these numbers."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
)
