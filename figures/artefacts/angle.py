"""The critical angle: Sequential's gap against the angle between the two pulls, in theory and in the simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from figures.artefact import Artefact, Check, Data, Request, lower, upper
from figures.drawing.angle import draw

if TYPE_CHECKING:
    from toyopt import Problem

DEGREES = (2.5, 10.0, 17.5, 25.0, 32.5, 40.0, 47.5, 51.83, 55.0, 62.5, 70.0, 80.0, 90.0, 105.0, 120.0)
LENGTHS = {"smoke": [100, 1000, 10_000], "embedded": [1000, 10_000, 100_000], "paper": [1000, 10_000, 100_000]}
FAMILIES = ((0.5, 5.0), (0.5, 10.0), (1.0, 5.0), (2.0, 1.0))  # (c, θ_ref): sharpness and reference
ULP = 2.0**-52


def parameters(request: Request) -> dict[str, Any]:
    """Return the angles, lengths, and (c, θ_ref); nothing is random, and no models are trained."""
    return {
        "degrees": list(DEGREES),
        "lengths": LENGTHS[request.size],
        "families": [list(pair) for pair in FAMILIES],
        "lam": 0.5,
        "alpha": 1.0,
    }


def compute(parameters: dict[str, Any]) -> Data:
    """Return gap, bounds and law for every (c, θ_ref), angle and length, and the growth from length to length."""
    from toyopt.theorems import critical_angle, sequential_angle

    lam, alpha = float(parameters["lam"]), float(parameters["alpha"])
    rows: list[dict[str, float]] = []
    for c, theta_ref in parameters["families"]:
        for degrees in parameters["degrees"]:
            psi = float(np.radians(degrees))
            problem = _problem(psi, c, theta_ref)
            for T in parameters["lengths"]:
                shared: dict[str, Any] = {"c": c, "theta_ref": theta_ref, "alpha": alpha, "T_DPO": T, "T_SFT": T}
                low, high, law = sequential_angle(psi=psi, lam=lam, **shared)
                rows.append(
                    {
                        "c": c,
                        "theta_ref": theta_ref,
                        "degrees": degrees,
                        "T": T,
                        "gap": _simulated(problem, T, alpha, theta_ref, lam),
                        "low": low.bound,
                        "high": high.bound,
                        # Each of 2T updates rounds θ by half an ulp of its size, f_Mix has slopes of at most c.
                        "rounding": low.tolerance + 2 * T * ULP * c * (theta_ref + 2 * float(np.log(T)) / c + 2),
                        "law": _law(psi, c, theta_ref, alpha, T, lam),
                        "error": law.bound,
                    }
                )
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    critical = float(np.degrees(critical_angle()))
    growth = _growth(table, parameters["lengths"], lam)
    return Data(
        table=table,
        extra={f"growth_{name}": values for name, values in growth.items()},
        facts={"critical angle, degrees": critical, "lam": lam, "T": int(parameters["lengths"][-1])},
        checks=checks(table, growth, critical),
    )


def _problem(psi: float, c: float, theta_ref: float) -> Problem:
    """Return the problem in the plane: DPO's row along the first axis, SFT's at the angle psi to it."""
    from toyopt import Problem

    return Problem.dpo_sft(
        chosen=[[c, 0.0]],
        rejected=[[0.0, 0.0]],
        features=[[[0.0, 0.0], [c * float(np.cos(psi)), c * float(np.sin(psi))]]],
        targets=[0],
        theta_ref=[theta_ref, 0.0],
    )


def _simulated(problem: Problem, T: int, alpha: float, theta_ref: float, lam: float) -> float:
    """Return f_Mix, whose infimum is 0, after T steps on DPO and T on SFT in the simulator."""
    from toyopt import Constant, Sequential, simulate

    run = simulate(problem, Sequential((T, T)), Constant(alpha), theta0=[theta_ref, 0.0])
    return float(problem.f_mix(run.last[0], lam))


def _law(psi: float, c: float, theta_ref: float, alpha: float, T: int, lam: float) -> float:
    """Return λ log(1 + e^K (ηT)^{cos ψ - sin² ψ})."""
    cos, sin = float(np.cos(psi)), float(np.sin(psi))
    exponent = c * theta_ref * cos**2 + (cos - sin**2) * float(np.log(c**2 * alpha * T))
    return lam * float(np.logaddexp(0.0, exponent))


def _growth(table: dict[str, np.ndarray], lengths: list[int], lam: float) -> dict[str, np.ndarray]:
    """Return by (c, θ_ref) and angle the growth of the gap per log T between the last two lengths, and the law's."""
    last, before = (table["T"] == T for T in (lengths[-1], lengths[-2]))
    steps = float(np.log(lengths[-1] / lengths[-2]))
    psi = np.radians(table["degrees"][last])
    return {
        "c": table["c"][last],
        "theta_ref": table["theta_ref"][last],
        "degrees": table["degrees"][last],
        "value": (table["gap"][last] - table["gap"][before]) / steps,
        "law": lam * np.maximum(np.cos(psi) - np.sin(psi) ** 2, 0.0),
        "change": table["law"][last] - table["law"][before],
        "error": table["error"][last] + table["error"][before],
        "gap": table["gap"][last],
        "gap_before": table["gap"][before],
    }


def checks(table: dict[str, np.ndarray], growth: dict[str, np.ndarray], critical: float) -> tuple[Check, ...]:
    """Check the bounds, the law with its error, and growth below and decay above the critical angle."""
    below, above = growth["degrees"] < critical - 1.0, growth["degrees"] > critical + 1.0
    rises, falls = growth["gap"] - growth["gap_before"], growth["gap_before"] - growth["gap"]
    difference = np.abs(table["gap"] - table["law"])
    return (
        upper(
            "below",
            "The simulator's gap is at least Lemma P's bound, up to its rounding (largest bound − gap)",
            0.0,
            float((table["low"] - table["gap"] - table["rounding"]).max()),
        ),
        upper(
            "above",
            "The simulator's gap is at most Lemma P's bound, up to its rounding (largest gap − bound)",
            0.0,
            float((table["gap"] - table["high"] - table["rounding"]).max()),
        ),
        upper(
            "law",
            "|gap − λ log(1 + e^K (ηT)^(cos ψ − sin² ψ))| is at most its explicit error (largest ratio)",
            1.0,
            float((difference / (table["error"] + table["rounding"])).max()),
        ),
        lower(
            "grows",
            f"Below {critical:.2f}° the gap grows from the last length but one to the last (smallest growth)",
            0.0,
            float(rises[below].min()),
        ),
        lower(
            "falls",
            f"Above {critical:.2f}° the gap falls from the last length but one to the last (smallest fall)",
            0.0,
            float(falls[above].min()),
        ),
    )


ARTEFACT = Artefact(
    name="angle",
    title="The critical angle: which conflicts Sequential forgets for ever",
    paper="beyond the paper; sharpens Remark A.4",
    cost="a few seconds",
    seconds=5.0,
    caption=(
        "Two objectives in the plane whose features are at the angle ψ: at 0° the pulls are opposite (the lower- "
        "bound example of Theorem 3.3), at 90° the objectives do not touch, beyond it they agree; the gradients' "
        "cosine is −cos ψ everywhere. Sequential, DPO first, T steps of the constant step α = 1 on each, λ = 1/2. "
        "Marks: the simulator; lines: the law λ log(1 + e^K (ηT)^(cos ψ − sin² ψ)), η = c²α, K = cθ_ref cos² ψ, "
        "which is right up to an error of the order (log T)/T. (a) c = 1/2, θ_ref = 5, several T, on a logarithmic "
        "axis from 0.001 on: left of the dotted line at 51.83°, where cos ψ = (√5 − 1)/2, the gap grows with T for "
        "ever; right of it the gap falls to 0, though the pulls conflict up to 90°. (b) The last T for several "
        "sharpnesses c and references θ_ref, which shift the gap. (c) The growth per factor e of T, from the last "
        "length but one to the last, of all of these: in the limit λ(cos ψ − sin² ψ), and 0 beyond the critical "
        "angle (line), whatever c and θ_ref. Theory and simulator only; figure cosine has models."
    ),
    parameters=parameters,
    compute=compute,
    draw=draw,
    reconstructed=(
        "c = 1/2 and θ_ref = 5 are those of Table 2, which is reconstructed: the paper's text at hand has lost its "
        "numbers. The other values are our choice."
    ),
)
