"""Sequential under several schedules: its gap against the last phase's total learning rate, and the law of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from figures.artefact import Check, lower, upper

CERTIFIED_DECADES = (2, 3, 4)  # totals 10^k for which a level is proven for every sequence of steps


def collapse(parameters: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return gap, total and the law's error of every schedule, λ and number of steps, and levels proven for all.

    shapes   (s,) the names of the schedules
    totals   (s, m) c²Σα over a phase, the same for both phases
    gaps     (l, s, m) the gap for every λ
    laws     (l, s, m) λ log(total) + λcθ_ref - f*
    errors   (l, s, m) the bound of |gap - law|
    any_total, any_g  (k,) totals, and the gap that every sequence of steps with that total has, for every λ proven for
    """
    from toyopt.theorems.sequential import any_steps
    from toyopt.theorems.sequential.two_phases import TwoPhases

    c, theta_ref, alpha, theta_1 = (float(parameters[name]) for name in ("c", "theta_ref", "alpha", "theta_1"))
    run = TwoPhases(c, theta_ref, alpha, theta_1)
    decades = parameters["joint_decades"]
    T = np.unique(np.round(np.logspace(0, decades, 2 * decades + 1))).astype(np.int64).tolist()
    shapes = any_steps.SCHEDULES
    totals, ends = np.empty((len(shapes), len(T))), np.empty((len(shapes), len(T)))
    for i, name in enumerate(shapes):
        for j, steps in enumerate(any_steps.steps_of_shape(name, alpha, n) for n in T):
            totals[i, j] = c**2 * float(steps.sum())
            ends[i, j], _ = any_steps.follow(run, steps, steps)
    lams = [float(lam) for lam in parameters["lams"]]
    errors = [np.maximum(*map(np.abs, any_steps.remainder(run, lam, totals, totals))) for lam in lams]
    return {
        "shapes": np.array(shapes),
        "totals": totals,
        "gaps": np.stack([run.gap(lam, ends) for lam in lams]),
        "laws": np.stack([lam * np.log(totals) + any_steps.constant(run, lam) for lam in lams]),
        "errors": np.stack(errors),
    } | _certified(parameters)


def _certified(parameters: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return totals and levels that ball arithmetic proves for every sequence of steps; NaN where it does not."""
    from fractions import Fraction

    from toyopt.certify import Family, Phases
    from toyopt.theorems.sequential.thm_33 import certified_33

    exact = {name: Fraction(parameters[name]) for name in ("c", "theta_ref", "alpha", "theta_1")}
    phases = Phases(Family(exact["c"], exact["theta_ref"]), exact["alpha"], exact["theta_1"])
    totals = [10**k for k in CERTIFIED_DECADES]
    records = [certified_33(lam=tuple(parameters["proven_for"]), total=total, phases=phases) for total in totals]
    levels = [record.bound if record.verdict == "holds" else np.nan for record in records]
    return {"any_total": np.array(totals, dtype=float), "any_g": np.array(levels)}


def equal_steps(parameters: dict[str, Any], T: np.ndarray) -> dict[str, np.ndarray]:
    """Return Sequential's gap (l, m) after T + T steps of α0/√(T+1), the law and the bound of their distance."""
    from toyopt.theorems.sequential import any_steps
    from toyopt.theorems.sequential.two_phases import TwoPhases

    c, theta_ref, theta_1 = (float(parameters[name]) for name in ("c", "theta_ref", "theta_1"))
    out: dict[str, list[list[float]]] = {"sequential": [], "sequential_law": [], "sequential_error": []}
    for lam in parameters["lams"]:
        gaps, laws, errors = [], [], []
        for n in T.tolist():
            alpha = float(parameters["alpha0"]) / float(np.sqrt(n + 1))
            run = TwoPhases(c, theta_ref, alpha, theta_1)
            total = c**2 * alpha * n
            gaps.append(float(run.gap(lam, run.last(n, n))))
            laws.append(lam * float(np.log(total)) + any_steps.constant(run, lam))
            errors.append(max(abs(float(end)) for end in any_steps.remainder(run, lam, total, total)))
        for name, row in zip(out, (gaps, laws, errors), strict=True):
            out[name].append(row)
    return {name: np.array(rows) for name, rows in out.items()}


def step_checks(extra: dict[str, np.ndarray]) -> tuple[Check, ...]:
    """Check the law for every schedule, and that no run is below a level that is proven for all."""
    ratio = np.abs(extra["gaps"] - extra["laws"]) / extra["errors"]
    same = np.abs(extra["sequential"] - extra["sequential_law"]) / extra["sequential_error"]
    margins = [
        float(extra["gaps"][:, extra["totals"] >= total].min()) - g
        for total, g in zip(extra["any_total"], extra["any_g"], strict=True)
        if (extra["totals"] >= total).any()
    ]
    return (
        upper(
            "any-steps",
            "For five schedules, every λ and number of steps: |gap − λ log(c²Σα) − λcθ_ref + f*| is at most its proven "
            "bound (largest ratio)",
            1.0,
            float(ratio.max()),
        ),
        upper(
            "equal-steps",
            "The same for Sequential with the steps of Mix and ALRIGHT, α0/√(T+1) (largest ratio)",
            1.0,
            float(same.max()),
        ),
        lower(
            "any-steps-certified",
            "Every schedule's gap is at least the level proven for every sequence of steps (smallest gap − g)",
            0.0,
            min(margins, default=float("nan")),
        ),
    )
