"""Records, messages and roundings of Theorem S in floats."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import mpmath
import numpy as np
import pytest

from toyopt.theorems.sequential import potential as pt
from toyopt.theorems.sequential.two_phases import TwoPhases, theorem_s

U = 2.0**-53


def run(order: str = "dpo-first") -> TwoPhases:
    return TwoPhases(0.9, -1.0, 3.0, 2.0, order)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: pt.potential(1.0, "x"), TypeError, "eta: "),
        (lambda: pt.potential(1.0, -0.1), ValueError, "eta: must be at least 0, got -0.1"),
        (lambda: pt.potential(["x"], 1.0), ValueError, "v: "),
        (lambda: pt.inverse_potential(["x"], 1.0), ValueError, "y: "),
        (lambda: pt.inverse_potential(1.0, 5.0), ValueError, "eta: must be at most 4, got 5.0"),
        (lambda: pt.advance(["x"], 1.0, 1.0), ValueError, "v: "),
        (lambda: pt.advance(1.0, ["x"], 1.0), ValueError, "rise: "),
        (lambda: pt.advance(1.0, 1.0, "x"), TypeError, "eta: "),
        (lambda: pt.advance([1.0, 1.0], [2.0, -1.5], 1.0), ValueError, r"rise: must be at least 0 .*\(-1\.5\)$"),
        (lambda: pt.envelope(["x"], 1.0, 1), ValueError, "v0: "),
        (lambda: pt.envelope(0.0, 1.0, ["x"]), ValueError, "T: "),
        (lambda: pt.envelope(0.0, 1.0, [1, 2.5]), ValueError, r"T: whole numbers >= 0 are needed, got .*\(2\.5\)$"),
        (lambda: pt.envelope(0.0, "x", 1), TypeError, "eta: "),
        (lambda: pt.excess(["x"], 1.0), ValueError, "v0: "),
        (lambda: pt.shortfall(["x"], 1.0), ValueError, "v0: "),
        (lambda: pt.shortfall(0.0, 5.0), ValueError, "eta: "),
        (lambda: pt.delta("x"), TypeError, "eta: "),
        (lambda: TwoPhases(c="x"), TypeError, "c: "),
        (lambda: TwoPhases(c=-1.0), ValueError, "c: must be more than 0, got -1.0"),
        (lambda: TwoPhases(theta_ref="x"), TypeError, "theta_ref: "),
        (lambda: TwoPhases(alpha="x"), TypeError, "alpha: "),
        (lambda: TwoPhases(alpha=16.1), ValueError, r"alpha: must keep 0 < c² alpha <= 4, got 16\.1 with c = 0\.5"),
        (lambda: TwoPhases(theta_ref=-1400.1), ValueError, r"theta_ref: must keep .*, got -1400\.1 with c = 0\.5"),
        (lambda: run().gap("x", 0.0), TypeError, "lam: "),
        (lambda: run().gap(0.0, 0.0), ValueError, r"lam: must be in \(0, 1\) .*, got 0\.0$"),
        (lambda: run().gap(1.0, 0.0), ValueError, r"lam: must be in \(0, 1\) .*, got 1\.0$"),
        (lambda: run().phases([-1], 1), ValueError, "T_DPO: "),
        (lambda: run().phases(1, [-1]), ValueError, "T_SFT: "),
        (lambda: run().remainder(0.3, 1, 0), ValueError, "T_SFT: must be at least 1, got 0"),
        (lambda: run("sft-first").remainder(0.3, 0, 1), ValueError, "T_DPO: must be at least 1, got 0"),
        (lambda: run().limit_error(0.3, -1), ValueError, "T: "),
        (lambda: run().lower_end(0), ValueError, "T0: must be at least 1, got 0"),
        (lambda: run().lower_end(1.0), TypeError, "T0: "),
        (lambda: theorem_s(lam=0.3, T_DPO=-1, T_SFT=1), ValueError, "T_DPO: must be at least 0, got -1"),
        (lambda: theorem_s(lam=0.3, T_DPO=1, T_SFT=-1), ValueError, "T_SFT: must be at least 0, got -1"),
        (lambda: theorem_s(lam=0.3, T_DPO=1, T_SFT=1.5), TypeError, "T_SFT: "),
    ],
)
def test_a_message_names_the_argument(call: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=f"^{words}"):
        call()


def test_the_edges_are_allowed() -> None:
    assert TwoPhases(alpha=16.0).eta == 4.0
    assert TwoPhases(theta_ref=-1400.0).x == -700.0
    assert pt.potential(0.0, 4.0) == 1 - 2 * math.log(2)
    assert pt.advance(1.0, 0.0, 1.0) == 1.0
    low, high = run("sft-first").remainder(0.3, 1, 0)  # only the last phase needs a step
    assert low < high
    assert theorem_s(lam=0.3, T_DPO=0, T_SFT=1)[0].verdict == "holds"


def test_roundings_by_their_formulas() -> None:
    assert pt.envelope_rounding(-3.0, [2.0, -5.0]) == pytest.approx([32 * U * 9, 32 * U * 12], rel=1e-14, abs=0)
    assert run().gap_rounding([2.0, -5.0]) == pytest.approx([16 * U * 6.9, 16 * U * 9.9], rel=1e-14, abs=0)
    first = pt.envelope(run().start, run().eta, 40)
    v = max(abs(float(e)) for e in first)
    end = max(abs(float(e)) for e in run().enclosure(40, 70))
    M, N = max(v, run().start), max(v + 0.9, end)
    expected = U * ((M + v) * (16 + M) + 8 * (M + N) + (N + end) * (16 + N))
    assert run().run_rounding(40, 70) == pytest.approx(expected, rel=1e-12, abs=0)


def test_enclosure_is_widened_by_the_roundings_of_its_start() -> None:
    """w_0 is moved by 8 u (|x| + |v_0| + the larger end) on either side: seen where no step follows."""
    low, high = (float(e) for e in pt.envelope(run().start, run().eta, 40))
    moved = 8 * U * (0.9 + run().start + max(abs(low), abs(high)))
    below, above = (float(e) for e in run().enclosure(40, 0))
    w_low, w_high = 0.9 - high - moved, 0.9 - low + moved
    assert below == pytest.approx(w_low - float(pt.envelope_rounding(w_low, w_low)), rel=0, abs=4e-16)
    assert above == pytest.approx(w_high + float(pt.envelope_rounding(w_high, w_high)), rel=0, abs=4e-16)


@pytest.mark.parametrize(("order", "last", "mu"), [("dpo-first", 70, 0.3), ("sft-first", 40, 0.7)])
def test_records_name_their_claims(order: str, last: int, mu: float) -> None:
    setting = {"c": 0.9, "theta_ref": -1.0, "alpha": 3.0, "theta_1": 2.0, "order": order}
    lower, upper, limit = theorem_s(lam=0.3, T_DPO=40, T_SFT=70, **setting)  # type: ignore[arg-type]
    two = run(order)
    assert {r.claim for r in (lower, upper, limit)} == {"S"}
    assert all(r.source.startswith("beyond the paper, docs/") for r in (lower, upper, limit))
    assert lower.statement == "G_Mix,λ(θ_T) >= min G_Mix,λ over Lemma P's enclosure of θ_T"
    assert upper.statement == "G_Mix,λ(θ_T) <= max G_Mix,λ over Lemma P's enclosure of θ_T"
    name = "λ log T_SFT" if order == "dpo-first" else "(1-λ) log T_DPO"
    below, above = (float(e) for e in two.remainder(0.3, 40, 70))
    error = max(-below, above)
    assert limit.statement == f"|G_Mix,λ(θ_T) - {name} - κ_λ| <= an explicit error by Lemma P"
    assert (limit.bound, limit.terms) == (error, {"error": error})
    centre = mu * math.log(last) + two.constant(0.3)
    assert {k: lower.terms[k] for k in ("growth", "constant")} == pytest.approx(
        {"growth": mu * math.log(last), "constant": two.constant(0.3)}
    )
    w = two.last(40, 70)
    rounding = float(two.run_rounding(40, 70) + two.gap_rounding(w))
    assert [r.tolerance for r in (lower, upper)] == pytest.approx([rounding] * 2, rel=1e-12, abs=0)
    assert limit.tolerance == pytest.approx(rounding + float(two.gap_rounding(mu * math.log(last))), rel=1e-12, abs=0)
    assert lower.attained == upper.attained == pytest.approx(float(two.gap(0.3, w)))
    assert limit.attained == pytest.approx(abs(float(two.gap(0.3, w)) - centre), rel=1e-12)
    assert (lower.bound, upper.bound) == tuple(float(g) for g in two.gap_bounds(0.3, 40, 70))
    assert lower.terms["remainder"] == pytest.approx(lower.bound - centre)


def test_equal_lengths_use_the_limits_error() -> None:
    two = run()
    limit = theorem_s(lam=0.3, T_DPO=5000, T_SFT=5000, c=0.5, theta_ref=5.0)[2]
    below, above = (float(e) for e in TwoPhases().limit_error(0.3, 5000))
    assert limit.statement.endswith("an explicit error by (S.6)")
    assert limit.bound == max(-below, above)
    assert math.isnan(float(two.limit_error(0.3, 5000)[0]))  # η > 2
    # `limit` itself is still followed.
    assert theorem_s(lam=0.3, T_DPO=50, T_SFT=50, limit=50)[0].verdict == "holds"
    assert theorem_s(lam=0.3, T_DPO=51, T_SFT=50, limit=50)[0].verdict == "open"


@pytest.mark.parametrize("order", ["dpo-first", "sft-first"])
def test_theta_and_start(order: str) -> None:
    two = run(order)
    assert two.start == pytest.approx(2.7 if order == "dpo-first" else -1.8)
    assert two.theta([1.8]) == pytest.approx([-2.0 if order == "dpo-first" else 1.0])
    assert TwoPhases(order=order).start == (0.0 if order == "dpo-first" else -2.5)  # type: ignore[arg-type]


@pytest.mark.slow
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


ENDS = [(-20.0, -5.0), (5.0, 20.0), (-20.0, 30.0), (-30.0, 20.0)]


@pytest.mark.parametrize(("low", "high"), ENDS)
def test_the_gaps_bounds_are_widened_to_either_side(monkeypatch: pytest.MonkeyPatch, low: float, high: float) -> None:
    """By 16 u (4 + |x| + |w|) for the w farther from 0; c = 1, x = 0, λ = 1/2, so that the minimiser is 0."""
    monkeypatch.setattr(TwoPhases, "enclosure", lambda *_: (np.array(low), np.array(high)))
    least, greatest = TwoPhases(1.0, 0.0, 1.0).gap_bounds(0.5, 1, 1)
    gaps = sorted(w / 2 + math.log1p(math.exp(-w)) - math.log(2) for w in (abs(low), abs(high)))
    error = 16 * U * (4 + max(abs(low), abs(high)))
    assert float(greatest - gaps[1]) == pytest.approx(error, rel=0.1, abs=0)
    if low < 0 < high:
        assert least == 0.0
    else:
        assert float(gaps[0] - least) == pytest.approx(error, rel=0.1, abs=0)


@pytest.mark.parametrize(("low", "high"), ENDS)
@pytest.mark.parametrize("T", [1, 10**12])
def test_the_remainder_is_widened_to_either_side(
    monkeypatch: pytest.MonkeyPatch, low: float, high: float, T: int
) -> None:
    """By 16 u (4 + |x| + |w| + |log y|), y = ηT: as by `gap_rounding`."""
    monkeypatch.setattr(TwoPhases, "enclosure", lambda *_: (np.array(low), np.array(high)))
    run, x = TwoPhases(1.0, 0.5, 1 / 8), mpmath.mpf(0.5)
    log_y = mpmath.log(mpmath.mpf(T) / 8)
    falls = [
        mpmath.log(1 + mpmath.exp(-x - w)) / 4 + 3 * mpmath.log(1 + mpmath.exp(-mpmath.mpf(w))) / 4 for w in (low, high)
    ]
    error = float(16 * U * (4 + x + max(abs(low), abs(high)) + abs(log_y)))
    below, above = run.remainder(0.25, T, T)
    assert float((low - log_y) / 4 + falls[1] - below) == pytest.approx(error, rel=0.1, abs=0)
    assert float(above - (high - log_y) / 4 - falls[0]) == pytest.approx(error, rel=0.1, abs=0)


@pytest.mark.parametrize(("alpha", "words"), [(-1.0, "must be more than 0, got -1.0"), (0.0, "must be more than 0")])
def test_alpha_is_positive(alpha: float, words: str) -> None:
    with pytest.raises(ValueError, match=f"^alpha: {re.escape(words)}"):
        TwoPhases(alpha=alpha)


def test_an_eta_that_underflows_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^alpha: must keep 0 < c² alpha"):
        TwoPhases(c=1e-170)


@pytest.mark.parametrize("order", ["dpo-first", "sft-first"])
@pytest.mark.parametrize("lam", [0.0, 1.0, -0.1, 1.1])
def test_the_weight_is_inside_for_either_order(order: str, lam: float) -> None:
    run = TwoPhases(order=order)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^lam: must be in \(0, 1\)"):
        run.weight(lam)
    assert run.weight(0.25) == (0.25 if order == "dpo-first" else 0.75)
