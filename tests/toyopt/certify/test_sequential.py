"""Theorem S and Theorem 3.3 as certificates: T0 is proven, tight against a run, and nothing stronger is proven."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import pytest
from flint import arb, ctx
from support.certified_runs import Credulous, float_gap, run, start_at, stops

from toyopt import certify as cf
from toyopt.certify.exact import ball, integer_text
from toyopt.certify.sequential import PhaseLengths, _floor, _round_up

WIDE = ("1/100", "99/100")


SFT_FIRST = cf.Phases(order="sft-first")


@pytest.mark.parametrize("order", ["dpo-first", "sft-first"])
def test_T0_on_the_wide_interval(order: Any) -> None:
    phases = cf.Phases(order=order)
    c = cf.sequential_gap(WIDE, "1/10", phases=phases)
    assert c.proven
    T0 = dict(c.inputs)["T0"]
    assert 2.3e7 < T0 < 2.4e7
    # A T0 0.1 % smaller fails for this g, and so does a g a thousandth larger.
    stops(cf.sequential_gap(WIDE, "1/10", T0=T0 - T0 // 1000, phases=phases), "G_Mix(a) >= g at λ = 0.01")
    stops(cf.sequential_gap(WIDE, "0.1001", T0=T0, phases=phases), "G_Mix(a) >= g at λ = 0.01")
    # All later T, and any part of the interval.
    assert cf.sequential_gap(WIDE, "1/10", T0=10 * T0, phases=phases).proven
    assert cf.sequential_gap(("1/3", "1/2"), "1/10", T0=T0, phases=phases).proven


def test_T0_far_too_small() -> None:
    stops(cf.sequential_gap("1/100", "1/1000", T0=600), "G_Mix(a) >= g")
    stops(cf.sequential_gap("1/100", "1/1000", T0=100), "f'_Mix(a) < 0")
    late = cf.Phases(theta_1=-60)
    stops(cf.sequential_gap("1/2", "1/1000", T0=3, phases=late), "increases beyond T0 = 3")
    late = cf.Phases(theta_1=-60, alpha=16)
    stops(cf.sequential_gap("1/2", "1/1000", T0=1, phases=late), "(1+e^V)² >= η/2 at T0 = 1")


@pytest.mark.parametrize(("lam", "g"), [("1/2", 1), ("1/10", "1/10"), ("1/100", "1/1000"), ("9/10", "5")])
@pytest.mark.parametrize("alpha", [1, 4])
def test_T0_is_tight_against_the_run(lam: str, g: Any, alpha: int) -> None:
    """The last T at which the run itself lacks the gap is at most 2 steps before T0, and never after."""
    eta, weight, level = alpha / 4, float(Fraction(lam)), float(Fraction(g))
    T0 = cf.find_T0(lam, g, phases=cf.Phases(alpha=alpha))
    v, last = 0.0, 0
    for T in range(T0 + 40):
        w = run(-2.5 - v, eta, T)
        last = T if float_gap(weight, w) < level else last
        v += eta / (1 + math.exp(v))
    assert T0 - 2 <= last + 1 <= T0


def test_each_order_has_its_own_weight() -> None:
    """DPO first at λ and SFT first at 1-λ have the same T0 from mirrored starts; at the same λ they differ."""
    assert cf.find_T0("1/10", 1) == cf.find_T0("9/10", 1, phases=cf.Phases(order="sft-first", theta_1=0))
    assert cf.find_T0("9/10", 1) < 100 < 2_000_000 < cf.find_T0("9/10", 1, phases=SFT_FIRST)
    stops(cf.sequential_gap("9/10", 1, T0=1000, phases=SFT_FIRST), "G_Mix(a) >= g")
    assert cf.sequential_gap("9/10", 1, T0=1000).proven


def test_unequal_lengths_need_a_larger_t0() -> None:
    equal, long, fixed = (
        cf.find_T0("1/2", 1),
        cf.find_T0("1/2", 1, ratio=10**6),
        cf.find_T0("1/2", 1, T_first=10**9),
    )
    assert equal < long < fixed
    assert cf.sequential_gap("1/2", 1, T0=long, ratio=10**6).proven
    stops(cf.sequential_gap("1/2", 1, T0=equal, ratio=10**6), "λ = 0.5")
    stops(cf.sequential_gap("1/2", 1, T0=equal, T_first=10**9), "λ = 0.5")
    # A ratio so large that at T = 1 one more step in both phases still lengthens the way back.
    stops(cf.sequential_gap("1/2", "1/1000", T0=1, ratio=10**9), "increases beyond T0 = 1")
    assert cf.sequential_gap("1/2", 1, T0=fixed, T_first=10**9).proven
    v = run(0, 0.25, 20_000)
    assert float_gap(0.5, run(-2.5 - v, 0.25, cf.find_T0("1/2", 1, T_first=20_000))) >= 1


def test_the_check_that_R_increases_is_needed() -> None:
    """With a huge x, w_0(V) is near +∞ at V = 0: R decreases there, and the certificate must not go on."""
    far = cf.Phases(family=cf.Family(c=1, theta_ref=-30), alpha="1/4", theta_1=-30)
    stops(cf.sequential_gap("1/2", "1/1000", T0=2, phases=far), "increases beyond T0 = 2")
    c = cf.sequential_gap("1/2", "1/1000", phases=far)
    assert c.proven
    # At T = 2 the gap is there, then it goes away: the run first has w_0 = 30, later about 0.
    plan = PhaseLengths.of(far, 1, None)
    assert plan.second_start(2)[1] > plan.second_start(10**6)[1]


def test_the_gap_diverges() -> None:
    c = cf.sequential_gap(WIDE, 100)
    assert c.proven
    assert "e43" in str(c)  # about e^10000, an exact integer all the same
    steps = [cf.find_T0("1/2", g) for g in (4, 5, 6, 7)]
    # Theorem S: G = λ log T + κ, so one more unit of gap costs a factor e^{1/λ} in T.
    assert all(abs(math.log(b / a) - 2) < 0.02 for a, b in itertools.pairwise(steps))


@pytest.mark.parametrize("order", ["dpo-first", "sft-first"])
def test_theorem_3_3(order: Any) -> None:
    phases = cf.Phases(order=order)
    c = cf.theorem_3_3(WIDE, T0=1000, phases=phases)
    assert c.proven
    assert c.claim == "3.3"
    g = dict(c.inputs)["g"]
    stops(cf.sequential_gap(WIDE, g + Fraction(1, 1000), T0=1000, phases=phases), "G_Mix(a) >= g")
    stops(cf.theorem_3_3(WIDE, T0=100, phases=phases), "f'_Mix(a) < 0")
    assert c.recheck().proven


def test_low_precision_stops() -> None:
    assert cf.sequential_gap("1/2", 10, T0=cf.find_T0("1/2", 10)).proven
    stops(cf.sequential_gap("1/2", 10, T0=cf.find_T0("1/2", 10), prec=24), "G_Mix(a) >= g")
    stops(cf.sequential_gap("1/2", 10**6), "the search for a T0")


def test_the_claim_with_a_longest_first_phase() -> None:
    c = cf.sequential_gap("1/2", 1, T0=100, T_first=7)
    assert c.statement == "Sequential, DPO first, all T_SFT >= 100 and every T_DPO <= 7, λ = 1/2: G_Mix,λ(θ_T) >= 1"
    assert c.inputs[-1] == ("T_first", 7)
    assert c.source == "beyond the paper (Theorem S)"
    assert cf.theorem_3_3(T0=1000).source == "arXiv 2410.15483v3, Theorem 3.3"


def far() -> cf.Phases:
    """w_0 is about 30 after a short first phase and about 0 after a long one."""
    return cf.Phases(cf.Family(1, -30), "1/4", -30)


@pytest.mark.parametrize(
    ("lam", "g", "settings"),
    [
        ("1/2", "1/1000", {}),
        ("1/10", 1, {}),
        ("9/10", 2, {}),
        ("1/2", 1, {"ratio": 100}),
        ("1/10", 1, {"T_first": 10**6}),
        ("1/2", 1, {"alpha": 16}),
        ("1/10", 1, {"alpha": 16}),
    ],
)
def test_the_least_T0_is_found(lam: str, g: Any, settings: dict[str, Any]) -> None:
    phases = cf.Phases(alpha=settings.get("alpha", 1))
    chosen = {name: value for name, value in settings.items() if name != "alpha"}
    T0 = cf.find_T0(lam, g, phases=phases, **chosen)
    assert cf.sequential_gap(lam, g, T0=T0, phases=phases, **chosen).proven
    assert not cf.sequential_gap(lam, g, T0=T0 - 1, phases=phases, **chosen).proven


@pytest.mark.parametrize(("lam", "g", "prec", "share"), [("1/2", 7, 24, 1000), ("1/10", 1, 28, 10**4)])
def test_a_T0_that_takes_many_tries(lam: str, g: int, prec: int, share: int) -> None:
    """At few bits the first tries fail; what is found is an int all the same, proven so, and not far off."""
    T0, least = cf.find_T0(lam, g, prec=prec), cf.find_T0(lam, g)
    assert isinstance(T0, int)
    assert least <= T0 <= least + least // share
    assert cf.sequential_gap(lam, g, T0=T0, prec=prec).proven


def test_T0_far_out_is_not_far_off() -> None:
    T0 = cf.find_T0("1/10", 1, phases=far())
    assert cf.sequential_gap("1/10", 1, T0=T0, phases=far()).proven
    assert not cf.sequential_gap("1/10", 1, T0=T0 - T0 // 10**12, phases=far()).proven


def test_T0_may_be_1() -> None:
    """A first phase of at most one step from v_0 = -30 leaves w_0 near 30."""
    assert cf.find_T0("1/2", 1, phases=cf.Phases(cf.Family(1, 0), "1/4", -30), T_first=1) == 1
    assert [_floor(arb(y)) for y in ("-3.5", "0.5", "1.5", "2.5")] == [1, 1, 1, 2]


def test_what_stops_is_no_proof() -> None:
    assert not PhaseLengths.of(far(), 1, None).reaches(2, arb(-1000))


def test_how_far_the_search_goes() -> None:
    """G is about (x + w)/2 at λ = 1/2, and w is looked for up to 2^17."""
    assert cf.sequential_gap("1/2", 50_000).proven
    with pytest.raises(ValueError, match="no T0 was found"):
        cf.find_T0("1/2", 80_000)


def test_a_huge_T0_has_15_digits() -> None:
    for T in (1, 10**20 - 1, 10**20):
        assert _round_up(T) == T
    for T in (10**20 + 1, 123456789012345678901, 2**70, 10**40 - 1, 7 * 10**6000 + 1):
        unit = 10 ** (len(integer_text(T).split("e")[0]) - 15)
        assert T <= _round_up(T) < T + unit
        assert _round_up(T) % unit == 0


@pytest.mark.parametrize(("lam", "T0", "low"), [(WIDE, 686, 1), ("1/2", 438, 2047), ("1/2", 605, 2220)])
def test_the_greatest_g_of_three_decimals(lam: Any, T0: int, low: int) -> None:
    """At T0 = 438 it lies just below the power of two up to which the search doubles."""
    c = cf.theorem_3_3(lam, T0=T0)
    assert c.proven
    assert dict(c.inputs)["g"] == Fraction(low, 1000)
    assert not cf.sequential_gap(lam, Fraction(low + 1, 1000), T0=T0).proven


def test_where_nothing_holds_the_least_g_is_asked_for() -> None:
    c = cf.theorem_3_3("1/2", T0=3, phases=cf.Phases(theta_1=-60))
    assert not c.proven
    assert dict(c.inputs)["g"] == Fraction(1, 1000)


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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("ratio", ["1/3", 1, 5])
def test_what_is_proven_from_T0_on_is_proven_from_every_later_T_on(ratio: Any) -> None:
    """W does not fall with T0 where the conditions hold: for slow and fast steps, near and far starts."""
    for x, eta, v in ((20, 4, -60), (-3, "1/2", 0), (2, 3, -12), (-10, 2, -10), (5, "7/2", "-30")):
        ends = [lower_end(start_at(x, eta, v), ratio, T0) for T0 in (*range(1, 30, 2), 50, 400)]
        proven = [not failed for failed, _, _ in ends]
        first = proven.index(True)
        assert all(proven[first:])
        assert all(not b < a for (_, _, a), (_, _, b) in zip(ends[first:], ends[first + 1 :], strict=False))
