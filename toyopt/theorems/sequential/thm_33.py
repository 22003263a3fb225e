"""Theorem 3.3: Sequential keeps a gap, for every λ of an interval and all large T; in floats, and as a certificate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from toyopt import _check
from toyopt._numbers import reads_numbers
from toyopt.record import Record
from toyopt.theorems.sequential.two_phases import Order, TwoPhases

if TYPE_CHECKING:
    from toyopt.certify import Certificate, Exact, Phases

_SOURCE = "arXiv 2410.15483v3, Theorem 3.3"


@reads_numbers
def thm_33(
    *,
    lam: tuple[float, float] = (0.01, 0.99),
    T0: int = 1000,
    g: float | None = None,
    last: int | None = None,
    c: float = 0.5,
    theta_ref: float = 5.0,
    alpha: float = 1.0,
    theta_1: float | None = None,
    order: Order = "dpo-first",
) -> Record:
    """Compute both sides of Theorem 3.3: Sequential's gap stays above a constant, for every λ in an interval.

    Problem: as `theorem_s`, T_DPO = T_SFT = T.
    Statement: G_Mix,λ(theta_T) >= g > 0 for every λ in [lo, hi] and all T >= T0.
    Kind: lower, with an interval of the infimum over all λ and T: from `level`, which follows from Theorem S
        (docs/theory.md, S) up to rounding (0 where it finds none), to the least gap of some runs, 9 values of λ by up
        to 17 values of T from T0 to `last`, the attained value. So it holds if g <= `level`, fails if a run is below
        g, and is open between. A proof in balls: `certified_33`.
    Source: arXiv 2410.15483v3, Theorem 3.3.
    Arguments: lam (lo, hi), 0 < lo <= hi < 1; T0 >= 1; g, a level, or None for `level`; last >= T0, by default 64 T0;
        c, theta_ref, alpha, theta_1 (None: theta_ref), order.
    Returns: a Record; verdict "open" where g is None and `level` finds no positive one, too. Raises: as usual.
    """
    run, (low, high) = TwoPhases(c, theta_ref, alpha, theta_1, order), interval(lam)
    T0 = _check.whole("T0", T0, low=1)
    last = 64 * T0 if last is None else _check.whole("last", last, low=T0)
    proven = level(run, (low, high), T0)
    bound = proven if g is None else _check.real("g", g, above=0.0)
    T = np.unique(np.round(np.geomspace(T0, last, 17))).astype(np.int64)
    w = run.last(T, T)
    gaps = np.stack([run.gap(float(weight), w) for weight in np.linspace(low, high, 9)])
    k = int(gaps.min(axis=0).argmin())
    least, rounding = float(gaps.min()), float(run.run_rounding(T, T)[k] + run.gap_rounding(w[k]))
    above = 0.0 if math.isnan(proven) else min(proven, least)
    return Record(
        claim="3.3",
        statement=f"Sequential, {order}, T_DPO = T_SFT = T: G_Mix,λ(θ_T) >= g for λ in [{low:g}, {high:g}], T >= {T0}",
        kind="lower",
        bound=bound,
        attained=least,
        source=_SOURCE,
        terms={"g": bound},
        tolerance=rounding,
        interval=(above, least),
        note="no level is proven for this T0" if math.isnan(proven) else f"proven to be at least {proven:.6g}",
    )


def level(run: TwoPhases, lam: tuple[float, float], T0: int) -> float:
    """Compute a g with G_Mix,λ(theta_T) >= g for every λ in [lo, hi] and all T_DPO = T_SFT = T >= T0, or nan.

    It is G at `TwoPhases.lower_end`, for the end of [lo, hi] that decides: the least μ, by the half-line lemma of
    docs/theory.md, part S. In floats: `certified_33` proves it.
    """
    low, high = interval(lam)
    deciding = low if run.order == "dpo-first" else high
    W = run.lower_end(T0)
    if not run.turning_w(deciding) < W:  # also for nan: theta_T is not known to be beyond the minimiser
        return math.nan
    return float(run.gap(deciding, W) - run.gap_rounding(W))


def certified_33(
    *,
    lam: tuple[Exact, Exact] = ("1/100", "99/100"),
    T0: int = 1000,
    g: Exact | None = None,
    total: Exact | None = None,
    phases: Phases | None = None,
    prec: int = 128,
) -> Record:
    """Prove Theorem 3.3 by ball arithmetic, its strongest evidence.

    Problem, statement: as `thm_33`, proven for all λ of the interval and all T >= T0 with the constant step; with
        total, as `thm_33_any_steps`: for every sequence of steps of at most the phases' alpha, whose c²Σα_t over the
        last phase is at least total and over the first at most that of the last.
    Kind: lower. Source: arXiv 2410.15483v3, Theorem 3.3; `toyopt.certify.theorem_3_3`, `sequential_gap`,
        `theorem_3_3_any_steps`, `sequential_gap_any_steps`.
    Arguments: lam, exact (strings, integers, fractions); T0; g, exact, or None for the largest with three decimals that
        is proven; total, exact, in place of T0; phases, a `toyopt.certify.Phases`; prec, bits.
    Returns: as `of_certificate`. Raises: as those four.
    """
    from toyopt.certify import sequential_gap, sequential_gap_any_steps, theorem_3_3, theorem_3_3_any_steps

    if total is not None:
        if g is None:
            return of_certificate(theorem_3_3_any_steps(lam, total=total, phases=phases, prec=prec))
        proof = sequential_gap_any_steps(lam, g, total=total, phases=phases, prec=prec, claim_id="3.3")
        return of_certificate(proof)
    if g is None:
        return of_certificate(theorem_3_3(lam, T0=T0, phases=phases, prec=prec))
    return of_certificate(sequential_gap(lam, g, T0=T0, phases=phases, prec=prec, claim_id="3.3"))


def of_certificate(certificate: Certificate) -> Record:
    """Return the record of a certificate of `sequential_gap` or `theorem_3_3`, with both sides.

    Bound: its g. Attained: the gap, in floats, at the proven end of theta_T's half-line, which g was compared with.
    A certificate that is not proven has attained nan and verdict "open", and `note` names the step at which it stopped.
    Raises: ValueError for a certificate of another claim.
    """
    from toyopt.certify.sequential import LOWER_END

    inputs: dict[str, Any] = dict(certificate.inputs)
    if "g" not in inputs or not {"T0", "total"} & set(inputs):
        raise ValueError(f"certificate: one of `sequential_gap` is needed, got {certificate.claim!r}")
    bound, attained, tolerance = float(inputs["g"]), math.nan, 0.0
    if certificate.proven:
        run, deciding = _run_of(inputs)
        W = float(certificate.enclosure(LOWER_END).mid)
        attained, tolerance = float(run.gap(deciding, W)), 2 * float(run.gap_rounding(W))
    return replace(
        certificate.record,
        kind="lower",
        bound=bound,
        attained=attained,
        terms={"g": bound},
        tolerance=tolerance,
    )


def interval(lam: Any) -> tuple[float, float]:
    """Return λ's interval (lo, hi), checked: 0 < lo <= hi < 1."""
    pair = _check.items("lam", lam)
    if len(pair) != 2:
        raise ValueError(f"lam: a pair (lo, hi) is needed, got {lam!r}")
    low, high = (_check.real("lam", value) for value in pair)
    if not 0.0 < low <= high < 1.0:
        raise ValueError(f"lam: 0 < lo <= hi < 1 is needed, got {lam!r}")
    return low, high


def _run_of(inputs: Mapping[str, Any]) -> tuple[TwoPhases, float]:
    """Return the run of a certificate with these inputs, in floats, and the deciding λ."""
    c, theta_ref, alpha, theta_1 = (float(inputs[name]) for name in ("c", "theta_ref", "alpha", "theta_1"))
    order: Order = inputs["order"]
    low, high = (float(end) for end in inputs["lam"])
    return TwoPhases(c, theta_ref, alpha, theta_1, order), low if order == "dpo-first" else high
