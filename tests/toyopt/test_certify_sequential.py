"""Theorem S and Theorem 3.3 as certificates: T0 proven, tight against a simulated run, and no stronger claim passes."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import pytest
from flint import arb, ctx

from toyopt import certify as cf
from toyopt.certify.certificate import Proof, UnprovenStep
from toyopt.certify.exact import ball
from toyopt.certify.family import softplus
from toyopt.certify.sequential import PhaseLengths

WIDE = ("1/100", "99/100")
SFT_FIRST = cf.Phases(order="sft-first")


def stops(certificate: cf.Certificate, words: str) -> None:
    assert certificate.status == "not proven"
    assert certificate.stopped_at is not None
    assert words in certificate.stopped_at


def run(v: float, eta: float, steps: int) -> float:
    """The logistic recursion in floats; its rounding is below 1e-12 for these lengths."""
    for _ in range(steps):
        v += eta / (1 + math.exp(v))
    return v


def float_gap(lam: float, w: float, x: float = 2.5) -> float:
    """G_Mix at u = -w, with the closed-form minimum."""
    K = math.exp(x)
    b = (1 - 2 * lam) * K
    u = math.log((-b + math.sqrt(b * b + 4 * (1 - lam) * lam * K)) / (2 * (1 - lam)))

    def f(t: float) -> float:
        return lam * math.log1p(math.exp(x - t)) + (1 - lam) * math.log1p(math.exp(t))

    return f(-w) - f(u)


@pytest.mark.parametrize("eta", ["1/100", "1/4", "1", "2", "4"])
@pytest.mark.parametrize("start", [-30, -3, 0, 1, 8])
def test_the_envelope_holds_and_has_the_stated_width(eta: str, start: int) -> None:
    pot = cf.Potential(Fraction(eta))
    with ctx.workprec(128):
        for steps in (1, 2, 17, 400):
            low, high = pot.envelope(arb(start), steps)
            v = run(start, float(Fraction(eta)), steps)
            # 1e-12 for the float run's own rounding.
            assert float(low) - 1e-12 <= v <= float(high) + 1e-12
            width = pot.value(high) - pot.value(low)
            assert width <= pot.over(arb(start)) + pot.under(arb(start)) + arb("1e-20")


@pytest.mark.parametrize("eta", ["1/4", "1", "2"])
def test_the_error_terms_are_needed(eta: str) -> None:
    """Without either error term, or with another coefficient of L, some run violates the bounds."""
    h = Fraction(eta)
    pot = cf.Potential(h)
    defects = []
    for start in (-6.0, -2.0, 0.0, 2.0):
        for steps in (1, 30, 600):
            v = run(start, float(h), steps)
            defects.append(float(pot.value(arb(v)) - pot.value(arb(start))) - float(h) * steps)
    # 1e-4 is far beyond the float runs' rounding: neither bound can do without its error term.
    assert min(defects) < -1e-4
    assert max(defects) > 1e-4
    assert all(-(float(h) ** 2) / 2 <= d <= float(pot.over(arb(-40))) for d in defects)
    # With L's coefficient η instead of η/2 the defect grows like log T: no constant would do.
    v = run(0, float(h), 3000)
    wrong = v + math.exp(v) - float(h) * math.log1p(math.exp(v)) - 1 + float(h) * (math.log(2) - 3000)
    assert wrong < -(float(h) ** 2) / 2


def test_the_error_terms_are_the_proven_ones() -> None:
    """Smaller ones may hold on every run tried, but docs/theory.md, part S proves these; so the formulas are pinned."""
    pot = cf.Potential(Fraction(1))
    with ctx.workprec(128):
        e, half = arb(1).exp(), arb("0.5")
        assert pot.over(arb(0)).overlaps((e - 1 - 1 - half) * arb("1.25") * half)
        assert pot.over(arb(0)).rad() < arb("1e-30")
        assert pot.under(arb(0)) == half / 4
        assert pot.value(arb(0)).overlaps(1 - half * arb(2).log())
        assert pot.derivative(arb(0)) == 2 - half / 2
        plan = PhaseLengths.of(cf.Phases(alpha=2), 3, None)  # η = 1/2
        pot = plan.run.potential
        V, w0 = plan.second_start(50)
        assert pot.value(V).overlaps(pot.value(arb(0)) + 75 + pot.over(arb(0)))
        assert (V + w0 + arb("2.5")).contains(arb(0))
        W = plan.lower_end(Proof(""), 50)
        assert abs(pot.value(W) - (pot.value(w0) + 25 - half / 4)) < arb("1e-25")


@pytest.mark.parametrize("prec", [24, 32, 40])
def test_low_precision_stops_or_proves_but_never_raises(prec: int) -> None:
    found = [c.recheck(prec) for c in cf.standard_certificates(steps=50)]
    assert all(c.prec == prec and (c.stopped_at is None) is c.proven for c in found)
    assert not found[3].proven  # 1e-20 is out of reach below 60 bits


def test_the_inverse_is_enclosed_and_precision_is_reported() -> None:
    pot = cf.Potential(Fraction(1, 4))
    with ctx.workprec(128):
        for y in (-1000, -5, 0, 1, 3, 10**6, 10**60):
            v = pot.inverse(ball(y))
            assert pot.value(v).contains(arb(y))
            assert v.rad() < arb("1e-30") * (1 + abs(v))
        assert pot.inverse(arb(2).union(arb(3))).contains(pot.inverse(arb("2.7")))


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


def test_unequal_lengths_cost_what_they_should() -> None:
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


def test_the_inverse_corrects_a_wrong_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cf.Potential, "_newton", lambda _self, _y: arb(5))
    pot = cf.Potential(Fraction(1, 4))
    v = pot.inverse(arb(1))
    assert pot.value(v.lower()) <= 1
    assert pot.value(v.upper()) >= 1
    monkeypatch.setattr(cf.Potential, "derivative", lambda _self, _v: arb(10) ** 30)
    with pytest.raises(UnprovenStep, match="inverse"):
        pot.inverse(arb(1))


def test_softplus_is_stable_on_both_sides() -> None:
    assert float(softplus(arb(10_000))) == 10_000
    assert float(softplus(arb(-700))) == pytest.approx(math.exp(-700), rel=1e-14)
    assert float(softplus(arb(-10_000)).log()) == pytest.approx(-10_000, rel=1e-14)
