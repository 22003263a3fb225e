"""Theorem 3.3 in floats and as a certificate."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import toyopt.certify
from toyopt import certify as cf
from toyopt.certify.certificate import Certificate, Enclosure
from toyopt.certify.sequential import LOWER_END
from toyopt.theorems.sequential.thm_33 import certified_33, interval, level, of_certificate, thm_33
from toyopt.theorems.sequential.two_phases import TwoPhases


@pytest.mark.slow
def test_theorem_33_in_floats_and_certified() -> None:
    for order in ("dpo-first", "sft-first"):
        record, proof = thm_33(order=order), certified_33(phases=cf.Phases(order=order))  # type: ignore[arg-type]
        assert record.verdict == proof.verdict == "holds"
        assert (record.evidence, proof.evidence) == ("property", "certified")
        # The certificate's search stops at three decimals.
        assert proof.bound == math.floor(1000 * record.bound) / 1000
        assert proof.attained == pytest.approx(record.bound, rel=1e-12)
        # The gap is least at T0 itself, for the λ that decides.
        run, lam = TwoPhases(order=order), 0.01 if order == "dpo-first" else 0.99  # type: ignore[arg-type]
        assert record.attained == pytest.approx(float(run.gap(lam, run.last(1000, 1000))), rel=1e-12)
        # Above what a run attains it fails; it is 0.00294... at T = 1000 for λ = 1/100.
        assert thm_33(order=order, g=record.attained + 1e-9).verdict == "fails"  # type: ignore[arg-type]
    assert thm_33(lam=(0.1, 0.9), T0=1000, g=0.235).verdict == "holds"
    assert thm_33(lam=(0.01, 0.9), T0=1000, g=0.235).verdict == "fails"
    # SFT first it is the largest λ that decides: the ends of an interval are not exchanged.
    run = TwoPhases(theta_ref=0.0, order="sft-first")
    assert level(run, (0.1, 0.5), 1000) > level(run, (0.5, 0.9), 1000)
    assert level(TwoPhases(theta_ref=0.0), (0.1, 0.5), 1000) < level(TwoPhases(theta_ref=0.0), (0.5, 0.9), 1000)


@pytest.mark.slow
def test_a_level_that_only_samples_support_is_open() -> None:
    """At T = 4 and λ = 0.42 the gap is 0.0036: 17 lengths and 9 weights need not contain its like."""
    assert thm_33(lam=(0.42, 0.42), alpha=4.0, T0=1, g=0.078).verdict != "holds"
    record = thm_33(lam=(0.1, 0.9), T0=1000)
    between = (record.bound + record.attained) / 2
    assert record.bound < between < record.attained
    assert [thm_33(lam=(0.1, 0.9), T0=1000, g=g).verdict for g in (record.bound, between)] == ["holds", "open"]
    assert thm_33(lam=(0.1, 0.9), T0=1000, g=1.001 * record.attained).verdict == "fails"
    assert record.note == f"proven to be at least {record.bound:.6g}"


def test_a_certificate_that_is_not_proven_is_open() -> None:
    for record in (certified_33(T0=10), certified_33(g="1/100"), certified_33(prec=24, T0=10**9, g="1/500")):
        if record.verdict == "holds":  # 24 bits may or may not suffice
            continue
        assert (record.verdict, record.evidence) == ("open", "certified")
        assert record.note.startswith("not proven, stopped at")
    assert certified_33(T0=10).verdict == certified_33(g="1/100").verdict == "open"
    assert thm_33(T0=3).verdict == "open"  # no level is known that early
    assert certified_33(g="1/500").verdict == "holds"
    with pytest.raises(ValueError, match="certificate: one of `sequential_gap`"):
        of_certificate(cf.chord())


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: thm_33(lam=(0.9, 0.1)), ValueError, "lam: .*0.9"),
        (lambda: thm_33(lam=0.5), TypeError, "lam: .*0.5"),  # type: ignore[arg-type]
        (lambda: thm_33(lam=(0.1, 0.2, 0.3)), ValueError, "lam: .*0.3"),  # type: ignore[arg-type]
        (lambda: thm_33(T0=0), ValueError, "T0: .*0"),
        (lambda: thm_33(T0=10, last=9), ValueError, "last: .*9"),
        (lambda: thm_33(g=-1.0), ValueError, "g: .*-1"),
        (lambda: certified_33(lam=(0.1, 0.9)), TypeError, "lam.*0.1"),  # type: ignore[arg-type]
    ],
)
def test_wrong_input(call: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def run(x: float, v0: float, eta: float) -> TwoPhases:
    """c = 1: then η = alpha, x = theta_ref, and v_0 = theta_1 - theta_ref."""
    return TwoPhases(1.0, x, eta, x + v0)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["dpo-first", "sft-first"])
def test_theorem_33_checks_9_weights_and_17_lengths(monkeypatch: pytest.MonkeyPatch, order: str) -> None:
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
