"""What mutants of Theorem 4.1, Remark 4.2 and claim A showed to be untested: names, tolerances, edges of a search."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from toyopt.algorithms import Constant, InverseRootHorizon, LinearDecay
from toyopt.examples import table2
from toyopt.problem import Problem
from toyopt.theorems import (
    Record,
    alright_exact,
    alright_linear_decay,
    defazio_bound,
    exact_bound,
    explicit_horizon,
    half_log_bound,
    last_iterate_is_exact,
    least_horizon,
    linear_decay_bound,
    log_bound,
    no_schedule_is_better,
    orabona_bound,
    remark_42,
    thm_41,
    thm_41_schedule,
    total,
    worst_case,
    zamani_glineur,
)
from toyopt.theorems.alright.last_iterate import harmonic, odd_harmonic
from toyopt.theorems.alright.remark_42 import _minus_w
from toyopt.theorems.alright.thm_41 import LastIterate, comparator, path_rounding
from toyopt.theorems.alright.worst_case import as_sft, resisting
from toyopt.theorems.lemmas import rounding

U = 2.0**-53
ALRIGHT: dict[str, Any] = {"lam": 0.3, "T": 3, "theta_1": [1.0], "theta_star": [0.0]}


def exact() -> tuple[Record, ...]:
    return alright_exact(table2(), schedule=InverseRootHorizon(0.7, 3), **ALRIGHT)


def paper() -> tuple[Record, Record]:
    return thm_41(table2(), alpha0=0.7, **ALRIGHT)


def remark() -> tuple[Record, ...]:
    return remark_42(table2(), lam=0.3, alpha0=1.7, epsilon=0.03, theta_1=[-1.0])


def plane() -> Problem:
    """d = 2: C1 = 2.5, C2 = √13, three rows at most; smooth with L = 6.25/4 and (13 + 2)/8."""
    return Problem.dpo_sft(
        chosen=[[3.0, 4.0]],
        rejected=[[0.0, 0.0]],
        features=[[[0.0, 0.0], [2.0, 3.0], [1.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]],
        targets=[0, 1],
        theta_ref=[6.0, 8.0],
        beta=0.5,
    )


def level() -> Problem:
    """d = 2, and the second parameter moves nothing: minimisers are lines."""
    return Problem.dpo_sft(
        chosen=[[0.5, 0.0]],
        rejected=[[0.0, 0.0]],
        features=[[[0.0, 0.0], [0.5, 0.0]]],
        targets=[0],
        theta_ref=[5.0, 0.0],
    )


@pytest.mark.parametrize(
    ("make", "claim", "source", "words"),
    [
        (lambda: paper()[0], "4.1", "arXiv 2410.15483v3, Theorem 4.1", "<= D²/(2α0√T) + (2 + log(T-1)) C²α0/(2√T)"),
        (lambda: paper()[1], "4.1", "arXiv 2410.15483v3, Theorem A.8", "<= D²/(2α0√T) + (1 + H_{T-1}) C²α0/(2√T)"),
        (
            lambda: thm_41_schedule(table2(), schedule=Constant(0.3), **ALRIGHT),
            "4.1",
            "arXiv 2410.15483v3, proof of Theorem A.8",
            "α_T E[f_Mix(θ_T) - f_Mix(θ*)] <= ",
        ),
        (lambda: exact()[0], "A", "docs/", "D²/(2B) + (C²/2)(B - 2Σα_t)"),
        (lambda: exact()[1], "A", "arXiv 2310.07831, Theorem 10", "D²/(2W_1)"),
        (lambda: exact()[2], "A", "docs/", "half of Theorem 4.1"),
        (
            lambda: alright_linear_decay(table2(), **ALRIGHT),
            "A",
            "arXiv 2310.07831",
            "DC/√T",
        ),
        (
            lambda: last_iterate_is_exact([0.5, 0.2], 1.3, 0.8),
            "A",
            "docs/",
            "exact worst case",
        ),
        (lambda: zamani_glineur(1.3, 0.8, 2), "A", "arXiv 2307.11134", "BR/√(N+1)"),
        (lambda: no_schedule_is_better([0.5], 1.3, 0.8), "A", "docs/", "no step sizes do better"),
        (lambda: remark()[0], "4.2", "arXiv 2410.15483v3, Remark 4.2", "at most ε at T(ε) = "),
        (lambda: remark()[1], "4.2", "arXiv 2410.15483v3, Remark 4.2", "⌈(2c/ε)² W²⌉ + 1"),
        (lambda: remark()[2], "4.2", "arXiv 2410.15483v3, Remark 4.2", "falls from T(ε) on"),
    ],
)
def test_a_record_says_what_it_is_about(make: Callable[[], Record], claim: str, source: str, words: str) -> None:
    record = make()
    assert record.claim == claim
    assert source in record.source
    assert words in record.statement
    assert record.kind in ("upper", "lower", "equal")
    terms = dict(record.terms)
    assert sum(terms.values()) == pytest.approx(record.bound, rel=1e-14) or words.startswith("at most ε")


def call(function: Any, **changes: Any) -> Callable[[], object]:
    return lambda: function(table2(), **(ALRIGHT | changes))


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (call(thm_41, alpha0=0.7, T=1), ValueError, "T: must be at least 2, got 1"),
        (call(thm_41, alpha0=0.7, T=2.0), TypeError, "T: "),
        (call(thm_41, alpha0=0.7, theta_1=["x"]), ValueError, "theta_1: "),
        (call(thm_41, alpha0=0.7, theta_1=[[1.0]]), ValueError, r"theta_1: shape \(1,\) is needed, got \(1, 1\)"),
        (call(thm_41, alpha0=0.7, theta_star=["x"]), ValueError, "theta_star: "),
        (call(thm_41, alpha0=0.7, theta_star=[[1.0]]), ValueError, r"theta_star: shape \(1,\) is needed, got \(1, 1\)"),
        (call(thm_41, alpha0=0.7, lam=0.0, theta_star=None), ValueError, "theta_star: .* lam = 0.0,"),
        (call(thm_41_schedule, schedule=Constant(0.7), T=1), ValueError, "T: must be at least 2, got 1"),
        (call(thm_41_schedule, schedule=Constant(0.7), T=2.0), TypeError, "T: "),
        (call(alright_exact, schedule=Constant(0.7), T=1), ValueError, "T: must be at least 2, got 1"),
        (call(alright_exact, schedule=Constant(0.7), T=2.0), TypeError, "T: "),
        (call(alright_linear_decay, T=1), ValueError, "T: must be at least 2, got 1"),
        (call(alright_linear_decay, T=2.0), TypeError, "T: "),
        (call(alright_linear_decay, theta_1=["x"]), ValueError, "theta_1: "),
        (
            call(alright_linear_decay, theta_1=[0.0]),
            ValueError,
            r"theta_1: must differ from the comparator, got \[0\.0\]",
        ),
        (lambda: harmonic(-1), ValueError, "n: must be at least 0, got -1"),
        (lambda: odd_harmonic(-1), ValueError, "n: must be at least 0, got -1"),
        (lambda: log_bound("x", 1, 1, 3), TypeError, "D: "),
        (lambda: log_bound(1, "x", 1, 3), TypeError, "C: "),
        (lambda: log_bound(1, 1, "x", 3), TypeError, "alpha0: "),
        (lambda: log_bound(1, 1, 1, 3.0), TypeError, "T: "),
        (lambda: orabona_bound([0.1], "x", 1), TypeError, "D: "),
        (lambda: orabona_bound([0.1], -1, 1), ValueError, "D: must be at least 0, got -1"),
        (lambda: orabona_bound([0.1], 1, "x"), TypeError, "C: "),
        (lambda: orabona_bound([0.1], 1, -1), ValueError, "C: must be at least 0, got -1"),
        (lambda: orabona_bound(["x"], 1, 1), ValueError, "alphas: not"),
        (
            lambda: orabona_bound([0.5, 0.5, 0.2, 0.3], 1, 1),
            ValueError,
            r"alphas: .*alpha_3 = .*\(0\.2\) < alpha_4 = .*\(0\.3\)",
        ),
        (lambda: orabona_bound([3.0, 0.5, -0.1], 1, 1), ValueError, r"alphas: .*got .*\(-0\.1\) at update 3$"),
        (lambda: defazio_bound(["x"], 1, 1), ValueError, "alphas: not"),
        (lambda: defazio_bound([0.1], "x", 1), TypeError, "D: "),
        (lambda: defazio_bound([0.1], -1, 1), ValueError, "D: must be at least 0, got -1"),
        (lambda: defazio_bound([0.1], 1, "x"), TypeError, "C: "),
        (lambda: defazio_bound([0.1], 1, -1), ValueError, "C: must be at least 0, got -1"),
        (lambda: exact_bound(["x"], 1, 1), ValueError, "alphas: not"),
        (lambda: exact_bound([0.1], "x", 1), TypeError, "D: "),
        (lambda: exact_bound([0.1], -1, 1), ValueError, "D: must be at least 0, got -1"),
        (lambda: exact_bound([0.1], 1, "x"), TypeError, "C: "),
        (lambda: linear_decay_bound("x", 1, 2), TypeError, "D: "),
        (lambda: linear_decay_bound(1, "x", 2), TypeError, "C: "),
        (lambda: linear_decay_bound(1, 0, 2), ValueError, "C: must be more than 0, got 0"),
        (lambda: linear_decay_bound(1, 1, 1), ValueError, "T: must be at least 2, got 1"),
        (lambda: linear_decay_bound(1, 1, 2.0), TypeError, "T: "),
        (lambda: least_horizon(1, 1, 1, 0), ValueError, "epsilon: must be more than 0, got 0"),
        (lambda: least_horizon(1, 1, 1, "x"), TypeError, "epsilon: "),
        (lambda: explicit_horizon(1, 1, 1, "x"), TypeError, "epsilon: "),
        (lambda: explicit_horizon(1, 1, 0, 1), ValueError, "alpha0: "),
        (lambda: remark_42(table2(), lam=0.3, alpha0=1, epsilon=1, theta_1=["x"]), ValueError, "theta_1: "),
        (lambda: worst_case(["x"], 1, 1), ValueError, "alphas: not"),
        (lambda: worst_case([0.1], "x", 1), TypeError, "D: "),
        (lambda: worst_case([0.1], 0, 1), ValueError, "D: must be more than 0, got 0"),
        (lambda: worst_case([0.1], 1, "x"), TypeError, "C: "),
        (lambda: worst_case([0.1], 1, 0), ValueError, "C: must be more than 0, got 0"),
        (lambda: worst_case(np.ones(5000), 1, 1), ValueError, "alphas: .*, got 5000$"),
        (lambda: resisting(["x"], 1, 1), ValueError, "alphas: not"),
        (lambda: resisting([0.1], "x", 1), TypeError, "D: "),
        (lambda: resisting([0.1], 0, 1), ValueError, "D: must be more than 0, got 0"),
        (lambda: resisting([0.1], 1, "x"), TypeError, "C: "),
        (lambda: resisting([0.1], 1, 0), ValueError, "C: must be more than 0, got 0"),
        (lambda: resisting(np.ones(5000), 1, 1), ValueError, "alphas: .*, got 5000$"),
        (lambda: zamani_glineur("x", 1, 1), TypeError, "R: "),
        (lambda: zamani_glineur(0, 1, 1), ValueError, "R: must be more than 0, got 0"),
        (lambda: zamani_glineur(1, "x", 1), TypeError, "B: "),
        (lambda: zamani_glineur(1, 0, 1), ValueError, "B: must be more than 0, got 0"),
        (lambda: zamani_glineur(1, 1, 1.0), TypeError, "N: "),
        (lambda: as_sft(worst_case([0.5], 1.3, 0.8), tie="x"), TypeError, "tie: "),  # type: ignore[arg-type]
        (lambda: as_sft(worst_case([0.5], 1.3, 0.8), tie=0.0), ValueError, "tie: must be more than 0"),
        (lambda: as_sft(worst_case([0.5], 1.3, 0.8), loss="x"), TypeError, "loss: "),  # type: ignore[arg-type]
        (lambda: as_sft(worst_case([0.5], 1.3, 0.8), loss=0.0), ValueError, "loss: must be more than 0"),
    ],
)
def test_a_message_names_the_argument(wrong: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=f"^{words}"):
        wrong()


# Rounding


def test_rounding_of_a_path_by_hand() -> None:
    """e in one step; forward by the slope and by the factors αL - 1 that are more than 1; backward by e/α."""
    p, C, L = plane(), math.sqrt(13), (13 + 2) / 8
    assert max(o.smoothness for o in p.objectives) == L
    far = C * 2.0
    e = 8 * U * (2.0 + far + 3 * C * 1.5)
    short = path_rounding(p, np.array([1.5, 0.5]), 2.0, 3.0)
    assert short == pytest.approx(C * 2 * e * (1.5 * L - 1), rel=1e-12, abs=0)
    far = C * 70.0
    e = 8 * U * (2.0 + far + 3 * C * 40)
    assert path_rounding(p, np.array([40.0, 30.0]), 2.0, 3.0) == pytest.approx((3 + far) * e / 30 * 2, rel=1e-12, abs=0)
    assert math.isfinite(path_rounding(p, np.full(400, 1e3), 2.0, 3.0))  # where (αL - 1)^400 is no float


def test_tolerance_of_the_gap() -> None:
    p, start, star = plane(), np.array([3.0, -4.0]), np.array([1.0, 0.5])
    log, _ = thm_41(p, lam=0.3, alpha0=0.7, T=3, theta_1=start, theta_star=star)
    alphas = np.full(2, 0.7 / math.sqrt(3))
    D = math.sqrt(4 + 20.25)
    values = float(rounding(p, start) + rounding(p, star)) + 2**-50 * 13 * float(alphas.sum())
    assert log.tolerance == pytest.approx(path_rounding(p, alphas, 5.0, D) + values, rel=1e-12, abs=0)
    assert log.terms == pytest.approx(log_bound(D, math.sqrt(0.3 * 6.25 + 0.7 * 13), 0.7, 3), rel=1e-14)


def test_tolerance_of_long_steps() -> None:
    """Where the backward bound is the smaller, D counts."""
    p, start, star = plane(), np.array([3.0, -4.0]), np.array([1.0, 0.5])
    found = LastIterate.of(p, lam=0.3, schedule=Constant(40.0), T=4, theta_1=start, theta_star=star)
    D, alphas = math.sqrt(4 + 20.25), np.full(3, 40.0)
    values = float(rounding(p, start) + rounding(p, star)) + 2**-50 * 13 * 120
    assert found.tolerance == pytest.approx(path_rounding(p, alphas, 5.0, D) + values, rel=1e-12, abs=0)
    assert (found.D, list(found.theta_star)) == (pytest.approx(D), [1.0, 0.5])


# What is passed on


def test_options_reach_the_expectation() -> None:
    """Stochastic gradients, the comparator and the constants count in each of the four claims."""
    p, options = plane(), {"lam": 0.3, "T": 3, "theta_1": [3.0, -4.0], "theta_star": [1.0, 0.5]}
    for function, more in (
        (lambda **o: thm_41(p, **o)[1], {"alpha0": 0.7}),
        (lambda **o: thm_41_schedule(p, **o), {"schedule": Constant(0.7)}),
        (lambda **o: alright_exact(p, **o)[0], {"schedule": Constant(0.7)}),
        (lambda **o: alright_linear_decay(p, **o), {}),
    ):
        options_all: dict[str, Any] = options | more
        plain = function(**options_all)
        assert function(stochastic=True, **options_all).attained != plain.attained
        assert function(constants=(3.0, 4.0), **options_all).terms["noise"] > plain.terms["noise"]
        drawn = function(method="runs", runs=200, failure=0.01, **options_all)
        assert (drawn.evidence, drawn.failure) == ("statistical", 0.01)
        assert drawn.interval is not None
        assert drawn.interval[0] <= drawn.attained <= drawn.interval[1]


def test_the_comparator_is_the_minimiser_nearest_to_the_start() -> None:
    near = comparator(level(), 0.5, np.array([1.0, 7.0]))
    assert near == pytest.approx([2.5, 7.0], abs=1e-8)
    given = {"lam": 0.5, "theta_1": [1.0, 7.0]}
    assert thm_41(level(), alpha0=0.7, T=3, **given)[0].terms["distance"] == pytest.approx(2.25 / (1.4 * math.sqrt(3)))
    linear = alright_linear_decay(level(), T=3, **given)
    assert linear.bound == pytest.approx(1.5 * 0.5 / math.sqrt(3))
    horizon = {"lam": 0.5, "alpha0": 0.7, "epsilon": 0.5}
    found, star = (
        remark_42(level(), theta_1=[1.0, 7.0], **horizon),
        remark_42(level(), theta_1=[1.0, 7.0], theta_star=[2.5, 4.0], **horizon),
    )
    assert found[2].terms["a"] == pytest.approx(2.25 / 1.4)
    assert star[2].terms["a"] == pytest.approx(11.25 / 1.4)


# Remark 4.2


def test_remark_42_at_the_least_horizon() -> None:
    """ε so large that T(ε) = 3: the slope is looked at from T = 4, where 2c/3 <= a + c log 3."""
    at, closed, falls = remark_42(table2(), lam=0.3, alpha0=1.7, epsilon=100.0, theta_1=[-1.0], theta_star=[1.0])
    a, c = 4 / 3.4, 0.25 * 1.7 / 2
    assert (closed.attained, closed.bound, dict(closed.terms)) == (3.0, 3.0, {"closed form": 3.0})
    assert falls.attained == pytest.approx(2 * c / 3, rel=1e-14)
    assert falls.terms == pytest.approx({"a": a, "c log(T-1)": c * math.log(3)}, rel=1e-14)
    assert at.attained == pytest.approx((a + c * (2 + math.log(2))) / math.sqrt(3), rel=1e-14)
    assert at.bound == 100.0


def test_least_horizon_at_its_edges() -> None:
    assert least_horizon(1.0, 1.0, 1.0, 1e3) == 3
    assert [least_horizon(1.3, 0.8, 1.7, total(log_bound(1.3, 0.8, 1.7, T))) for T in (3, 4, 5, 10)] == [3, 4, 5, 10]
    # Without noise T = (a/ε)²; near the largest that is looked for.
    assert math.log2(least_horizon(1.0, 0.0, 0.5, 2.0**-499.6)) == pytest.approx(999.2, abs=1e-9)


def test_explicit_horizon_at_its_edges() -> None:
    assert explicit_horizon(0.0, 1.0, 1.0, 1.0) == 3  # where the argument of W is -1/e
    assert explicit_horizon(0.0, 1.0, 1.0, 2.0) == 3
    assert explicit_horizon(1.0, 0.0, 0.5, 1.0) == 4
    assert explicit_horizon(1.0, 1.0, 1.0, 0.5) == math.ceil(_root(1.0, 1.0, 1.0, 0.5) ** 2 * (1 + 1e-9)) + 1


def _root(D: float, C: float, alpha0: float, epsilon: float) -> float:
    """The larger u with (a + 2c + 2c log u)/u = ε, by bisection."""
    a, c = D**2 / (2 * alpha0), C**2 * alpha0 / 2
    low, high = 2 * c / epsilon, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if (a + 2 * c + 2 * c * math.log(middle)) / middle > epsilon else (low, middle)
    return high


@pytest.mark.parametrize("log", [-1.5, -5.0, -699.0, -700.0, -701.0, -750.0, -1e5, -1e300])
def test_minus_w_solves_its_equation(log: float) -> None:
    y = _minus_w(log)
    assert y > 1
    assert y - math.log(y) == pytest.approx(-log, rel=1e-14)


# Bounds, by hand once more


def test_defazio_and_exact_with_their_conditions() -> None:
    """A longer alpha_T is allowed by Defazio; without updates Orabona's bound is that of alpha_T alone."""
    assert orabona_bound([0.5], 1.3, 0.8) == pytest.approx({"distance": 1.69, "noise": 0.16}, rel=1e-14)
    assert defazio_bound([0.5], 1.3, 0.8) == pytest.approx({"distance": 1.69, "noise": 0.16}, rel=1e-14)
    # At D = 4 alpha C both forms of the exact bound agree; further out the distance has half of DC.
    assert exact_bound([0.5], 1.6, 0.8) == pytest.approx({"distance": 0.64, "noise": 0.32}, rel=1e-14)
    assert exact_bound([0.5], 3.2, 0.8) == pytest.approx({"distance": 1.28, "noise": 1.28 - 0.32}, rel=1e-14)
    assert exact_bound([0.5], 1.0, 0.8) == pytest.approx({"distance": 0.25, "noise": 0.32}, rel=1e-14)
    assert linear_decay_bound(1.3, 0.8, 4) == pytest.approx({"distance": 0.26, "noise": 0.26}, rel=1e-14)
    assert odd_harmonic(2) == pytest.approx(4 / 3, rel=1e-15)


def test_half_of_theorem_41_is_for_its_own_step_only() -> None:
    _, by_defazio, half = exact()
    assert half.terms == half_log_bound(1.0, 0.5, 0.7, 3)
    assert by_defazio.terms == defazio_bound([0.7 / math.sqrt(3)] * 3, 1.0, 0.5)
    assert len(alright_exact(table2(), schedule=LinearDecay(1.0, 0.5, 4), **ALRIGHT)) == 2
    falling = alright_exact(table2(), schedule=LinearDecay(1.0, 0.5, 4), **ALRIGHT)[1]
    steps = LinearDecay(1.0, 0.5, 4).at(np.array([1, 2]))
    assert falling.terms == defazio_bound([*steps, steps[-1]], 1.0, 0.5)
