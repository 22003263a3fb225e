"""The conditions under which Theorem S speaks of all later T: each decides alone somewhere, just where it should."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest

import toyopt.certify
from toyopt.certify.certificate import Certificate, Enclosure
from toyopt.certify.sequential import LOWER_END
from toyopt.theorems.sequential.thm_33 import certified_33, interval, level, of_certificate, thm_33
from toyopt.theorems.sequential.two_phases import TwoPhases, theorem_s

mpf = mpmath.mpf


def softplus(v: mpf) -> mpf:
    return mpmath.log(1 + mpmath.exp(v))


def sigma(v: mpf) -> mpf:
    return 1 / (1 + mpmath.exp(-v))


def psi(v: mpf, eta: mpf) -> mpf:
    return v + mpmath.exp(v) - eta / 2 * softplus(v)


def psi_inverse(y: mpf, eta: mpf) -> mpf:
    """By bisection: Ψ(v) >= v + e^v - (η/2)(max(v, 0) + log 2), so that the root is left of max(y, 0) + 4."""
    low, high = min(y, mpf(0)) - 4, max(y, mpf(0)) + 4
    for _ in range(70):
        middle = (low + high) / 2
        low, high = (middle, high) if psi(middle, eta) < y else (low, middle)
    return low


def error_above(v0: mpf, eta: mpf) -> mpf:
    """E of docs/theory.md, S4."""
    return (mpmath.exp(eta) - 1 - eta - eta**2 / 2) / eta * (1 + eta / 4) * sigma(-v0)


def run(x: float, v0: float, eta: float) -> TwoPhases:
    """c = 1: then η = alpha, x = theta_ref, and v_0 = theta_1 - theta_ref."""
    return TwoPhases(1.0, x, eta, x + v0)


def margins(x: float, v0: float, eta: float, T: int) -> dict[str, mpf]:
    """How far conditions 1 to 4 of docs/theory.md, S5, are from failing, as they are written there."""
    h, x, v0 = mpf(eta), mpf(x), mpf(v0)
    y, log2 = h * T, mpmath.log(2)
    start, E = psi(v0, h), error_above(v0, h)
    k = start + E + h / 2 * log2
    omega = -x - psi_inverse(start + y - h**2 / 2 * sigma(-v0) ** 2, h)
    B = x + h**2 / 2 + mpmath.log(y + k) + (1 - h / 2) * mpmath.log(y)
    return {
        "1": min(y + start + E - psi(mpf(0), h), y + k - 1),
        "2": -(omega + mpmath.exp(omega) + error_above(mpf("-inf"), h) + h / 2 * log2),
        "3": y - x - mpmath.log(y + k) - h**2 / 2 - psi(mpf(0), h),
        "4, B large": B - max(1, y / (y + k)) - 1 + h / 2,
        "4, B < y": y - B,
    }


def switch(holds: Callable[[float], bool], yes: float, no: float) -> float:
    """Between `yes`, where it holds, and `no`, where it does not: where that changes."""
    assert holds(yes)
    assert not holds(no)
    for _ in range(60):
        middle = (yes + no) / 2
        yes, no = (middle, no) if holds(middle) else (yes, middle)
    return yes


# (v_0, η, T), then for which x the error is given: an x inside, and what ends the interval to either side.
INTERVALS = [
    (12.0, 0.5, 5, -10.8, "4, B large", "3"),
    (12.0, 0.5, 20, -10.0, "2", "4, B < y"),
    (12.0, 1.0, 3, -10.6, "2", "3"),
    (12.0, 2.0, 3, -9.0, "2", "3"),
    (0.3, 0.5, 5, -0.1, "2", "3"),
    (0.3, 1.0, 4, -0.1, "2", "4, B < y"),
    (0.3, 1.5, 6, 0.0, "2", "4, B < y"),
    (-1.0, 2.0, 6, 0.5, "2", "3"),
    (-18.0, 0.5, 40, 10.0, "4, B large", "4, B < y"),
    (-3.0, 1.75, 5, 3.0, "2", "3"),
]


@pytest.mark.parametrize(("v0", "eta", "T", "inside", "left", "right"), INTERVALS)
def test_each_condition_of_the_limits_error_decides_alone(
    v0: float, eta: float, T: int, inside: float, left: str, right: str
) -> None:
    def given(x: float) -> bool:
        below, above = run(x, v0, eta).limit_error(0.25, T)
        assert math.isnan(below) == math.isnan(above)
        return not math.isnan(below)

    for name, far in ((left, inside - 15), (right, inside + 60)):
        at = margins(switch(given, inside, far), v0, eta, T)
        assert float(at.pop(name)) == pytest.approx(0.0, abs=1e-12)
        assert min(at.values()) > 0.01, at


def test_the_limits_error_stops_where_eta_exceeds_2() -> None:
    for eta, given in ((2.0, True), (math.nextafter(2.0, 3.0), False), (2.5, False)):
        assert np.isfinite(run(-9.0, 12.0, eta).limit_error(0.25, [3, 10**6])).all() == given


def test_without_a_step_there_is_no_error_and_no_complaint() -> None:
    """At T = 0 not even the first phase's rise is known to be positive."""
    for v0 in (-5.0, 0.0, 5.0):
        for eta in (0.5, 2.0, 4.0):
            assert np.isnan(run(-v0 - 1.0, v0, eta).limit_error(0.25, [0, 0])).all()


@pytest.mark.parametrize(("v0", "eta", "T", "inside"), [case[:4] for case in INTERVALS])
def test_the_limits_error_by_its_formula(v0: float, eta: float, T: int, inside: float) -> None:
    below, above = run(inside, v0, eta).limit_error(0.25, T)
    y, K = mpf(eta) * T, mpmath.exp(mpf(inside))
    B = y - margins(inside, v0, eta, T)["4, B < y"]
    assert float(below) == pytest.approx(float(mpmath.log(1 - B / y) / 4), rel=1e-12)
    assert float(above) == pytest.approx(float((1 / (4 * K) + mpf(3) / 4) / (y - B)), rel=1e-12)


def ends(x: float, v0: float, eta: float, T0: int) -> tuple[mpf, mpf]:
    """V(T0) and w_0 = -x - V of docs/theory.md, S4."""
    h = mpf(eta)
    V = psi_inverse(psi(mpf(v0), h) + h * T0 + error_above(mpf(v0), h), h)
    return V, -mpf(x) - V


# T0 = 1 with η > 2: there y < η²/2, and Ψ(W) < Ψ(w_0). The first phase's start is moderate or far to either side.
STARTS = [
    (0.3, 0.25, 7),
    (0.3, 1.0, 1),
    (12.0, 3.0, 1),
    (2.0, 4.0, 1),
    (-1.0, 2.5, 2),
    (-30.0, 1.5, 30),
    (5.0, 4.0, 100),
]


@pytest.mark.parametrize(("v0", "eta", "T0"), STARTS)
def test_the_lower_end_is_given_just_where_r_increases(v0: float, eta: float, T0: int) -> None:
    """(S.5) with ρ = 1: its second part decides, and then 1 + e^V > η/2, so that the first holds."""
    x = switch(lambda x: not math.isnan(run(x, v0, eta).lower_end(T0)), 60.0, -60.0)
    h, (V, w0) = mpf(eta), ends(x, v0, eta, T0)
    assert float(mpmath.log(mpmath.exp(V) - h / 2 * sigma(V)) - w0) == pytest.approx(0.0, abs=1e-12)
    assert (1 + mpmath.exp(V)) ** 2 > h / 2


@pytest.mark.parametrize(("v0", "eta", "T0"), STARTS)
def test_the_lower_end_by_its_equation(v0: float, eta: float, T0: int) -> None:
    """Ψ(W) = Ψ(w_0) + ηT0 - η²/2, for w_0 of either sign."""
    first = float(ends(0.0, v0, eta, T0)[0])
    for w0 in (-3.0, min(first / 2, 6.0)):
        x = -w0 - first
        h, W = mpf(eta), run(x, v0, eta).lower_end(T0)
        assert float(psi_inverse(psi(ends(x, v0, eta, T0)[1], h) + h * T0 - h**2 / 2, h)) == pytest.approx(W, abs=1e-12)


def test_no_lower_end_where_the_first_phase_may_still_lie_low() -> None:
    """1 + e^V < η/2: however low w_0 is, R may decrease; nor where e^{w_0-V} is no float."""
    for x in (0.0, 100.0, 700.0, -700.0):
        assert math.isnan(run(x, -60.0, 4.0).lower_end(1))


# Theorem 3.3


@pytest.mark.parametrize("order", ["dpo-first", "sft-first"])
def test_theorem_33_looks_at_9_weights_and_17_lengths(monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    """From 6 to 50 by equal factors, rounded; the least of all gaps, and the rounding at its T."""
    options: dict[str, Any] = {"c": 0.9, "theta_ref": 1.0, "alpha": 0.5, "theta_1": -4.0, "order": order}
    run, looked, plain = TwoPhases(**options), [], TwoPhases.last

    def last(self: TwoPhases, T_DPO: Any, T_SFT: Any) -> Any:
        looked.extend([T_DPO, T_SFT])
        return plain(self, T_DPO, T_SFT)

    monkeypatch.setattr(TwoPhases, "last", last)
    record = thm_33(lam=(0.2, 0.6), T0=6, last=50, g=0.001, **options)
    lengths = [6, 7, 8, 9, 10, 12, 13, 15, 17, 20, 23, 26, 29, 34, 38, 44, 50]
    assert [list(T) for T in looked] == [lengths, lengths]
    gaps = {
        (T, lam): float(run.gap(lam, plain(run, T, T)))
        for T in lengths
        for lam in (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
    }
    T, _ = min(gaps, key=lambda key: gaps[key])
    assert T > 6
    assert record.attained == pytest.approx(min(gaps.values()), rel=1e-9)
    rounding = float(run.run_rounding(T, T) + run.gap_rounding(plain(run, T, T)))
    assert record.tolerance == pytest.approx(rounding, rel=1e-12, abs=0)
    assert (record.claim, record.kind, record.bound, record.terms) == ("3.3", "lower", 0.001, {"g": 0.001})
    assert record.statement == (
        f"Sequential, {order}, T_DPO = T_SFT = T: G_Mix,λ(θ_T) >= g for λ in [0.2, 0.6], T >= 6"
    )
    assert record.source == "arXiv 2410.15483v3, Theorem 3.3"
    thm_33(T0=3)
    assert looked[-1][-1] == 64 * 3
    thm_33(T0=1, last=1)
    assert looked[-1].tolist() == [1]
    assert looked[-1].dtype == np.int64


@pytest.mark.parametrize(("order", "deciding"), [("dpo-first", 0.2), ("sft-first", 0.6)])
def test_the_level_by_hand(monkeypatch: pytest.MonkeyPatch, order: str, deciding: float) -> None:
    """x = 0: G at w = 20 is μ 20 less the entropy of μ, up to e^{-20}; the rounding is taken off."""
    run, mu = TwoPhases(1.0, 0.0, 1.0, 0.0, order), deciding if order == "dpo-first" else 1 - deciding  # type: ignore[arg-type]
    monkeypatch.setattr(TwoPhases, "lower_end", lambda *_: 20.0)
    gap = mu * 20 + math.log1p(math.exp(-20)) + mu * math.log(mu) + (1 - mu) * math.log(1 - mu)
    found = level(run, (0.2, 0.6), 7)
    assert found == pytest.approx(gap, rel=1e-13)
    assert gap - found == pytest.approx(float(run.gap_rounding(20.0)), rel=0.1, abs=0)
    for W in (run.turning_w(deciding), -20.0, math.nan):
        monkeypatch.setattr(TwoPhases, "lower_end", lambda *_, W=W: W)
        assert math.isnan(level(run, (0.2, 0.6), 7))


def test_what_the_certifiers_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    module, phases = importlib.import_module("toyopt.theorems.sequential.thm_33"), object()
    monkeypatch.setattr(module, "of_certificate", lambda certificate: certificate)
    monkeypatch.setattr(toyopt.certify, "theorem_3_3", lambda *a, **k: ("3.3", a, k))
    monkeypatch.setattr(toyopt.certify, "sequential_gap", lambda *a, **k: ("gap", a, k))
    options: dict[str, Any] = {"T0": 7, "phases": phases, "prec": 99}
    assert certified_33(lam=("1/3", "1/2"), **options) == ("3.3", (("1/3", "1/2"),), options)
    found = certified_33(lam=("1/3", "1/2"), g="1/9", **options)
    assert found == ("gap", (("1/3", "1/2"), "1/9"), options | {"claim_id": "3.3"})


def test_the_defaults_of_theorem_33(monkeypatch: pytest.MonkeyPatch) -> None:
    runs, plain = [], TwoPhases.last
    monkeypatch.setattr(TwoPhases, "last", lambda self, *_: (runs.append(self), plain(self, 1000, 1000))[1].reshape(1))
    record = thm_33(last=1000)
    assert runs == [TwoPhases(0.5, 5.0, 1.0, None, "dpo-first")]
    assert record.statement.startswith("Sequential, dpo-first,")
    assert record.statement.endswith("for λ in [0.01, 0.99], T >= 1000")
    assert record.bound == level(TwoPhases(), (0.01, 0.99), 1000)
    module, asked = importlib.import_module("toyopt.theorems.sequential.thm_33"), {}
    monkeypatch.setattr(module, "of_certificate", lambda certificate: certificate)
    monkeypatch.setattr(toyopt.certify, "theorem_3_3", lambda lam, **options: asked.update(options, lam=lam))
    certified_33()
    assert asked == {"lam": ("1/100", "99/100"), "T0": 1000, "phases": None, "prec": 128}


def test_the_defaults_of_theorem_s(monkeypatch: pytest.MonkeyPatch) -> None:
    short = {"lam": 0.3, "T_DPO": 50, "T_SFT": 60}
    assert theorem_s(**short) == theorem_s(**short, c=0.5, theta_ref=5.0, alpha=1.0, theta_1=5.0, order="dpo-first")
    monkeypatch.setattr(TwoPhases, "last", lambda *_: np.array(20.0))
    for T, followed in ((10**9, True), (10**9 + 1, False)):
        record = theorem_s(lam=0.3, T_DPO=1, T_SFT=T)[0]
        assert math.isnan(record.attained) != followed
        assert (record.tolerance > 0) == followed
    monkeypatch.setattr(TwoPhases, "run_rounding", lambda *_: np.array(1.0))  # rounding comes on top of what is stated
    assert theorem_s(**short)[2].tolerance > theorem_s(**short, limit=1)[2].tolerance + 0.99


def certificate(order: str = "dpo-first", proven: bool = True, without: str = "") -> Certificate:
    """A certificate of `sequential_gap` with c = 9/10, theta_ref = -1, alpha = 3, theta_1 = 2, and one input less."""
    inputs = {"c": Fraction(9, 10), "theta_ref": Fraction(-1), "alpha": Fraction(3), "theta_1": Fraction(2)}
    inputs |= {"order": order, "lam": (Fraction(1, 5), Fraction(3, 5)), "g": Fraction(1, 8), "T0": 7}
    return Certificate(
        claim="3.3",
        statement="so",
        assumptions=(),
        stopped_at=None if proven else "here",
        prec=64,
        seconds=0.0,
        pieces=1,
        enclosures=((LOWER_END, Enclosure(Decimal("4.5"), Decimal("1e-9"), "4.5 ± 1e-9")),),
        inputs=tuple((name, value) for name, value in inputs.items() if name != without),
        source="there",
        _rerun=certificate,
    )


@pytest.mark.parametrize(("order", "deciding"), [("dpo-first", 0.2), ("sft-first", 0.6)])
def test_a_certificate_as_a_record(order: str, deciding: float) -> None:
    run, record = TwoPhases(0.9, -1.0, 3.0, 2.0, order), of_certificate(certificate(order))  # type: ignore[arg-type]
    assert record.attained == float(run.gap(deciding, 4.5))
    assert record.tolerance == 2 * float(run.gap_rounding(4.5))
    assert (record.claim, record.statement, record.kind) == ("3.3", "so", "lower")
    assert (record.source, record.evidence, record.bound, record.terms) == ("there", "certified", 0.125, {"g": 0.125})
    no = of_certificate(certificate(order, proven=False))
    assert (no.note, no.tolerance, no.verdict) == ("not proven, stopped at: here", 0.0, "open")


def test_the_run_of_a_certificate_is_its_own() -> None:
    """The start of the run is nothing that the gap shows, so it is looked at by itself."""
    module = importlib.import_module("toyopt.theorems.sequential.thm_33")
    for order, deciding in (("dpo-first", 0.2), ("sft-first", 0.6)):
        found = module._run_of(dict(certificate(order).inputs))
        assert found == (TwoPhases(0.9, -1.0, 3.0, 2.0, order), deciding)  # type: ignore[arg-type]


@pytest.mark.parametrize("missing", ["g", "T0"])
def test_another_claims_certificate_is_refused(missing: str) -> None:
    with pytest.raises(ValueError, match=r"^certificate: one of `sequential_gap` is needed, got '3\.3'"):
        of_certificate(certificate(without=missing))


def test_the_interval_may_be_a_point_but_holds_neither_0_nor_1() -> None:
    assert interval((0.5, 0.5)) == (0.5, 0.5)
    for pair in ((0.0, 0.5), (0.5, 1.0), (0.5, 1.5), (0.6, 0.5)):
        with pytest.raises(ValueError, match=r"^lam: 0 < lo <= hi < 1 is needed"):
            interval(pair)
    with pytest.raises(TypeError, match=r"^lam: a real number"):
        interval(("x", 0.5))
