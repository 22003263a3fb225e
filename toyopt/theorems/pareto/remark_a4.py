"""Remark A.4: objectives conflict without inconsistent labels; the same input with opposite labels is the worst case.

One pair and one demonstration with two outputs give `f_DPO = l(aᵀ(θ - θ_ref))` and `f_SFT = l(bᵀθ)`, l(z) = log(1+e^z).
With a = -κ b they pull in opposite directions at every θ. Features of two inputs may be such that this happens
(Table 2); with one input and opposite labels it happens for all features: that is "more severely".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from toyopt import _check
from toyopt._check import Array
from toyopt._numbers import reads_numbers
from toyopt.algorithms import DPO, SFT, Constant, Sequential
from toyopt.minimax import minimise_worst
from toyopt.optimum import minimise
from toyopt.problem import Objective, Problem
from toyopt.record import Record
from toyopt.simulate import simulate

_REMARK = "Remark A.4 of arXiv 2410.15483v3; docs/theory.md, M9"


def same_input(
    winner: ArrayLike, loser: ArrayLike, *, theta_ref: ArrayLike, beta: float = 1.0, demonstrated: str = "loser"
) -> Problem:
    """Construct the problem of one input with two outputs: DPO prefers the winner, SFT demonstrates either.

    winner, loser  (d,) the features phi(y_w, x), phi(y_l, x)
    demonstrated   "loser": the labels are inconsistent; "winner": they agree

    Raises ValueError or TypeError naming the argument.
    """
    good, bad = _check.array("winner", winner, 1), _check.array("loser", loser, 1)
    if demonstrated not in ("loser", "winner"):
        raise ValueError(f"demonstrated: 'loser' or 'winner' is needed, got {demonstrated!r}")
    if good.shape != bad.shape or (good == bad).all():
        raise ValueError(f"loser: a feature other than the winner's and as long is needed, got {bad.tolist()}")
    return Problem.dpo_sft(
        chosen=[good],
        rejected=[bad],
        features=[[good, bad]],
        targets=[int(demonstrated == "loser")],
        theta_ref=theta_ref,
        beta=beta,
    )


def conflict(problem: Problem) -> Record:
    """Compute both sides of Remark A.4: the two gradients are opposite at every θ.

    Problem    one pair and one demonstration with two outputs (one row an objective)
    Statement  cos(∇f_DPO(θ), ∇f_SFT(θ)) = -1 for all θ: each gradient is its row times a positive number, so the
               cosine is that of the rows
    Kind       equal
    Source     Remark A.4 of arXiv 2410.15483v3; docs/theory.md, M9

    problem    as above, d >= 1

    Returns    the record; attained is the cosine
    Raises     ValueError naming problem if an objective has more than one row
    """
    a, b = _rows(problem)
    cosine = float(a @ b) / (float(np.linalg.norm(a)) * float(np.linalg.norm(b)))
    return Record(
        claim="A.4",
        statement="cos(∇f_DPO, ∇f_SFT) = -1 at every θ",
        kind="equal",
        bound=-1.0,
        attained=cosine,
        source=_REMARK,
        tolerance=4 * (problem.dim + 2) * 2.0**-53,  # the roundings of three inner products
    )


@reads_numbers
def no_common_ground(problem: Problem, lam: float) -> tuple[Record, Record]:
    """Compute both sides of Remark A.4: under opposite gradients no θ is near both optima, nor is argmin f_Mix,λ.

    Problem    rows a = -κ b; then z_DPO + κ z_SFT = K = κ bᵀθ_ref for the two margins at every θ; m = K/(1+κ)
    Statement  min_θ max(f_DPO, f_SFT) = l(m); and at the minimiser of f_Mix,λ both gaps are at least
               min( l(m), σ(m) min(λκ/(1-λ), (1-λ)/(λκ)) ) > 0
    Kind       equal, lower
    Source     Remark A.4 of arXiv 2410.15483v3; docs/theory.md, M9

    problem    as for `conflict`, and with opposite rows
    lam        λ in (0, 1)

    Returns    the two records: the first with the interval of min_θ max that its certificate gives; each is open where
               its solver has not converged
    Raises     ValueError naming problem if the rows are not opposite, or lam
    """
    a, b = _rows(problem)
    lam = _check.real("lam", lam, above=0.0)
    if not lam < 1.0:
        raise ValueError(f"lam: must be less than 1, got {lam!r}")
    kappa = float(np.linalg.norm(a) / np.linalg.norm(b))
    if np.abs(a + kappa * b).max() > 1e-12 * np.abs(a).max():
        raise ValueError(f"problem: opposite pulls are needed, got rows {a.tolist()} and {b.tolist()}")
    m = kappa * float(b @ problem.objectives[0].origin) / (1.0 + kappa)
    level = float(np.logaddexp(0.0, m))
    both = minimise_worst(problem, 0.5, [0.0, 0.0])
    mixture = minimise(problem, lam)
    low, high = sorted((2.0 * both.lower, 2.0 * both.upper))
    failed = "the solver has not converged"
    ratio = lam * kappa / (1.0 - lam)
    share = min(ratio, 1.0 / ratio) / (1.0 + math.exp(-m))
    return (
        Record(
            claim="A.4",
            statement="min_θ max(f_DPO, f_SFT) = log(1 + e^m): no θ has both below that",
            kind="equal",
            bound=level,
            attained=2.0 * both.value if both.converged else math.nan,
            source=_REMARK,
            terms={"log(1+e^m)": level},
            tolerance=1e-12 * (1.0 + level),  # the roots are accurate to 1e-14 in the dual weight
            interval=(low, high),
            note="" if both.converged else failed,
        ),
        Record(
            claim="A.4",
            statement="both gaps at argmin f_Mix,λ >= min(log(1+e^m), σ(m) min(λκ/(1-λ), (1-λ)/(λκ))) > 0",
            kind="lower",
            bound=min(level, share),
            attained=float(mixture.values.min()) if mixture.converged else math.nan,  # both infima are 0
            source=_REMARK,
            tolerance=1e-12 * (1.0 + level),
            note="" if mixture.converged else failed,
        ),
    )


@reads_numbers
def same_input_is_worst(
    psi: float | Sequence[float],
    *,
    T_DPO: int,
    T_SFT: int,
    alpha: float,
    lam: float,
    theta_1: float,
    c: float = 0.5,
    theta_ref: float = 5.0,
) -> tuple[Record, ...]:
    """Compute both sides of Remark A.4: opposite labels of one input are the worst case for Sequential.

    Problem    d = 2, f_DPO = l(-c(θ_1 - θ_ref)), f_SFT = l(c(θ_1 cos ψ + θ_2 sin ψ)): ψ = 0 is the same input with
               opposite labels (and Table 2), other ψ are other features of the SFT input. Sequential, DPO first, from
               (theta_1, 0), c²α <= 4, and the DPO phase ends at θ_1 >= 0 (so for every theta_1 >= 0)
    Statement  f_Mix,λ(θ_T) at ψ <= f_Mix,λ(θ_T) at 0, and so for f_DPO and f_SFT each. Besides, inf f_Mix,λ is
               positive at ψ = 0 alone
    Kind       upper, one record an angle
    Source     Remark A.4 of arXiv 2410.15483v3; docs/theory.md, M9 (by Lemma A.3)
    Arguments  psi: one ψ or several, in radians; T_DPO, T_SFT >= 0: updates of the phases; alpha, c > 0; lam in [0, 1];
               theta_1 >= 0
    Returns    one record an angle; "floor" among the terms is inf f_Mix,λ there, "bound" the value at ψ = 0
    Raises     ValueError or TypeError naming the argument
    """
    c, alpha = _check.real("c", c, above=0.0), _check.real("alpha", alpha, above=0.0)
    if c * c * alpha > 4.0:
        raise ValueError(f"alpha: at most 4/c² = {4.0 / c**2:g} is needed for Lemma A.3, got {alpha!r}")
    start = np.array([_check.real("theta_1", theta_1, low=0.0), 0.0])
    reference = np.array([_check.real("theta_ref", theta_ref), 0.0])
    each = [_check.real("psi", one) for one in ([psi] if np.ndim(psi) == 0 else _check.items("psi", psi))]  # type: ignore[arg-type]
    steps = (_check.whole("T_DPO", T_DPO, low=0), _check.whole("T_SFT", T_SFT, low=0))

    def value_at(angle: float) -> float:
        problem = _at_angle(angle, c, reference)
        run = simulate(problem, Sequential(steps, (DPO, SFT)), Constant(alpha), theta0=start)
        return float(problem.f_mix(run.last[0], lam))

    worst = value_at(0.0)
    # Every update rounds θ by an ulp or so of its size, and f_Mix has slope c.
    tolerance = 2.0**-52 * sum(steps) * c * (abs(theta_1) + abs(theta_ref) + c * alpha * max(steps) + 1.0)
    return tuple(
        Record(
            claim="A.4",
            statement=f"f_Mix(θ_T) of Sequential at ψ = {angle:.4g} <= f_Mix(θ_T) with the same input, opposite labels",
            kind="upper",
            bound=worst,
            attained=value_at(angle),
            source=_REMARK,
            terms={"bound": worst, "floor": minimise(_at_angle(angle, c, reference), lam).value},
            tolerance=tolerance,
        )
        for angle in each
    )


def _at_angle(psi: float, c: float, theta_ref: Array) -> Problem:
    """Construct the problem in d = 2: DPO's row along the first axis, SFT's at the angle psi to it."""
    pull = c * np.array([math.cos(psi), math.sin(psi)])
    return Problem.dpo_sft(
        chosen=[[c, 0.0]],
        rejected=[[0.0, 0.0]],
        features=[np.stack([np.zeros(2), pull])],
        targets=[0],
        theta_ref=theta_ref,
    )


def _rows(problem: Problem) -> tuple[Array, Array]:
    """Return the row of DPO and the row of SFT."""
    if len(problem) != 2:
        raise ValueError(f"problem: two objectives are needed, got {len(problem)}")
    objectives: tuple[Objective, ...] = problem.objectives
    for o in objectives:
        if len(o.rows) != 1:
            raise ValueError(f"problem: one datum with two outputs an objective is needed, got {len(o.rows)} rows")
    return objectives[0].rows[0], objectives[1].rows[0]
