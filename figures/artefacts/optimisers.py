"""Forgetting of Sequential by optimizer: SGD, heavy ball, Adam and AdamW, in theory and in the simulator."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from figures.artefact import Artefact, Check, Data, Request, equal, lower, upper
from figures.drawing.optimisers import draw

# Name, and the numbers of the theorem's function; AdamW's weight decay is by far its most important one.
RUNS: dict[str, dict[str, float]] = {
    "SGD": {"momentum": 0.0},
    "heavy ball": {"momentum": 0.9},
    "Adam, slow": {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
    "Adam, fast": {"beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8},
    "AdamW": {"beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8, "weight_decay": 0.1},
}
LOGARITHMIC, LINEAR = 1_000_000, 40_000  # the longest runs on the two axes
POINTS = {"smoke": 8, "embedded": 14, "paper": 14}


def parameters(request: Request) -> dict[str, Any]:
    """Return the optimizers, lengths, step and λ; nothing is random, and no models are trained."""
    points = POINTS[request.size]
    return {
        "runs": RUNS,
        "logarithmic": np.geomspace(100.0, LOGARITHMIC, points).round().astype(int).tolist(),
        "linear": np.linspace(0.0, LINEAR, points + 1).round().astype(int)[1:].tolist(),
        "lam": 0.5,
        "alpha": 0.01,
        "c": 0.5,
        "theta_ref": 5.0,
    }


def compute(parameters: dict[str, Any]) -> Data:
    """Return the gap, its proven bounds and its limit law for every optimizer and length."""
    from toyopt.theorems.sequential.adam import largest_ratio, speed

    columns: dict[str, list[Any]] = {
        name: [] for name in ("optimizer", "axis", "T", "gap", "low", "high", "law", "rounding")
    }
    for name, numbers in parameters["runs"].items():
        for axis in ("logarithmic", "linear"):
            for T in parameters[axis]:
                row = {"optimizer": name, "axis": axis, "T": T} | _one(numbers, T, parameters)
                for key, values in columns.items():
                    values.append(row[key])
    table = {key: np.array(values) for key, values in columns.items()}
    a, adams = parameters["c"] * parameters["alpha"], parameters["runs"]
    speeds = {name: speed(a, adams[name]["beta2"]) for name in ("Adam, slow", "Adam, fast")}
    decay = adams["AdamW"]
    rest = _rest(parameters)
    facts: dict[str, float | int | str | bool] = {
        **{f"speed of {name}": rho for name, rho in speeds.items()},
        "step cα": a,
        **{f"½ log(1/β2) of {name}": -0.5 * math.log(adams[name]["beta2"]) for name in speeds},
        "lam": parameters["lam"],
        "AdamW's ceiling of |θ|": max(
            parameters["theta_ref"], largest_ratio(decay["beta1"], decay["beta2"]) / decay["weight_decay"]
        ),
        "AdamW's gap at rest": rest,
    }
    return Data(table=table, facts=facts, checks=checks(table, speeds, parameters, rest))


def _one(numbers: dict[str, float], T: int, parameters: dict[str, Any]) -> dict[str, float]:
    """Return gap, bounds, limit law and rounding of T steps on each objective."""
    from toyopt import theorems as th

    shared = {name: parameters[name] for name in ("lam", "alpha", "c", "theta_ref")} | {"T_DPO": T, "T_SFT": T}
    if "weight_decay" in numbers:
        record = th.sequential_adamw(**shared, **numbers)
        return {
            "gap": record.attained,
            "low": math.nan,
            "high": record.bound,
            "law": math.nan,
            "rounding": record.tolerance,
        }
    law = th.sequential_heavy_ball if "momentum" in numbers else th.sequential_adam
    low, high, *_ = law(**shared, **numbers)
    return {
        "gap": low.attained,
        "low": low.bound,
        "high": high.bound,
        "law": _law(numbers, T, parameters),
        "rounding": low.tolerance,
    }


def _law(numbers: dict[str, float], T: int, parameters: dict[str, Any]) -> float:
    """Return λ log(c²α T k) + λ c θ_ref - f*, with k = 1/(1-μ) or 1/ε."""
    from toyopt.examples import LowerBound
    from toyopt.optimum import lower_bound_minimiser

    family = LowerBound(parameters["c"], parameters["theta_ref"])
    lam, c, x = parameters["lam"], family.c, family.c * family.theta_ref
    optimum = float(family.problem().f_mix([lower_bound_minimiser(family, lam)], lam))
    times = 1.0 / numbers["epsilon"] if "epsilon" in numbers else 1.0 / (1.0 - numbers["momentum"])
    return float(lam * (math.log(c**2 * parameters["alpha"] * T * times) + x) - optimum)


def _rest(parameters: dict[str, Any]) -> float:
    """Return the gap where AdamW's step on f_SFT and its decay cancel."""
    from toyopt import minimise
    from toyopt.examples import LowerBound
    from toyopt.theorems.sequential.rest import resting_margin

    numbers, c, lam = parameters["runs"]["AdamW"], parameters["c"], parameters["lam"]
    problem = LowerBound(c, parameters["theta_ref"]).problem()
    theta = -resting_margin(c, numbers["weight_decay"], numbers["epsilon"]) / c
    return float(problem.f_mix([theta], lam)) - minimise(problem, lam).value


def _last(table: dict[str, np.ndarray], name: str, axis: str, n: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Return the last n lengths of an axis, and the gaps of an optimizer there."""
    own = (table["optimizer"] == name) & (table["axis"] == axis)
    return table["T"][own][-n:], table["gap"][own][-n:]


def checks(
    table: dict[str, np.ndarray], speeds: dict[str, float], parameters: dict[str, Any], rest: float
) -> tuple[Check, ...]:
    """Check the proven bounds, the growth of SGD, heavy ball and Adam, and where AdamW ends."""
    lam, alpha, c = (float(parameters[name]) for name in ("lam", "alpha", "c"))
    known = ~np.isnan(table["low"])
    out = [
        upper(
            "below",
            "The simulator's gap is at least the proven bound, up to its rounding (largest bound − gap)",
            0.0,
            float((table["low"] - table["gap"] - table["rounding"])[known].max()),
        ),
        upper(
            "above",
            "The simulator's gap is at most the proven bound, up to its rounding (largest gap − bound)",
            0.0,
            float((table["gap"] - table["high"] - table["rounding"]).max()),
        ),
    ]
    for name in ("SGD", "heavy ball"):
        T, gap = _last(table, name, "logarithmic")
        slope = float((gap[1] - gap[0]) / math.log(T[1] / T[0]))
        statement = f"{name}: growth of the gap per log T at the end of the logarithmic axis, λ up to 0.05"
        out.append(equal(f"log: {name}", statement, lam, slope, tolerance=0.05))
    T, gap = _last(table, "Adam, slow", "linear", len(table["T"]))
    early = (T >= 9_000) & (T <= 33_000)
    # Of T steps on SFT the first ρT/(cα) undo those on DPO, as the gradient is large there.
    rho = speeds["Adam, slow"]
    climb = lam * rho * (1.0 - rho / (c * alpha))
    per_step = float(np.polyfit(T[early], gap[early], 1)[0])
    statement = "Adam, β2 = 0.999: growth of the gap per step from T = 9,000 to 33,000, λρ(1 − ρ/(cα)) up to 5 %"
    out.append(equal("linear: Adam", statement, climb, per_step, tolerance=0.05 * climb))
    _, mine = _last(table, "Adam, fast", "logarithmic", 1)
    _, plain = _last(table, "SGD", "logarithmic", 1)
    out.append(lower("Adam beyond SGD", "Adam's gap at the last T less SGD's", 0.0, float(mine[0] - plain[0])))
    _, decayed = _last(table, "AdamW", "logarithmic", 1)
    statement = "AdamW's gap at the last T, and its proven limit, where step and decay cancel (difference up to 0.01)"
    out.append(equal("AdamW at rest", statement, rest, float(decayed[0]), tolerance=0.01))
    return tuple(out)


ARTEFACT = Artefact(
    name="optimisers",
    title="What Sequential forgets by SGD, momentum, Adam and AdamW",
    paper="beyond the paper; Theorem 3.3's example by other optimizers",
    cost="some seconds",
    seconds=12.0,
    caption=(
        "The lower-bound example of Theorem 3.3 (c = 1/2, θ_ref = 5), λ = 1/2: T steps of α = 0.01 on f_DPO, then T "
        "on f_SFT, full gradients, the optimizer's memory reset in between. Marks: the simulator; shaded: between the "
        "bounds that are proven for every T. (a) T on a logarithmic axis. SGD and the heavy ball (μ = 0.9) become "
        "straight lines of slope λ: they forget λ log T, the heavy ball as much as SGD with ten times the step "
        "(dotted: their limits). Adam climbs much further, and turns where the gradient is as small as its ε = 1e-8: "
        "from there it is SGD with the step α/ε (dotted). AdamW (weight decay 0.1) climbs until the decay holds it: "
        "its gap is below the gray line for all T, and it comes to rest where the step and the decay cancel "
        "(dotted). (b) The same on a linear axis: before ε counts, Adam with β2 = 0.999 is a straight line in T. "
        "Adam's margin moves less than cα = 0.005 and less than ½ log(1/β2) a step: 0.0005 for β2 = 0.999, held back "
        "by the memory of large gradients, and 0.0047 for β2 = 0.95, so near cα that up to T = 4,000 the steps on "
        "f_SFT do little more than undo those on f_DPO, until these have met ε. Theory and simulator only: no models."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
    reconstructed=(
        "c = 1/2 and θ_ref = 5 are those of Table 2, which is reconstructed: the paper's text at hand has lost its "
        "numbers. The other values are our choice."
    ),
)
