"""Claim A: its records, and the arguments that are refused."""

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
    alright_mean_step,
    best_free_step,
    defazio_bound,
    exact_bound,
    explicit_horizon,
    half_log_bound,
    harmonic_bound,
    last_iterate_is_exact,
    least_horizon,
    linear_decay_bound,
    log_bound,
    mean_step_bound,
    no_schedule_is_better,
    orabona_bound,
    remark_42,
    thm_41,
    thm_41_schedule,
    worst_case,
    zamani_glineur,
)
from toyopt.theorems.alright.last_iterate import harmonic, odd_harmonic
from toyopt.theorems.alright.worst_case import as_sft, resisting


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: log_bound(1, 1, 1, 1), "T: must be at least 2, got 1"),
        (lambda: harmonic_bound(-1, 1, 1, 3), "D: must be at least 0, got -1"),
        (lambda: half_log_bound(1, -1, 1, 3), "C: must be at least 0, got -1"),
        (lambda: log_bound(1, 1, 0, 3), "alpha0: must be more than 0, got 0"),
        (lambda: orabona_bound([0.1, 0.2], 1, 1), r"alphas: must not increase, got alpha_1 = .*0\.1.* < alpha_2"),
        (lambda: orabona_bound([0.1, 0.0], 1, 1), "alphas: step sizes must be positive, got .*0.0.* at update 2"),
        (lambda: defazio_bound([-0.1], 1, 1), "alphas: step sizes must be positive"),
        (lambda: exact_bound([0.1], 1, 0), "C: must be more than 0, got 0"),
        (lambda: exact_bound([], 1, 1), "alphas: is empty"),
        (lambda: linear_decay_bound(0, 1, 2), "D: must be more than 0"),
        (lambda: worst_case(np.ones(5000), 1, 1), "alphas: at most 4999 step sizes"),
        (lambda: resisting(np.ones(5000), 1, 1), "alphas: at most 4999 step sizes"),
        (lambda: zamani_glineur(1, 1, 1), "T: must be at least 2, got 1"),
        (lambda: as_sft(worst_case([0.1], 9.0, 0.8)), "case: its gradients are linearly dependent"),
        (lambda: explicit_horizon(1, 1, 1, 0), "epsilon: must be more than 0"),
        (lambda: alright_linear_decay(table2(), lam=0.3, T=3, theta_1=[1.0], theta_star=[1.0]), "theta_1: must differ"),
        (lambda: thm_41(table2(), lam=0.3, alpha0=1, T=3, theta_1=[[1.0]]), r"theta_1: shape \(1,\) is needed"),
        (lambda: thm_41(table2(), lam=0.3, alpha0=1, T=3, theta_1=[1.0], theta_star=[[1.0]]), "theta_star: shape"),
        (lambda: thm_41(table2(), lam=0.3, alpha0=1, T=3, theta_1=[1.0], method="none"), "method: 'auto'"),
        (
            lambda: thm_41_schedule(table2(), lam=0.3, schedule=LinearDecay(1.0, 1.0, 3), T=3, theta_1=[1.0]),
            "alphas: step sizes must be positive",
        ),
    ],
)
def test_wrong_input_names_the_argument(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_problem_without_gradients_has_no_exact_bound() -> None:
    flat = Problem.dpo_sft(chosen=[[0.0]], rejected=[[0.0]], features=[[[1.0], [1.0]]], targets=[0], theta_ref=[0.0])
    with pytest.raises(ValueError, match="problem: its gradients vanish everywhere"):
        alright_exact(flat, lam=0.5, schedule=Constant(0.1), T=3, theta_1=[0.0], theta_star=[1.0])
    with pytest.raises(ValueError, match="problem: its gradients vanish everywhere"):
        alright_linear_decay(flat, lam=0.5, T=3, theta_1=[0.0], theta_star=[1.0])


ALRIGHT: dict[str, Any] = {"lam": 0.3, "T": 3, "theta_1": [1.0], "theta_star": [0.0]}


def exact() -> tuple[Record, ...]:
    return alright_exact(table2(), schedule=InverseRootHorizon(0.7, 3), **ALRIGHT)


def paper() -> tuple[Record, Record]:
    return thm_41(table2(), alpha0=0.7, **ALRIGHT)


def remark() -> tuple[Record, ...]:
    return remark_42(table2(), lam=0.3, alpha0=1.7, epsilon=0.03, theta_1=[-1.0])


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
        (lambda: zamani_glineur(1.3, 0.8, 3), "A", "arXiv 2307.11134", "DC/√T"),
        (lambda: no_schedule_is_better([0.5], 1.3, 0.8), "A", "docs/", "no step sizes do better"),
        (lambda: remark()[0], "4.2", "arXiv 2410.15483v3, Remark 4.2", "at most ε at T(ε) = "),
        (lambda: remark()[1], "4.2", "arXiv 2410.15483v3, Remark 4.2", "⌈(2c/ε)² W²⌉ + 1"),
        (lambda: remark()[2], "4.2", "arXiv 2410.15483v3, Remark 4.2", "falls from T(ε) on"),
    ],
)
def test_a_record_names_its_claim(make: Callable[[], Record], claim: str, source: str, words: str) -> None:
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
        (call(thm_41, alpha0=0.7, T=2.5), TypeError, "T: "),
        (call(thm_41, alpha0=0.7, theta_1=["x"]), ValueError, "theta_1: "),
        (call(thm_41, alpha0=0.7, theta_1=[[1.0]]), ValueError, r"theta_1: shape \(1,\) is needed, got \(1, 1\)"),
        (call(thm_41, alpha0=0.7, theta_star=["x"]), ValueError, "theta_star: "),
        (call(thm_41, alpha0=0.7, theta_star=[[1.0]]), ValueError, r"theta_star: shape \(1,\) is needed, got \(1, 1\)"),
        (call(thm_41, alpha0=0.7, lam=0.0, theta_star=None), ValueError, "theta_star: .* lam = 0.0,"),
        (call(thm_41_schedule, schedule=Constant(0.7), T=1), ValueError, "T: must be at least 2, got 1"),
        (call(thm_41_schedule, schedule=Constant(0.7), T=2.5), TypeError, "T: "),
        (call(alright_exact, schedule=Constant(0.7), T=1), ValueError, "T: must be at least 2, got 1"),
        (call(alright_exact, schedule=Constant(0.7), T=2.5), TypeError, "T: "),
        (call(alright_linear_decay, T=1), ValueError, "T: must be at least 2, got 1"),
        (call(alright_linear_decay, T=2.5), TypeError, "T: "),
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
        (lambda: best_free_step([0.1, -1], 1, 1), ValueError, "alphas: step sizes must be positive"),
        (lambda: best_free_step([0.1], -1, 1), ValueError, "D: must be at least 0, got -1"),
        (lambda: mean_step_bound([0.1], 1, 1, 1.1), ValueError, "C_mean: must be at most C = 1.0, got 1.1"),
        (lambda: mean_step_bound([0.1], 1, 1, 0), ValueError, "C_mean: must be more than 0, got 0"),
        (lambda: best_free_step([0.1], 1, 0), ValueError, "C: must be more than 0, got 0"),
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
        (lambda: zamani_glineur("x", 1, 2), TypeError, "D: "),
        (lambda: zamani_glineur(0, 1, 2), ValueError, "D: must be more than 0, got 0"),
        (lambda: zamani_glineur(1, "x", 2), TypeError, "C: "),
        (lambda: zamani_glineur(1, 0, 2), ValueError, "C: must be more than 0, got 0"),
        (lambda: zamani_glineur(1, 1, 2.5), TypeError, "T: "),
        (lambda: as_sft(worst_case([0.5], 1.3, 0.8), tie="x"), TypeError, "tie: "),  # type: ignore[arg-type]
        (lambda: as_sft(worst_case([0.5], 1.3, 0.8), tie=0.0), ValueError, "tie: must be more than 0"),
        (lambda: as_sft(worst_case([0.5], 1.3, 0.8), loss="x"), TypeError, "loss: "),  # type: ignore[arg-type]
        (lambda: as_sft(worst_case([0.5], 1.3, 0.8), loss=0.0), ValueError, "loss: must be more than 0"),
    ],
)
def test_a_message_names_the_argument(wrong: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=f"^{words}"):
        wrong()


def test_the_mean_step_on_a_problem_with_unequal_constants() -> None:
    """C1 = 2 and C2 = 1/10 at λ = ½: C² = 2.005, C̄ = 1.05; the enumerated gap is below the smaller bound."""
    problem = Problem.dpo_sft(chosen=[[2.0]], rejected=[[0.0]], features=[[[0.0], [0.1]]], targets=[0], theta_ref=[1.0])
    options: dict[str, Any] = {"lam": 0.5, "schedule": Constant(0.3), "T": 9, "theta_1": [-1.0], "theta_star": [1.0]}
    mean, exact = alright_mean_step(problem, **options), alright_exact(problem, **options)[0]
    assert mean.terms == mean_step_bound([0.3] * 8, 2.0, math.sqrt(2.005), 1.05)
    assert (mean.verdict, mean.attained) == ("holds", exact.attained)
    assert mean.bound < 0.9 * exact.bound


def test_half_of_theorem_41_is_for_its_own_step_only() -> None:
    _, by_defazio, half = exact()
    assert half.terms == half_log_bound(1.0, 0.5, 0.7, 3)
    two = [0.7 / math.sqrt(3)] * 2
    assert by_defazio.terms == defazio_bound([*two, best_free_step(two, 1.0, 0.5)], 1.0, 0.5)
    assert len(alright_exact(table2(), schedule=LinearDecay(1.0, 0.5, 4), **ALRIGHT)) == 2
    falling = alright_exact(table2(), schedule=LinearDecay(1.0, 0.5, 4), **ALRIGHT)[1]
    steps = LinearDecay(1.0, 0.5, 4).at(np.array([1, 2]))
    assert falling.terms == defazio_bound([*steps, best_free_step(steps, 1.0, 0.5)], 1.0, 0.5)
