"""The programs' optima beside the bounds of docs/theory.md: a table row, and a record, for each bound of a setting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from toyopt.pep.methods import Setting, programs
from toyopt.pep.program import Program, Solution, solve
from toyopt.record import Record
from toyopt.theorems.alright.last_iterate import exact_bound, log_bound, mean_step_bound, total
from toyopt.theorems.maxright import bounds as maxright
from toyopt.theorems.maxright import unequal

# Of the compared numbers: the solver stops at 1e-9, relative, of feasibility and gap; the multipliers enlarge that.
TOLERANCE = 1e-7
ATTAINED = 1e-6  # an optimum within this part of the bound attains it
SOURCE = "beyond the paper; docs/theory.md, part P"
MEASURED = {
    "last": "gap of θ_T",
    "average": "mean of the gaps of θ_1 .. θ_T, weighted by the steps",
    "best": "least gap of θ_1 .. θ_T",
}


@dataclass(frozen=True, eq=False)
class WorstGap:
    """The worst case of a setting: the largest optimum of its programs.

    optimum    attained by a convex function, up to the solver's tolerance; NaN if a program was not solved
    dual       the largest bound by multipliers
    solved     each program with its solution
    """

    given: Setting
    optimum: float
    dual: float
    solved: tuple[tuple[Program, Solution], ...] = field(repr=False)


def worst_gap(given: Setting) -> WorstGap:
    """Solve all programs of a setting.

    given    from `toyopt.pep.methods.setting`

    Returns the worst case over all convex objectives, starts and dimensions.
    Raises ModuleNotFoundError where Clarabel is not installed.
    """
    solved = tuple((program, solve(program)) for program in programs(given))
    optima, duals = [s.optimum for _, s in solved], [s.dual for _, s in solved]
    if any(map(math.isnan, optima)):
        return WorstGap(given, math.nan, math.nan, solved)
    return WorstGap(given, max(optima), max(duals), solved)


def claimed(given: Setting) -> dict[str, float]:
    """Return the bounds of docs/theory.md that cover a setting, by the section that proves them.

    given    from `toyopt.pep.methods.setting`; its T counts the imaginary step too, which is as long as the last
    """
    lam, C = [float(w) for w in given.lam], [float(c) for c in given.bounds]
    D, steps = float(given.distance), [float(a) for a in given.steps]
    constant = len(set(steps)) == 1
    if given.method == "maxright":
        return _maxright(given, lam, C, D, steps, constant)
    C_mean = math.fsum(w * c for w, c in zip(lam, C, strict=True))
    size = C_mean if given.method == "mix" else math.sqrt(math.fsum(w * c**2 for w, c in zip(lam, C, strict=True)))
    if given.measure != "last":
        return {"A1": _mean(steps, D, size)}
    out = {"A4": total(exact_bound(steps, D, size))}
    if given.method == "alright":
        if C_mean < size:
            out["A4, unequal C_i"] = total(mean_step_bound(steps, D, size, C_mean))
        if constant:
            out["Theorem 4.1"] = total(log_bound(D, size, steps[0] * math.sqrt(given.T), given.T))
    return out


def _maxright(
    given: Setting, lam: list[float], C: list[float], D: float, steps: list[float], constant: bool
) -> dict[str, float]:
    """Return the bounds of MAXRIGHT."""
    if not constant:
        if given.measure == "last":
            return {"M4": total(maxright.last_exact_terms(lam, C, distance=D, alphas=steps))}
        return {"M2": max(lam) * _mean(steps, D, max(C))}
    T, alpha0 = given.T, steps[0] * math.sqrt(given.T)
    best, mean, last = (
        total(formula(lam, C, distance=D, alpha0=alpha0, T=T))
        for formula in (maxright.best_terms, maxright.average_terms, maxright.last_terms)
    )
    if given.k > 1:
        cost = maxright.staleness(lam, C, alpha=steps[0], k=given.k, T=T)
        least = min(best + cost.worst, mean + cost.mean)
        return {"M6": {"last": last + cost.last, "average": mean + cost.mean, "best": least}[given.measure]}
    shared: dict[str, Any] = {"distance": D, "alpha0": alpha0, "T": T}
    steep = unequal.steepness(lam, C)[1] > unequal.GAINS  # there M12 is below M2 and M4's closed form
    if given.measure == "last":
        exact = total(maxright.last_exact_terms(lam, C, distance=D, alphas=steps))
        out = {"M4": exact, "M4, closed form": last}
        return out | ({"M12": total(unequal.unequal_last_terms(lam, C, **shared))} if steep else {})
    if given.measure == "best":
        return {"M2": best}
    return {"M2": mean} | ({"M12": total(unequal.unequal_terms(lam, C, **shared))} if steep else {})


def _mean(steps: list[float], D: float, C: float) -> float:
    """Compute (D² + C² Σ α_t²)/(2 Σ α_t) over t = 1 .. T, α_T = α_{T-1}: the sum of (A.1)."""
    every = [*steps, steps[-1]]
    return (D**2 + C**2 * math.fsum(a**2 for a in every)) / (2.0 * math.fsum(every))


@dataclass(frozen=True, eq=False)
class Row:
    """One bound of a setting beside the worst case; `claim` is the section of the bound's proof, or "given"."""

    worst: WorstGap
    claim: str
    bound: float

    @property
    def ratio(self) -> float:
        """Share of the bound that is attained."""
        return self.worst.optimum / self.bound if self.bound else math.nan

    @property
    def attained(self) -> bool:
        """Whether some convex function attains the bound, up to a millionth."""
        return abs(self.ratio - 1.0) <= ATTAINED

    @property
    def record(self) -> Record:
        """Both sides of the bound: attained is the program's optimum, its interval that up to the dual bound."""
        optimum, dual = self.worst.optimum, self.worst.dual
        given = self.worst.given
        return Record(
            claim="P",
            statement=f"{given}: the largest {MEASURED[given.measure]} over all convex objectives is at most the bound "
            f"of {self.claim}",
            kind="upper",
            bound=self.bound,
            attained=optimum,
            source=SOURCE,
            tolerance=TOLERANCE * max(abs(self.bound), abs(optimum)) if not math.isnan(optimum) else 0.0,
            interval=None if math.isnan(optimum) else (min(optimum, dual), max(optimum, dual)),
        )


def rows(given: Setting, bound: float | None = None) -> tuple[Row, ...]:
    """Solve a setting and return a row for each bound that covers it, or for the one given."""
    worst = worst_gap(given)
    return tuple(Row(worst, *pair) for pair in (claimed(given) if bound is None else {"given": bound}).items())


def table(shown: Sequence[Row]) -> list[str]:
    """Return the lines of a table: the setting, the program's optimum, the bound, their ratio and the verdict."""
    head = ["setting", "gap", "optimum", "bound", "", "ratio", "verdict"]
    lines = [head]
    for row in shown:
        verdict = row.record.verdict
        lines.append(
            [
                str(row.worst.given),
                row.worst.given.measure,
                f"{row.worst.optimum:.6f}",
                row.claim,
                f"{row.bound:.6f}",
                f"{row.ratio:.4f}",
                verdict + (", attained" if row.attained and verdict == "holds" else ""),
            ]
        )
    wide = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(line, wide, strict=True)).rstrip() for line in lines]
