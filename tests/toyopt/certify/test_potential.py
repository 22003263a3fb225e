"""The potential in balls: its envelope holds, its error terms are needed, its inverse is enclosed."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from flint import arb, ctx
from support.certified_runs import run

from toyopt import certify as cf
from toyopt.certify.certificate import Proof, UnprovenStep
from toyopt.certify.exact import ball
from toyopt.certify.sequential import PhaseLengths


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


@pytest.mark.slow
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


def test_the_inverse_corrects_a_wrong_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cf.Potential, "_newton", lambda _self, _y: arb(5))
    pot = cf.Potential(Fraction(1, 4))
    v = pot.inverse(arb(1))
    assert pot.value(v.lower()) <= 1
    assert pot.value(v.upper()) >= 1
    monkeypatch.setattr(cf.Potential, "derivative", lambda _self, _v: arb(10) ** 30)
    with pytest.raises(UnprovenStep, match="inverse"):
        pot.inverse(arb(1))


@pytest.mark.parametrize(("tries", "grows"), [(1, True), (5, True), (6, False)])
def test_the_inverse_widens_its_ball_sixteenfold_up_to_five_times(
    tries: int, grows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ψ^{-1}(1) is about 0.1; from a wrong start 5 a radius of 6 reaches it, and a sixteenth of that does not."""
    pot = cf.Potential(Fraction(1, 4))
    slope = 2 * (pot.value(arb(5)) - 1) / 6 * 16**tries
    monkeypatch.setattr(cf.Potential, "_newton", lambda _self, _y: arb(5))
    monkeypatch.setattr(cf.Potential, "derivative", lambda _self, _v: slope)
    if grows:
        # 16^5 times the last bits that are added to the first radius stay below 1e-8
        assert float(pot.inverse(arb(1)).rad()) == pytest.approx(6, rel=1e-6)
    else:
        with pytest.raises(UnprovenStep):
            pot.inverse(arb(1))
