"""Theorem 3.3 with plain numbers: one call gives the run's own gap, what is proven of it, or a run that refutes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from toyopt import _numbers
from toyopt.certify import Certificate
from toyopt.record import Record, Verdict
from toyopt.theorems.sequential.thm_33 import of_certificate
from toyopt.theorems.sequential.two_phases import Order, TwoPhases, theorem_s

LEAST_LEVEL = Fraction(1, 1000)  # of the three decimals that a level is searched in
FOLLOWED = 10**7  # runs of longer phases are not followed: their gap is known from Theorem S
LENGTHS = 33  # lengths at which a level that is not proven is tried


@dataclass(frozen=True, repr=False)
class Theorem33:
    """The answer of `theorem_33`; its text is readable.

    lam, T      λ and the number of steps of each phase
    claim       the record of "G_Mix,λ(θ_T') >= level for all T' >= T"
    growth      the records of Theorem S for this run: bounds of its gap, and λ log T plus a constant
    level       g: the one given, else the largest with three decimals that is proven from T on
    T0          about the least T0 from which `level` is proven
    theta       θ_T, the end of the run; NaN where T is above 10^7 and the run is not followed
    optimum     θ*_λ, the minimiser of f_Mix,λ
    bound       from T0 on every run ends at or beyond this θ, on the far side of θ*_λ
    refuting    (T', gap) of a run with T <= T' < T0 whose gap is below `level`; None if no run refutes the claim
    """

    lam: Fraction
    T: int
    claim: Record
    growth: tuple[Record, ...]
    level: Fraction
    T0: int
    theta: float
    optimum: float
    bound: float
    refuting: tuple[int, float] | None
    run: TwoPhases

    @property
    def gap(self) -> float:
        """G_Mix,λ at the end of the run; NaN if it is not followed."""
        return self.growth[0].attained

    @property
    def verdict(self) -> Verdict:
        """Verdict on the claim: holds (proven), fails (a run refutes it), or open."""
        return self.claim.verdict

    @property
    def records(self) -> tuple[Record, ...]:
        """All records: the claim first."""
        return (self.claim, *self.growth)

    def __repr__(self) -> str:
        dpo, sft = ("DPO", "SFT") if self.run.order == "dpo-first" else ("SFT", "DPO")
        below, above, law = self.growth
        weight, side = ("λ", "<=") if dpo == "DPO" else ("(1-λ)", ">=")
        end = f"ends at θ = {self.theta:.6g}, gap {self.gap:.6g}" if self.theta == self.theta else "is not followed"
        value = below.terms["growth"] + below.terms["constant"]
        level = _decimal(self.level)
        headline = {
            "holds": f"holds, the gap is at least {level} from T = {self.T} on",
            "fails": f"the gap is at least {level} from T0 = {self.T0} on, but not from T = {self.T} on",
            "open": f"the gap is at least {level} from T0 = {self.T0} on; open from T = {self.T} on",
        }[self.verdict]
        lines = [
            f"Theorem 3.3 (arXiv 2410.15483v3) at λ = {self.lam}: {headline}",
            f"  the run   {self.T} steps of {dpo}, then {self.T} of {sft}, {end} (f_Mix is least at θ = "
            f"{self.optimum:.6g})",
            f"  both sides  {below.bound:.6g} <= gap <= {above.bound:.6g} (Theorem S, beyond the paper)",
            f"  the law   {weight} log T + κ = {value:.6g}, off by at most {law.bound:.2g}",
            f"  proven    by ball arithmetic: gap >= {level} and θ_T' {side} {self.bound:.6g} for all T' >= {self.T0}"
            ", about the least T0",
        ]
        if self.refuting is not None:
            when, gap = self.refuting
            lines.append(f"  refuted   from T = {self.T} on: the run with T' = {when} has the gap {gap:.6g} < {level}")
        elif self.verdict == "open":
            lines.append(
                f"  open      for T' from {self.T} to {self.T0 - 1}: not proven, and no run that was tried refutes it"
            )
        lines.append(
            f"  where     f_DPO = log(1+e^(-c(θ-θ_ref))), f_SFT = log(1+e^(cθ)), c = {self.run.c:g}, θ_ref = "
            f"{self.run.theta_ref:g} (Table 2, reconstructed), constant step α = {self.run.alpha:g}"
        )
        return "\n".join(lines)


def theorem_33(
    lam: Any = 0.5,
    T: Any = 1000,
    *,
    g: Any = None,
    alpha: Any = 1,
    theta_1: Any = None,
    order: Order = "dpo-first",
) -> Theorem33:
    """Compute both sides of Theorem 3.3 for one λ and T: the run's own gap, and the gap proven for all longer runs.

    Problem: Table 2 (reconstructed): f_DPO = log(1+e^{-(θ-5)/2}), f_SFT = log(1+e^{θ/2}); T full-gradient steps of a
        constant size on one objective, then T on the other.
    Statement: G_Mix,λ(θ_T') >= g > 0 for all T' >= T. The theorem has a sequence of steps: `thm_33_any_steps`.
    Kind: lower, proven by ball arithmetic. Where it is not proven, runs of T' >= T are tried: one with a smaller gap
        refutes the statement (verdict fails), else it is open.
    Source: arXiv 2410.15483v3, Theorem 3.3; docs/theory.md, S4 and S5.
    Arguments: numbers as floats, integers, fractions or text ("1/2"): lam in (0, 1); T >= 1; g > 0, a level, or
        None for the largest with three decimals that is proven; alpha with 0 < alpha/4 <= 4; theta_1, the start (None:
        θ_ref = 5); order, "dpo-first" or "sft-first".
    Returns: a `Theorem33`, whose text is the answer. Raises: ValueError or TypeError naming the argument.
    """
    from toyopt.certify import Phases, find_T0, sequential_gap, theorem_3_3

    weight, step = _numbers.exact("lam", lam), _numbers.exact("alpha", alpha)
    if not 0 < weight < 1:
        raise ValueError(f"lam: must be in (0, 1), got {lam!r}")
    steps = _numbers.whole("T", T, low=1)
    start = None if theta_1 is None else _numbers.exact("theta_1", theta_1)
    run = TwoPhases(alpha=float(step), theta_1=None if start is None else float(start), order=order)
    phases = Phases(alpha=step, theta_1=start, order=order)
    if g is None:
        tried = theorem_3_3(weight, T0=steps, phases=phases)
        level = Fraction(str(dict(tried.inputs)["g"])) if tried.proven else LEAST_LEVEL
    else:
        level = _numbers.exact("g", g)
        if level <= 0:
            raise ValueError(f"g: must be more than 0, got {g!r}")
    T0 = _least(find_T0(weight, level, phases=phases), lambda T0: sequential_gap(weight, level, T0=T0, phases=phases))
    asked = sequential_gap(weight, level, T0=steps, phases=phases, claim_id="3.3")
    # A proof for T0 is one for all later lengths; the search for T0 is exact up to rounding.
    proof = asked if asked.proven else sequential_gap(weight, level, T0=max(T0, steps), phases=phases, claim_id="3.3")
    shared: dict[str, Any] = {"alpha": run.alpha, "theta_1": run.theta_1, "order": order, "limit": FOLLOWED}
    growth = theorem_s(lam=float(weight), T_DPO=steps, T_SFT=steps, **shared)
    claim, refuting = of_certificate(asked), None
    if not asked.proven:
        claim, refuting = _tried(claim, run, float(weight), steps, T0)
    followed = steps <= FOLLOWED
    return Theorem33(
        lam=weight,
        T=steps,
        claim=claim,
        growth=growth,
        level=level,
        T0=min(T0, steps) if asked.proven else T0,
        theta=float(run.theta(run.last(steps, steps))) if followed else float("nan"),
        optimum=float(run.theta(run.turning_w(float(weight)))),
        bound=_bound(run, proof),
        refuting=refuting,
        run=run,
    )


def _least(T0: int, prove: Callable[[int], Certificate]) -> int:
    """Return about the least T0 that is proven, by steps downwards that double as long as they succeed, then halve."""
    down, growing = 1, True
    while down:
        if down < T0 and prove(T0 - down).proven:
            T0 -= down
            down = 2 * down if growing else down
        else:
            growing, down = False, down // 2
    return T0


def _decimal(value: Fraction) -> str:
    """Return a level as a decimal where it has at most twelve digits after the point, else as a fraction."""
    return f"{float(value):.15g}" if Fraction(f"{float(value):.12f}") == value else str(value)


def _bound(run: TwoPhases, proof: Any) -> float:
    """Return the θ that a proof of `sequential_gap` ends its half-line at; NaN if it is not proven."""
    from toyopt.certify.sequential import LOWER_END

    return float(run.theta(float(proof.enclosure(LOWER_END).low))) if proof.proven else float("nan")


def _tried(claim: Record, run: TwoPhases, lam: float, T: int, T0: int) -> tuple[Record, tuple[int, float] | None]:
    """Return the record of a level that is not proven from T on, with the least gap of some runs of T <= T' < T0."""
    last = min(max(T0 - 1, T), FOLLOWED)
    if last < T:
        return claim, None
    lengths = np.unique(np.round(np.geomspace(T, last, LENGTHS))).astype(np.int64)
    w = run.last(lengths, lengths)
    gaps = run.gap(lam, w)
    k = int(gaps.argmin())
    least, rounding = float(gaps[k]), float(run.run_rounding(lengths, lengths)[k] + run.gap_rounding(w[k]))
    note = f"{claim.note}; of {len(lengths)} runs from T = {T} to {last} the least gap is that of T = {lengths[k]}"
    record = replace(claim, attained=least, tolerance=rounding, interval=(0.0, least), evidence="property", note=note)
    return record, (int(lengths[k]), least) if record.verdict == "fails" else None
