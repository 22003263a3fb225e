"""Enclosures of whole runs contain the runs at high precision."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import mpmath
import pytest
from flint import arb, ctx
from support.certified_runs import stops

from toyopt import certify as cf
from toyopt.certify import trajectory as tr
from toyopt.certify.trajectory import enclose_phase


def true_run(start: Any, eta: Any, steps: int) -> Any:
    """The recursion by mpmath at 80 digits."""
    v = mpmath.mpf(start)
    for _ in range(steps):
        v += mpmath.mpf(eta) / (1 + mpmath.exp(v))
    return v


@pytest.mark.parametrize(("start", "eta"), [("-3", "1/4"), ("0", "4"), ("2", "1/3"), ("-50", "2")])
@pytest.mark.parametrize("prec", [64, 96])
def test_contains_the_high_precision_run(start: str, eta: str, prec: int) -> None:
    with ctx.workprec(prec):
        end = tr.enclose_phase(arb(start), Fraction(eta), 2000)
        low, high = end.lower().str(60, radius=False, more=True), end.upper().str(60, radius=False, more=True)
        step = Fraction(eta)
    with mpmath.workdps(80):
        v = true_run(start, mpmath.mpf(step.numerator) / step.denominator, 2000)
        assert mpmath.mpf(low) <= v <= mpmath.mpf(high)
        assert mpmath.mpf(high) - mpmath.mpf(low) < mpmath.mpf(2) ** (26 - prec)


def test_the_centred_form_does_not_blow_up() -> None:
    """A start known to 1e-6 stays known to 1e-6 (the sup of F' is 1); blind iteration loses it."""
    wide = arb(0, "1e-6")
    with ctx.workprec(96):
        centred = tr.enclose_phase(wide, Fraction(1, 4), 5000)
        blind = wide
        for _ in range(5000):
            blind = blind + arb("0.25") / (1 + blind.exp())
        assert centred.rad() < arb("1.000001e-6")
        assert blind.rad() > 100 * centred.rad()
        # Both ends' own runs are inside.
        for end in (arb("-9.99e-7"), arb("9.99e-7")):
            assert centred.contains(tr.enclose_phase(end, Fraction(1, 4), 5000))


@pytest.mark.parametrize("order", ["dpo-first", "sft-first"])
def test_the_gap_of_a_float_run_is_inside(order: Any) -> None:
    c = cf.sequential_trajectory("1/3", 5000, 7000, phases=cf.Phases(order=order, theta_1=1, alpha=3))
    assert c.proven
    theta = 1.0
    lengths = [("d", 5000), ("s", 7000)] if order == "dpo-first" else [("s", 5000), ("d", 7000)]
    for kind, steps in lengths:
        for _ in range(steps):
            gradient = -0.5 / (1 + math.exp(0.5 * (theta - 5))) if kind == "d" else 0.5 / (1 + math.exp(-0.5 * theta))
            theta -= 3 * gradient
    # Floats: 12,000 steps of at most 2^-50 each.
    assert abs(float(c.enclosure("θ_T").mid) - theta) < 1e-10

    def f(t: float) -> float:
        return math.log1p(math.exp(-(t - 5) / 2)) / 3 + 2 * math.log1p(math.exp(t / 2)) / 3

    K = math.exp(2.5)
    best = 2 * math.log((-K / 3 + math.sqrt(K * K / 9 + 8 * K / 9)) / (4 / 3))
    assert abs(float(c.enclosure("gap").mid) - (f(theta) - f(best))) < 1e-10


def test_a_claimed_interval_for_the_gap() -> None:
    assert cf.sequential_trajectory("1/2", 1000, 1000, within=("2.4", "2.6")).proven
    stops(cf.sequential_trajectory("1/2", 1000, 1000, within=("2.6", "3")), "in [13/5, 3]")
    stops(cf.sequential_trajectory("1/2", 1000, 1000, within=("2", "2.4")), "in [2, 12/5]")
    narrow = cf.sequential_trajectory("1/2", 1000, 1000, within=("2.50259", "2.50261"))
    stops(narrow.recheck(24), "gap")


def test_the_run_lies_inside_the_envelope_and_no_envelope_contradicts_it() -> None:
    pot = cf.Potential(Fraction(1, 4))
    with ctx.workprec(96):
        for start, steps in ((arb(0), 3000), (arb("-2.5") - 8, 3000), (arb(-100), 50), (arb(3), 1)):
            low, high = pot.envelope(start, steps)
            end = tr.enclose_phase(start, Fraction(1, 4), steps)
            assert low < end
            assert end < high


def test_an_envelope_that_contradicts_the_run_stops_the_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cf.Potential, "over", lambda _self, _start: arb("-0.5"))
    stops(cf.sequential_trajectory("1/2", 500, 500), "the first phase's end")
    monkeypatch.setattr(cf.Potential, "over", lambda _self, _start: arb(1))
    monkeypatch.setattr(cf.Potential, "under", lambda _self, _start: arb("-0.5"))
    stops(cf.sequential_trajectory("1/2", 500, 500), "phase's end")


def test_no_first_phase() -> None:
    c = cf.sequential_trajectory("1/2", 0, 1)
    assert c.proven
    theta = 5 - 0.5 / (1 + math.exp(-2.5))
    assert abs(float(c.enclosure("θ_T").mid) - theta) < 1e-14


@pytest.mark.slow
def test_long_runs_take_about_a_microsecond_a_step() -> None:
    c = cf.sequential_trajectory("1/2", 10**5, 10**5)
    assert c.proven
    assert c.seconds < 5  # 0.2 s here; 1e6 steps a phase take ten times as long
    assert c.enclosure("gap").text.startswith("4.81097827185503378")
    assert Fraction(c.enclosure("gap").rad) < Fraction("1e-20")


def stop(certificate: cf.Certificate) -> str:
    """Where a proof stopped."""
    assert certificate.status == "not proven"
    assert certificate.stopped_at is not None
    return certificate.stopped_at


def test_the_end_of_a_phase_beyond_its_envelope_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cf.Potential, "over", lambda _self, _start: arb("-0.5"))
    first = stop(cf.sequential_trajectory("1/2", 500, 500))
    assert first.startswith("the first phase's end 4.801691703 ± ")


def test_a_phase_encloses_the_images_of_its_ends_at_any_precision() -> None:
    """F(v) = v + ησ(-v) >= v, and from 2^20 on the rounded sum of the radii must not fall below the first of them."""
    with ctx.workprec(24):
        assert enclose_phase(arb(300, 2**20), Fraction(4), 1).contains(arb(300 + 2**20))
