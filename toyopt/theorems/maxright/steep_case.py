"""Claim M-log: a case in which MAXRIGHT's average iterate pays the logarithm of claim M-unequal.

A few steps on the light, steep objective raise F as high as the last iterate of the subgradient method can be (A5); the
many short steps on the heavy one then hardly lower F. Proof: docs/theory.md, M12.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from toyopt import _check
from toyopt._check import Array
from toyopt.progress import counted
from toyopt.record import Record
from toyopt.theorems.alright.last_iterate import weights_of_steps
from toyopt.theorems.maxright.setting import SOURCE
from toyopt.theorems.maxright.unequal import logarithm

_TIE = 1e-12  # of αCL: values within it are equal, and the step is on the heavy objective


@dataclass(frozen=True, eq=False)
class SteepCase:
    """A run of MAXRIGHT from a minimiser of F, with α = 1, C = (1, κ), λ = (κ, 1)/(κ+1), so that λ_1C_1 = λ_2C_2 = L.

    height     z_a, the value of F, in units of αCL, after the light steps
    values     (T,) F(θ_t) - F(θ*) in units of αCL
    chosen     (T-1,) the objective of each step: 0 heavy, 1 light
    violation  the largest excess of another weighted gap over the one that was stepped on, in units of αCL
    """

    kappa: float
    light: int
    height: float
    values: Array
    chosen: tuple[int, ...]
    violation: float

    @property
    def mean(self) -> float:
        """Mean of F(θ_t) - F(θ*), in units of αCL."""
        return math.fsum(self.values.tolist()) / len(self.values)

    @property
    def bound(self) -> float:
        """Lower bound of the mean: ((m+1)/T)(z_a - m/κ) for T = a + 1 + m iterates."""
        m = len(self.values) - 1 - self.light
        return (m + 1) / len(self.values) * (self.height - m / self.kappa)


def height(light: int) -> float:
    """Compute z_a = (β_a - 2a)/2, β_0 = 1, β_{j+1} = β_j + 2 + 1/β_j: at least 1/2 + log(1 + 3a)/6."""
    beta, excess = 1.0, 1.0
    for _ in range(_check.whole("light", light, low=1)):
        excess += 1.0 / beta
        beta += 2.0 + 1.0 / beta
    return excess / 2.0


def steep_case(kappa: float, *, light: int, heavy: int) -> SteepCase:
    """Run MAXRIGHT on the case of claim M-log.

    f_2 is the largest of 0 and of the first a pieces of A5's worst function for D = 0 and steps 1, f_1 is the last
    piece divided by κ. The first a steps are on f_2, by its pieces in order, which all tie with f_1; from then on each
    step is on the objective with the larger weighted gap, ties to f_1.

    kappa         κ >= 1
    light, heavy  a >= 1 steps that are made first, and m >= 0 more; vectors of a + 1 numbers are kept

    Raises ValueError or TypeError naming the argument.
    """
    kappa = _check.real("kappa", kappa, low=1.0)
    a, m = _check.whole("light", light, low=1), _check.whole("heavy", heavy, low=0)
    b = weights_of_steps(np.ones(a), 0.0, kappa)
    pieces, p, u = np.zeros((a + 1, a + 1)), np.zeros(a + 1), kappa**2
    for k in range(a):
        pieces[k] = p / (b[k] * b[0])
        pieces[k, k] = math.sqrt(u)
        p = p - (b[k] - b[k + 1]) * b[0] * pieces[k]
        u *= max(1.0 - b[k + 1] ** -4, 0.0)
    pieces[a] = p / (b[a] * b[0])
    # In units of αCL both weighted gaps are the pieces times λ_2/(CL) = 1/κ².
    x, values, chosen, violation = np.zeros(a + 1), [], [], 0.0
    for t in counted(range(a + m + 1), a + m + 1, "steps"):
        margins = pieces @ x / kappa**2
        best, lead = int(np.argmax(margins[:a])), float(margins[a])
        top = max(float(margins[best]), 0.0)
        values.append(max(top, lead))
        if t == a + m:
            break
        if t < a or top > lead + _TIE:
            k = t if t < a else best
            violation = max(violation, values[-1] - float(margins[k]))
            x = x - pieces[k]
            chosen.append(1)
        else:
            violation = max(violation, values[-1] - lead)
            x = x - pieces[a] / kappa
            chosen.append(0)
    return SteepCase(kappa, a, height(a), np.array(values), tuple(chosen), violation)


def maxright_log(kappa: float, *, light: int, heavy: int) -> tuple[Record, Record]:
    """Compute both sides of claim M-log: the logarithm of claim M-unequal is real.

    Problem     convex f_1, f_2 with slopes 1 and κ and weights λ = (κ, 1)/(κ+1); a start in a minimiser of F; α = 1
    Statement   with a light steps, then m more, T = a + 1 + m: the mean of F(θ_t) - F(θ*) is at least
                ((m+1)/T)(z_a - m/κ) αCL, z_a as in `height`; and at most αCL g(κ)
    Kind        lower, upper
    Source      beyond the paper, docs/theory.md, M12

    kappa         κ >= 1
    light, heavy  a >= 1, m >= 0

    Returns     the two records, in units of αCL; NaN attained, so open, if a step was not on a largest weighted gap
    Raises      ValueError or TypeError naming the argument
    """
    case = steep_case(kappa, light=light, heavy=heavy)
    # The path is rounded by an ulp of numbers of its size, which is at most the number of steps.
    tolerance = 2.0**-50 * (light + heavy / kappa + 1.0) * (light + heavy)
    attained = case.mean if case.violation <= max(_TIE, tolerance) else math.nan
    what = f"κ = {kappa:g}, {light} light steps and {heavy} more: the mean of F(θ_t) - F(θ*), in units of αCL, is at"
    return (
        Record(
            claim="M-log",
            statement=f"{what} least ((m+1)/T)(z_a - m/κ)",
            kind="lower",
            bound=case.bound,
            attained=attained,
            source=SOURCE + "12",
            tolerance=tolerance,
        ),
        Record(
            claim="M-log",
            statement=f"{what} most g(κ)",
            kind="upper",
            bound=logarithm(kappa),
            attained=attained,
            source=SOURCE + "12",
            tolerance=tolerance,
        ),
    )
