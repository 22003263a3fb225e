"""The exact constant of Theorem S: it holds on runs, and each of its conditions decides alone."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
from flint import arb, ctx
from support.certified_runs import Credulous, float_gap, run, start_at, stops

from toyopt import certify as cf
from toyopt.certify.constant import Constant, prove_constant
from toyopt.certify.exact import ball


def test_the_known_constant() -> None:
    """λ = 1/2, α = 1, T = 1e7: 7.1140 (and a wrong log η, x or f* would be off by more than 1e-4)."""
    c = cf.sequential_constant("1/2", "1e-5", T0=10**7)
    assert c.proven
    assert c.enclosure("κ + μ log T0").text.startswith("7.11397156")
    stops(cf.sequential_constant("1/2", "6e-6", T0=10**7), "the lower error")
    stops(cf.sequential_constant("1/2", "1e-5", T0=5 * 10**6), "the lower error")
    stops(cf.sequential_constant("1/2", "1e-40", T0=10**40), "error at T0 is not")
    assert cf.sequential_constant("1/2", "1e-36", T0=10**40).proven
    tight = cf.sequential_constant("1/2", "0.00000603071194", T0=10**7)
    assert tight.proven
    stops(tight.recheck(24), "the lower error")


@pytest.mark.parametrize("order", ["dpo-first", "sft-first"])
@pytest.mark.parametrize("lam", ["1/2", "1/10", "9/10"])
@pytest.mark.parametrize("T", [300, 3000, 30_000])
def test_the_constant_and_its_error_hold_on_the_run(lam: str, order: Any, T: int) -> None:
    phases = cf.Phases(order=order, theta_1=2)
    c = cf.sequential_constant(lam, 1, T0=T, phases=phases)
    assert c.proven
    mu = float(Fraction(lam)) if order == "dpo-first" else 1 - float(Fraction(lam))
    first = run(float(phases.first_start), 0.25, T)
    value = float_gap(mu, run(-2.5 - first, 0.25, T)) - mu * math.log(T)
    kappa, below, above = (float(c.enclosure(name).mid) for name in ("κ", "error below at T0", "error above at T0"))
    # 1e-9 for the float run.
    assert kappa + below - 1e-9 <= value <= kappa + above + 1e-9
    # For λ not small the lower error is nearly attained: 0.6 of it would be wrong.
    assert mu < 0.5 or value < kappa + 0.6 * below


@pytest.mark.parametrize(
    ("phases", "T0", "words"),
    [
        (cf.Phases(theta_1=-40), 10, "V(T0) >= 0"),
        (cf.Phases(cf.Family(theta_ref=-40), theta_1=-40), 10, "long enough"),
        (cf.Phases(), 10, "w_T >= 0"),
        (cf.Phases(), 12, "w_T >= 0"),
        # ω + e^ω < 0 alone is not enough (η = 2, ω about -1.5); and B(y)/y may still increase.
        (cf.Phases(cf.Family(c=1, theta_ref="-6.1"), alpha=2), 1000, "long enough"),
        (cf.Phases(cf.Family(c=1, theta_ref="-0.3"), alpha="1/100"), 250, "B(y)/y decreases"),
    ],
)
def test_the_conditions_of_the_constant_are_checked(phases: cf.Phases, T0: int, words: str) -> None:
    stops(cf.sequential_constant("1/2", 10, T0=T0, phases=phases), words)


def test_the_error_of_the_constant_is_the_stated_formula() -> None:
    """(S.6) of docs/theory.md, written out anew in floats for λ = 1/3, η = 1/2, x = 5/4, v_0 = -1/2."""
    run_ = cf.Phases(cf.Family(theta_ref="5/2"), alpha=2, theta_1="3/2")
    c = cf.sequential_constant("1/3", 1, T0=400, phases=run_)
    below, above = (float(c.enclosure(f"error {end} at T0").mid) for end in ("below", "above"))
    lam, eta, x, v, y = 1 / 3, 0.5, 1.25, -0.5, 200.0
    delta = (math.exp(eta) - 1 - eta - eta**2 / 2) / eta
    k = v + math.exp(v) - eta / 2 * math.log1p(math.exp(v)) + eta / 2 * math.log(2)
    k += delta * (1 + eta / 4) / (1 + math.exp(v))
    B = x + eta**2 / 2 + math.log(y + k) + (1 - eta / 2) * math.log(y)
    assert below == pytest.approx(lam * math.log(1 - B / y), rel=1e-12)
    assert above == pytest.approx((lam * math.exp(-x) + 1 - lam) / (y - B), rel=1e-12)


def test_the_upper_error_counts_too() -> None:
    """For a small λ the upper error is the larger one."""
    c = cf.sequential_constant("1/100", "1/1000", T0=10_000)
    below, above = (float(c.enclosure(f"error {end} at T0").mid) for end in ("below", "above"))
    assert -below < above
    between = Fraction(round((above - below) / 2 * 10**9), 10**9)
    stops(cf.sequential_constant("1/100", between, T0=10_000), "the upper error")


FIRST = "V(T0) >= 0"


SECOND = "ηT0 + k > 1"


LONG = "the first phase is long enough: w_T <= log(ηT)"


SIGN = "w_T >= 0 from T0 on"


FALLS = "B(y)/y decreases from T0 on"


ROOM = "ηT0 > B"


def constant(x: Any, eta: Any, v: Any, T0: int, mu: Any = "1/2") -> tuple[list[str], Constant]:
    """Which of the constant's conditions fail at T0, and what would be claimed without them."""
    proof = Credulous()
    with ctx.workprec(128):
        found = prove_constant(proof, start_at(x, eta, v), Fraction(mu), T0)
    return list(proof.kept), found


def end_of_phase(v: float, eta: float, steps: int) -> float:
    for _ in range(steps):
        v += eta / (1 + math.exp(v))
    return v


@pytest.mark.parametrize(
    ("where", "eta", "v", "T0", "outside", "inside"),
    [
        (LONG, "2", "4.47", 360, "-4.132", "-4.131"),
        (LONG, "1.8", "-9.67", 19, "-1.056", "-1.055"),
        (LONG, "1.57", "-0.68", 4, "0.013", "0.014"),
        (LONG, "0.62", "0.47", 194, "-4.011", "-4.010"),
        (SIGN, "2", "-11.38", 5, "7.594", "7.593"),
        (SIGN, "2", "3.85", 3, "-0.290", "-0.291"),
        (SIGN, "1.77", "-5.1", 4, "3.783", "3.782"),
        (SIGN, "1.38", "-1.82", 3, "1.444", "1.443"),
        (FALLS, "1.73", "-26.83", 17, "3.471", "3.472"),
        (FALLS, "0.44", "-13.9", 36, "5.198", "5.199"),
        (FALLS, "1.44", "-22.95", 20, "0.433", "0.434"),
        (FALLS, "0.2", "1", 12, "-0.710", "-0.709"),  # k > 0: the larger of y/(y+k) and 1 is 1
        (FALLS, "0.05", "1", 50, "-0.745", "-0.744"),
        (ROOM, "0.47", "1.37", 10, "1.124", "1.123"),
        (ROOM, "0.8", "-7.41", 13, "7.444", "7.443"),
        (ROOM, "1.06", "-3.83", 8, "5.239", "5.238"),
    ],
)
def test_each_condition_of_the_constant_decides_alone(
    where: str, eta: str, v: str, T0: int, outside: str, inside: str
) -> None:
    """In x, all else fixed."""
    assert constant(outside, eta, v, T0)[0] == [where]
    assert constant(inside, eta, v, T0)[0] == []
    stopped = cf.sequential_constant("1/2", 10**6, T0=T0, phases=start_at(outside, eta, v))
    assert (stopped.proven, stopped.stopped_at) == (False, where)
    assert cf.sequential_constant("1/2", 10**6, T0=T0, phases=start_at(inside, eta, v)).proven


def test_the_first_two_conditions_are_one_and_follow_from_the_last_two() -> None:
    """Ψ(0) = 1 - (η/2) log 2, so V >= 0 is y + k >= 1; and below that y/(y+k) > y, so B >= growth and y > B exclude
    each other."""
    for x in (-3, 0, 3, 9, 20):
        below, above = constant(x, "1/2", "-9.227", 20)[0], constant(x, "1/2", "-9.226", 20)[0]
        assert below[:2] == [FIRST, SECOND]
        assert FALLS in below or ROOM in below
        assert not {FIRST, SECOND} & set(above)
    stopped = cf.sequential_constant("1/2", 1, T0=20, phases=start_at(3, "1/2", "-9.227"))
    assert stopped.stopped_at == FIRST


@pytest.mark.parametrize(
    ("x", "eta", "v", "T0"), [("-1.28", "1.79", "-0.83", 1), ("-3.72", "2", "0.88", 6), ("-0.78", "1.94", "-2.05", 2)]
)
def test_without_a_long_first_phase_the_run_is_beyond_log_y(x: str, eta: str, v: str, T0: int) -> None:
    """The step 'w_T <= log(ηT)' is then wrong, not only unproven."""
    assert constant(x, eta, v, T0)[0] == [LONG]
    step = float(Fraction(eta))
    w = end_of_phase(-float(x) - end_of_phase(float(v), step, T0), step, T0)
    assert w > math.log(step * T0) + 0.1


@pytest.mark.parametrize(("x", "eta", "v", "T0"), [("1.61", "0.75", "-8.9", 13), ("0.5", "0.22", "-0.82", 9)])
def test_while_B_over_y_increases_a_later_T_has_the_larger_error(x: str, eta: str, v: str, T0: int) -> None:
    """So without the condition the certificate at T0 would promise less error than what holds three steps later."""
    failed, early = constant(x, eta, v, T0, "99/100")
    late = constant(x, eta, v, T0 + 3, "99/100")
    assert (failed, late[0]) == ([FALLS], [])
    assert late[1].below < early.below - arb("0.01")
    error = Fraction(str(-round(float(early.below), 3) + Fraction(1, 100)))
    assert early.below > -ball(error)
    assert not cf.sequential_constant("99/100", error, T0=T0, phases=start_at(x, eta, v)).proven
    later = cf.sequential_constant("99/100", error, T0=T0 + 3, phases=start_at(x, eta, v))
    assert later.stopped_at is not None
    assert "the lower error" in later.stopped_at


def test_without_room_there_is_no_error_at_all() -> None:
    failed, found = constant("3.39", "0.36", "0.42", 18)
    assert failed == [ROOM]
    assert not found.below.is_finite()
