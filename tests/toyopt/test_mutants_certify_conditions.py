"""The conditions under which a certificate says "for all T >= T0": each decides somewhere, and at its stated place.

For every condition there are two runs a thousandth apart, on its two sides; on the outer side it alone fails. Where a
claim would be wrong without the condition, that is shown too.
"""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from flint import arb, ctx

from toyopt import certify as cf
from toyopt.certify.certificate import Enclosure, Proof
from toyopt.certify.constant import Constant, prove_constant
from toyopt.certify.exact import ball
from toyopt.certify.sequential import PhaseLengths

FIRST = "V(T0) >= 0"
SECOND = "ηT0 + k > 1"
LONG = "the first phase is long enough: w_T <= log(ηT)"
SIGN = "w_T >= 0 from T0 on"
FALLS = "B(y)/y decreases from T0 on"
ROOM = "ηT0 > B"


FAILED = Enclosure(Decimal(0), Decimal(0), "failed")


class Credulous(Proof):
    """A proof that goes on whatever fails, and keeps what did."""

    def require(self, condition: bool, step: str) -> None:
        if condition is not True:
            self.kept[step] = FAILED


def start_at(x: Any, eta: Any, v: Any) -> cf.Phases:
    """DPO first with c = 1, cθ_ref = x, step η, from v_0 = v."""
    return cf.Phases(cf.Family(1, x), eta, Fraction(v) + Fraction(x))


def constant(x: Any, eta: Any, v: Any, T0: int, mu: Any = "1/2") -> tuple[list[str], Constant]:
    """Which of the constant's conditions fail at T0, and what would be claimed without them."""
    proof = Credulous()
    with ctx.workprec(128):
        found = prove_constant(proof, start_at(x, eta, v), Fraction(mu), T0)
    return list(proof.kept), found


def run(v: float, eta: float, steps: int) -> float:
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
    w = run(-float(x) - run(float(v), step, T0), step, T0)
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


# --- the whole run of Sequential --------------------------------------------------------------------------------------

STEEP = "(1+e^V)² >= η/2 at T0 = "
RISES = "T -> R(T) increases beyond T0 = "


def lower_end(phases: cf.Phases, ratio: Any, T0: int) -> tuple[list[str], arb, arb]:
    """Which conditions fail at T0, the first phase's upper end V, and the W that would be claimed."""
    plan, proof = PhaseLengths.of(phases, ratio, None), Credulous()
    with ctx.workprec(128):
        W = plan.lower_end(proof, T0)
        return list(proof.kept), plan.second_start(T0)[0], W


@pytest.mark.parametrize(
    ("eta", "T0", "outside", "inside"),
    [
        (4, 1, "-23.960", "-23.959"),
        (4, 5, "-31.960", "-31.959"),
        ("5/2", 2, "-8.27", "-8.269"),
        (3, 2, "-11.331", "-11.33"),
    ],
)
def test_the_condition_on_V_alone_decides(eta: Any, T0: int, outside: str, inside: str) -> None:
    """T_1 <= T_2/2, x = 20: only (1+e^V)² >= η/2 is in question, that is V >= log(√(η/2) - 1)."""
    edge = math.log(math.sqrt(Fraction(eta) / 2) - 1)
    for v, failed in ((outside, [f"{STEEP}{T0}"]), (inside, [])):
        found, V, _ = lower_end(start_at(20, eta, v), "1/2", T0)
        assert found == failed
        assert float(V) == pytest.approx(edge, abs=2e-3)  # a thousandth in v is about as much in V
        assert (edge > V) is bool(failed)


@pytest.mark.parametrize(
    ("x", "eta", "ratio", "T0", "outside", "inside"),
    [
        (20, 4, 1, 5, "-41.186", "-41.185"),
        (20, 3, 1, 5, "-22.56", "-22.559"),
        (20, 2, "3/2", 5, "-16.485", "-16.484"),
        (-3, "1/2", 1, 3, "1.202", "1.203"),
        (-3, "1/2", 3, 2, "1.829", "1.83"),
    ],
)
def test_the_condition_that_R_increases_alone_decides(
    x: int, eta: Any, ratio: Any, T0: int, outside: str, inside: str
) -> None:
    """1 + e^V - (η/2)σ(V) >= ρ(1 + e^{-x-V}), written out in floats; their difference changes its sign in between."""
    for v, failed in ((outside, [f"{RISES}{T0}"]), (inside, [])):
        found, ball_of_V, _ = lower_end(start_at(x, eta, v), ratio, T0)
        V = float(ball_of_V)
        spare = 1 + math.exp(V) - float(Fraction(eta)) / 2 / (1 + math.exp(-V))
        spare -= float(Fraction(ratio)) * (1 + math.exp(-x - V))
        assert found == failed
        assert (spare < 0) is bool(failed)


def test_without_the_condition_on_V_a_later_T_ends_lower() -> None:
    """η = 4, T_1 <= 0.97 T_2: at T0 the first condition alone fails, and a step later all hold, with a smaller W: then
    'w_T >= W for all T >= T0' has no proof, and the certificate at T0 would promise a gap that it denies at T0 + 1."""
    phases, ratio, T0, lam = start_at(20, 4, "-52.12"), "97/100", 7, "1/2"
    failed, _, early = lower_end(phases, ratio, T0)
    later, _, late = lower_end(phases, ratio, T0 + 1)
    assert (failed, later) == ([f"{STEEP}{T0}"], [])
    assert late < early - arb("0.04")
    line = PhaseLengths.of(phases, ratio, None).line((Fraction(lam), Fraction(lam)))
    g = max(Fraction(n, 100) for n in range(1, 2000) if line.holds(early, ball(Fraction(n, 100))))
    assert cf.sequential_gap(lam, g, T0=T0, phases=phases, ratio=ratio).stopped_at == f"{STEEP}{T0}"
    denied = cf.sequential_gap(lam, g, T0=T0 + 1, phases=phases, ratio=ratio)
    assert denied.stopped_at is not None
    assert "G_Mix(a) >= g" in denied.stopped_at


@pytest.mark.parametrize("ratio", ["1/3", 1, 5])
def test_what_is_proven_from_T0_on_is_proven_from_every_later_T_on(ratio: Any) -> None:
    """W does not fall with T0 where the conditions hold: for slow and fast steps, near and far starts."""
    for x, eta, v in ((20, 4, -60), (-3, "1/2", 0), (2, 3, -12), (-10, 2, -10), (5, "7/2", "-30")):
        ends = [lower_end(start_at(x, eta, v), ratio, T0) for T0 in (*range(1, 30, 2), 50, 400)]
        proven = [not failed for failed, _, _ in ends]
        first = proven.index(True)
        assert all(proven[first:])
        assert all(not b < a for (_, _, a), (_, _, b) in zip(ends[first:], ends[first + 1 :], strict=False))
