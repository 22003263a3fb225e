"""Theorem S in floats: its bounds hold on runs, and a wrong weight, length, order or constant is caught."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from flint import arb, ctx
from hypothesis import given
from hypothesis import strategies as st

from toyopt import Constant, Sequential, simulate
from toyopt import certify as cf
from toyopt.certify.certificate import Proof, UnprovenStep
from toyopt.certify.sequential import PhaseLengths
from toyopt.certify.trajectory import enclose_phase
from toyopt.examples import LowerBound
from toyopt.optimum import lower_bound_minimiser
from toyopt.theorems.sequential.two_phases import TwoPhases, theorem_s

ETAS = st.one_of(st.sampled_from([0.01, 0.25, 1.0, 2.0, 4.0]), st.floats(1e-3, 4.0))


SETTINGS = st.fixed_dictionaries(
    {
        "c": st.floats(0.1, 2.0),
        "theta_ref": st.floats(-8.0, 8.0),
        "theta_1": st.floats(-12.0, 12.0),
        "order": st.sampled_from(["dpo-first", "sft-first"]),
    }
)


def plain_run(v: float, eta: float, steps: int) -> float:
    """The recursion, without compensation."""
    for _ in range(steps):
        v += eta / (1 + math.exp(v))
    return v


def followed(run: TwoPhases, lam: float, T_DPO: int, T_SFT: int) -> tuple[float, float]:
    """theta_T and its gap by `toyopt.simulate` on the Problem: nothing of the recursion, nothing of the reflection."""
    family = LowerBound(run.c, run.theta_ref)
    problem = family.problem()
    stages = ((T_DPO, T_SFT), (0, 1)) if run.order == "dpo-first" else ((T_SFT, T_DPO), (1, 0))
    start = run.theta_ref if run.theta_1 is None else run.theta_1
    end = simulate(problem, Sequential(*stages), Constant(run.alpha), theta0=[start]).last[0]
    star = np.array([lower_bound_minimiser(family, lam)])
    return float(end[0]), float(problem.f_mix(end, lam) - problem.f_mix(star, lam))


@pytest.mark.slow
@given(SETTINGS, ETAS, st.floats(0.01, 0.99), st.integers(0, 300), st.integers(1, 300))
def test_theorem_s_on_any_run(setting: dict, eta: float, lam: float, T_DPO: int, T_SFT: int) -> None:
    run = TwoPhases(alpha=0.999 * eta / setting["c"] ** 2, **setting)
    theta, gap = followed(run, lam, T_DPO, T_SFT)
    # The simulator's rounding: 600 steps of a few ulp of numbers below 1e3, and theta is w over c >= 0.1.
    room = 600 * 8 * 2**-53 * 1e3
    assert float(run.theta(run.last(T_DPO, T_SFT))) == pytest.approx(theta, abs=10 * room)
    low, high = run.gap_bounds(lam, T_DPO, T_SFT)
    assert low - room <= gap <= high + room
    if (T_SFT if run.order == "dpo-first" else T_DPO) >= 1:
        for record in theorem_s(lam=lam, T_DPO=T_DPO, T_SFT=T_SFT, alpha=run.alpha, **setting):
            centre = record.terms["growth"] + record.terms["constant"] if "growth" in record.terms else None
            assert centre is None or record.attained == pytest.approx(gap, abs=room)
            assert record.verdict == "holds", record


ASYMMETRIC = [
    TwoPhases(0.7, 3.0, 1.3, -4.0, "dpo-first"),
    TwoPhases(0.7, 3.0, 1.3, -4.0, "sft-first"),
    TwoPhases(1.5, -2.0, 1.7, None, "dpo-first"),
    TwoPhases(1.5, -2.0, 1.7, 6.0, "sft-first"),
]


@pytest.mark.parametrize("run", ASYMMETRIC)
def test_wrong_weights_lengths_orders_and_constants_are_caught(run: TwoPhases) -> None:
    lam, T_DPO, T_SFT = 0.3, 2000, 5000
    gap = followed(run, lam, T_DPO, T_SFT)[1]
    other = dataclasses.replace(run, order="sft-first" if run.order == "dpo-first" else "dpo-first")

    def contains(bounds: tuple[np.ndarray, np.ndarray]) -> bool:
        return bool(bounds[0] - 1e-9 <= gap <= bounds[1] + 1e-9)

    assert contains(run.gap_bounds(lam, T_DPO, T_SFT))
    assert not contains(run.gap_bounds(1 - lam, T_DPO, T_SFT))
    assert not contains(other.gap_bounds(lam, T_DPO, T_SFT))
    assert not contains(run.gap_bounds(lam, T_SFT, T_DPO))
    moved = dataclasses.replace(run, theta_ref=0.0, theta_1=run.theta_ref if run.theta_1 is None else run.theta_1)
    assert not contains(moved.gap_bounds(lam, T_DPO, T_SFT))
    assert not contains(dataclasses.replace(run, alpha=0.7 * run.alpha).gap_bounds(lam, T_DPO, T_SFT))


def test_one_step_more_or_less_is_detected_where_the_envelope_is_thin() -> None:
    """A gap grows by λ/T from a step to the next; the envelope is thinner than that where η is small."""
    run, T = TwoPhases(0.5, 5.0, 0.2), 3000
    gap = followed(run, 0.5, T, T)[1]
    low, high = run.gap_bounds(0.5, [T, T, T], [T - 1, T, T + 1])
    assert list((low - 1e-9 <= gap) & (gap <= high + 1e-9)) == [False, True, False]


@pytest.mark.parametrize("run", ASYMMETRIC)
def test_the_constant(run: TwoPhases) -> None:
    lam, T = 0.3, 100_000
    lower, upper, limit = theorem_s(lam=lam, T_DPO=T, T_SFT=T, **dataclasses.asdict(run))
    assert {r.verdict for r in (lower, upper, limit)} == {"holds"}
    assert limit.bound < 1e-3
    weight = lam if run.order == "dpo-first" else 1 - lam
    wrong = {
        "c theta_ref": -weight * run.x,
        "log η": -weight * math.log(run.eta),
        "log α for log η": weight * 2 * math.log(1 / run.c),
        "f*": float(run.f_mix(lam, run.turning_w(lam))),
        "the other weight": run.constant(1 - lam) - run.constant(lam),
        "the other weight's growth": (1 - 2 * weight) * math.log(T),
        "λ f*": (1 - weight) * float(run.f_mix(lam, run.turning_w(lam))),
    }
    away = lower.attained - lower.terms["growth"] - lower.terms["constant"]
    for name, change in wrong.items():
        assert dataclasses.replace(limit, attained=abs(away - change)).verdict == "fails", name
    for record in (lower, upper):
        assert sum(record.terms.values()) == pytest.approx(record.bound, abs=1e-12)


@pytest.mark.parametrize("order", ["dpo-first", "sft-first"])
@pytest.mark.parametrize(("c", "theta_ref", "alpha", "theta_1"), [(0.5, 5.0, 1.0, 5.0), (0.75, -1.5, 2.0, 3.0)])
def test_the_limit_and_its_error_are_those_of_the_certificate(
    order: str, c: float, theta_ref: float, alpha: float, theta_1: float
) -> None:
    T0, lam = 20_000, 0.25
    run = TwoPhases(c, theta_ref, alpha, theta_1, order)  # type: ignore[arg-type]
    family = cf.Family(Fraction(c), Fraction(theta_ref))
    phases = cf.Phases(family, Fraction(alpha), Fraction(theta_1), order)  # type: ignore[arg-type]
    proof = cf.sequential_constant("1/4", 1, T0=T0, phases=phases)
    assert proof.proven

    def kept(name: str) -> float:
        return float(proof.enclosure(name).mid)

    below, above = run.limit_error(lam, T0)
    assert run.constant(lam) == pytest.approx(kept("κ"), abs=1e-14)
    assert float(below) == pytest.approx(kept("error below at T0"), rel=1e-11)
    assert float(above) == pytest.approx(kept("error above at T0"), rel=1e-11)
    T = np.array([T0, 5 * T0, 20 * T0])
    away = run.gap(lam, run.last(T, T)) - run.weight(lam) * np.log(T) - run.constant(lam)
    each = run.limit_error(lam, T)
    assert ((each[0] <= away) & (away <= each[1])).all()
    assert (np.diff(np.abs(each)) < 0).all()
    assert (np.abs(away) > 0.1 * np.maximum(-each[0], each[1])).all()  # the error is no wild guess
    low, high = run.remainder(lam, T, T)
    assert ((low <= away) & (away <= high)).all()


def test_the_limits_error_waits_for_its_conditions() -> None:
    run = TwoPhases()
    assert np.isnan(run.limit_error(0.5, [1, 5])).all()
    assert np.isnan(TwoPhases(alpha=9.0).limit_error(0.5, 10**6)).all()  # η > 2
    assert np.isnan(TwoPhases(theta_1=4000.0).limit_error(0.5, 10**6)).all()  # e^{v_0} is no float


@pytest.mark.parametrize("theta_ref", ["5", "-12", "-40", "9"])
@pytest.mark.parametrize("alpha", ["1", "6", "16"])
@pytest.mark.parametrize("order", ["dpo-first", "sft-first"])
def test_conditions_hold_just_where_they_are_proven(theta_ref: str, alpha: str, order: str) -> None:
    """Those of the limit's error and (5) of Theorem S, at many T0, against the certifiers; and W itself."""
    run = TwoPhases(0.5, float(theta_ref), float(alpha), 1.0, order)  # type: ignore[arg-type]
    phases = cf.Phases(cf.Family("1/2", theta_ref), alpha, 1, order)  # type: ignore[arg-type]
    for T0 in (1, 2, 3, 5, 8, 13, 21, 34, 55, 100, 300, 1000, 10**4, 10**6, 10**9, 10**12):
        if run.eta <= 2:
            proof = cf.sequential_constant("1/2", 10**6, T0=T0, phases=phases)
            assert proof.proven == (not np.isnan(run.limit_error(0.5, T0)).any()), (T0, proof.stopped_at)
        W = run.lower_end(T0)
        with ctx.workprec(128):
            try:
                true = float(PhaseLengths.of(phases, 1, None).lower_end(Proof(""), T0))
            except UnprovenStep:
                true = math.nan
        assert pytest.approx(true, abs=1e-12, nan_ok=True) == W


def test_the_gap_is_bounded_by_0_where_the_minimiser_may_be() -> None:
    run, T = TwoPhases(), 30
    low, high = (float(w) for w in run.enclosure(T, T))
    u = -(low + high) / 2
    # f' = 0 at u: λ σ(x-u) = (1-λ) σ(u).
    left, right = 1 / (1 + math.exp(u - run.x)), 1 / (1 + math.exp(-u))
    lam = right / (left + right)
    assert low < run.turning_w(lam) < high
    assert run.gap_bounds(lam, T, T)[0] == 0.0
    assert run.gap(lam, np.array([low, high])).min() > 1e-9
    assert run.gap_bounds(lam, T, T)[1] >= run.gap(lam, np.array([low, high])).max()


def test_what_lemma_p_leaves_of_the_limit() -> None:
    """The remainder is λ(w - log y), which increases with w, and two terms that fall: each end of w in its place."""
    run, lam = TwoPhases(0.9, -1.0, 3.0, 2.0), 0.3
    for T in (1, 2, 5, 20):
        low, high = (float(w) for w in run.enclosure(T, T))
        assert high - low > 1e-4
        log_y = math.log(run.eta * T)
        falls = [lam * math.log1p(math.exp(0.9 - w)) + (1 - lam) * math.log1p(math.exp(-w)) for w in (low, high)]
        expected = (lam * (low - log_y) + falls[1], lam * (high - log_y) + falls[0])
        assert [float(e) for e in run.remainder(lam, T, T)] == pytest.approx(expected, abs=1e-12)


@pytest.mark.slow
def test_compensated_runs_are_right_to_their_rounding() -> None:
    """Against balls after 10^5 and 10^5 steps; the plain recursion in floats is not right to it."""
    run, T = TwoPhases(), 100_000
    with ctx.workprec(96):
        v = enclose_phase(arb(0), Fraction(1, 4), T)
        w = enclose_phase(arb("-2.5") - v, Fraction(1, 4), T)
        off = abs(float(arb(float(run.last(T, T))) - w))
        plain = abs(float(arb(plain_run(-2.5 - plain_run(0.0, 0.25, T), 0.25, T)) - w))
    assert off <= float(run.run_rounding(T, T)) < 2e-13
    assert plain > 20 * off
    assert float(run.gap_rounding(run.last(T, T))) < 1e-13


def test_many_lengths_at_once_are_the_runs_one_by_one() -> None:
    run = TwoPhases(0.9, -1.0, 3.0, 2.0, "sft-first")
    T_DPO, T_SFT = np.array([[5], [0], [40]]), np.array([7, 1, 7, 300])
    together = run.last(T_DPO, T_SFT)
    assert together.shape == (3, 4)
    for i, j in np.ndindex(3, 4):
        assert together[i, j] == run.last(int(T_DPO[i, 0]), int(T_SFT[j]))


@pytest.mark.slow
def test_known_value_and_its_records() -> None:
    lower, upper, limit = theorem_s(lam=0.5, T_DPO=10**7, T_SFT=10**7)
    assert lower.attained == pytest.approx(7.1140, abs=5e-5)
    assert lower.terms["growth"] + lower.terms["constant"] == pytest.approx(7.11397156, abs=1e-8)
    assert [r.kind for r in (lower, upper, limit)] == ["lower", "upper", "upper"]
    assert limit.attained == pytest.approx(abs(lower.attained - 7.11397156), abs=1e-8)
    assert [r.verdict for r in (lower, upper, limit)] == ["holds"] * 3
    assert upper.bound - lower.bound < 1e-8  # the envelope is that thin
    assert limit.bound < 1e-5


def test_runs_too_long_to_follow_are_open() -> None:
    records = theorem_s(lam=0.3, T_DPO=10**46, T_SFT=10**46)
    assert [r.verdict for r in records] == ["open"] * 3
    assert records[1].bound - records[0].bound < 1e-12


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: TwoPhases(c=0.0), ValueError, "c: .*0"),
        (lambda: TwoPhases(alpha=17.0), ValueError, "alpha: .*17"),
        (lambda: TwoPhases(alpha=-1.0), ValueError, "alpha: .*-1"),
        (lambda: TwoPhases(theta_ref=math.inf), ValueError, "theta_ref: .*inf"),
        (lambda: TwoPhases(theta_ref=1e5), ValueError, "theta_ref: .*100000"),
        (lambda: TwoPhases(theta_1="x"), TypeError, "theta_1: .*'x'"),  # type: ignore[arg-type]
        (lambda: TwoPhases(order="both"), ValueError, "order: .*'both'"),  # type: ignore[arg-type]
        (lambda: theorem_s(lam=1.0, T_DPO=1, T_SFT=1), ValueError, "lam: .*1.0"),
        (lambda: theorem_s(lam=0.5, T_DPO=1, T_SFT=0), ValueError, "T_SFT: .*0"),
        (lambda: theorem_s(lam=0.5, T_DPO=0, T_SFT=1, order="sft-first"), ValueError, "T_DPO: .*0"),
        (lambda: theorem_s(lam=0.5, T_DPO=1.5, T_SFT=1), TypeError, "T_DPO: .*1.5"),  # type: ignore[arg-type]
    ],
)
def test_wrong_input(call: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()
