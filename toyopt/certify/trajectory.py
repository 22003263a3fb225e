"""Enclosures of whole runs: T steps of a phase in balls, and the gap at the end.

The map F(v) = v + ησ(-v) has 0 <= 1 - η/4 <= F' <= 1 for 0 < η <= 4.  Iterating balls blindly makes the
radius grow by 1 + ησ(v)σ(-v) a step (v occurs twice in F).  The centred form does not: with an exact centre m,
|F(v) - F(m)| <= |v - m|, so only the rounding of each step is added to the radius.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial

from flint import arb

from toyopt.certify import family as fam
from toyopt.certify.certificate import Certificate, Claim, Proof, certify, decimal
from toyopt.certify.exact import Exact, ball, count, exact, weights
from toyopt.certify.phases import Phases


def enclose_phase(start: arb, eta: Fraction, steps: int) -> arb:
    """Enclose v_steps from any v_0 in `start`, 0 < η <= 4, by the centred form."""
    center, radius, step = start.mid(), start.rad(), ball(eta)
    for _ in range(steps):
        image = center + step / (1 + center.exp())
        center = image.mid()
        radius = radius + image.rad()
    reach = radius.upper()
    return (center - reach).union(center + reach)


def sequential_trajectory(
    lam: Exact,
    T_first: int,
    T_second: int,
    *,
    phases: Phases | None = None,
    within: tuple[Exact, Exact] | None = None,
    prec: int = 96,
) -> Certificate:
    """Enclose the last iterate θ_T and its gap G_Mix,λ(θ_T) after T_first and T_second steps, step by step.

    Statement: the enclosures; with `within` = (lo, hi) also lo <= G_Mix,λ(θ_T) <= hi.  The potential's
    envelope, which does not depend on the single steps, is kept too; a contradiction would stop the proof.
    Method: `enclose_phase`, twice.  About 1 µs a step.
    Source: Algorithm 1, arXiv 2410.15483v3, eqs. (7), (8).
    Raises TypeError for floats, ValueError for lam outside (0, 1), T < 1 (T_first < 0), prec < 24.
    """
    (weight, _) = weights(lam)
    first, second = count(T_first, "T_first", least=0), count(T_second, "T_second")
    run = Phases() if phases is None else phases
    goal = None if within is None else (exact(within[0], "within"), exact(within[1], "within"))
    claim = _claim(run, weight, (first, second), goal)

    def body(proof: Proof) -> None:
        start = ball(run.first_start)
        v = enclose_phase(start, run.eta, first)
        _inside(proof, run, start, first, v, "first")
        w0 = run.second_start(v)
        w = enclose_phase(w0, run.eta, second)
        _inside(proof, run, w0, second, w, "second")
        proof.pieces += first + second
        theta = run.theta(w)
        gap = gap_at(run, weight, w)
        proof.keep("θ_T", theta)
        proof.keep("gap", gap)
        if goal is not None:
            inside = ball(goal[0]) <= gap and gap <= ball(goal[1])
            proof.require(inside, f"the gap {decimal(gap, 12)} in [{goal[0]}, {goal[1]}]")
        proof.statement = f"{claim.statement}: θ_T = {decimal(theta, 12)}, gap = {decimal(gap, 12)}"

    rerun = partial(sequential_trajectory, lam, T_first, T_second, phases=run, within=within)
    return certify(claim, body, prec=prec, rerun=rerun)


def gap_at(run: Phases, lam: Fraction, w: arb) -> arb:
    """Enclose G_Mix,λ at the variable w of the second phase, in the left-hand form."""
    mu = lam if run.order == "dpo-first" else 1 - lam
    return fam.f_mix(-w, ball(mu), ball(run.x)) - fam.optimum(mu, run.x)


def _inside(proof: Proof, run: Phases, start: arb, steps: int, end: arb, phase: str) -> None:
    """Require that the enclosure meets the envelope: no ball refutes lower bound <= v_T <= upper bound."""
    low, high = run.potential.envelope(start, steps)
    proof.require(bool(not end < low and not end > high), f"the {phase} phase's end {decimal(end, 10)} in its envelope")
    proof.keep(f"{phase} phase's lower envelope", low, 12)
    proof.keep(f"{phase} phase's upper envelope", high, 12)


def _claim(run: Phases, weight: Fraction, lengths: tuple[int, int], goal: tuple[Fraction, Fraction] | None) -> Claim:
    wish = "" if goal is None else f", which lies in [{goal[0]}, {goal[1]}]"
    return Claim(
        "trajectory",
        f"Sequential, {run.order}, {lengths[0]} and {lengths[1]} steps, λ = {weight}: θ_T and G_Mix,λ(θ_T){wish}",
        (run.assumption,),
        "arXiv 2410.15483v3, Algorithm 1, eqs. (7), (8)",
        (
            *run.inputs,
            ("lam", weight),
            ("T_first", lengths[0]),
            ("T_second", lengths[1]),
            ("within", goal),
        ),
    )
