"""The exact constant of Theorem S with its error for all T >= T0: held against runs, its formula, its conditions."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest

from toyopt import certify as cf


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
