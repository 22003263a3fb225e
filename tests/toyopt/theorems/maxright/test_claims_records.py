"""Records of the claims on MAXRIGHT: claim, evidence, iterate and step of each."""

from __future__ import annotations

import dataclasses
import importlib
import math

import numpy as np
import pytest
from support.maxright_records import all_records, setting

from toyopt.algorithms import LinearDecay
from toyopt.minimax import minimise_worst, worst_gap
from toyopt.theorems.maxright import bounds
from toyopt.theorems.maxright.claims import (
    maxright_best_and_average,
    maxright_last,
    maxright_optima,
    maxright_scaled,
    maxright_stale,
)
from toyopt.theorems.maxright.setting import FAILURE

claims = importlib.import_module("toyopt.theorems.maxright.claims")


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [None, range(3)])
def test_every_record_names_its_claim_and_evidence(seeds):
    s = setting(seeds=seeds)
    for label, r in all_records(s).items():
        claim, section, _ = label.split()
        assert (r.claim, r.source, r.kind) == (claim, f"beyond the paper; docs/theory.md, M{section}", "upper"), label
        assert r.bound == pytest.approx(math.fsum(r.terms.values()), rel=1e-14), label
        exact = seeds is None or "minimiser" in label or "scaled" in label
        assert (r.evidence, r.failure) == (("property", 0.0) if exact else ("statistical", 1e-6)), label
        assert (r.interval is None) is exact
        assert r.statement.startswith("F(argmin" if "minimiser" in label else "F = max_i λ_i (f_i - f_i*): "), label
        assert claim != "M-stale" or r.statement.endswith("as for k = 1, and the staleness of k = 3")
        assert "T" in r.statement or "argmin" in r.statement or "min_t" in r.statement or "mean" in r.statement
    assert FAILURE == 1e-6


@pytest.mark.slow
def test_the_statement_of_the_best_iterate_is_the_weaker_one_for_stochastic_steps():
    assert "max_i λ_i (D²/2α0 + α0 C_i²/2)" in maxright_best_and_average(setting())[0].statement
    assert "λ̄ (D²/2α0 + α0 C²/2)" in maxright_best_and_average(setting(seeds=[0, 1]))[0].statement
    s, noisy = setting(), setting(seeds=[0, 1])
    # At α0 = 2, D = 5: max(0.3 (25/4 + 9/4), 0.7 (25/4 + 1/4))/√5 against 0.7 (25/4 + 9/4)/√5.
    assert maxright_best_and_average(s)[0].bound == pytest.approx(0.7 * 6.5 / math.sqrt(5), rel=1e-14)
    assert (
        maxright_best_and_average(noisy)[0].bound
        == maxright_best_and_average(s)[1].bound
        == pytest.approx(0.7 * 8.5 / math.sqrt(5), rel=1e-14)
    )


def test_an_unknown_bound_and_a_wrong_k_are_named():
    with pytest.raises(ValueError, match=r"^bound: 'exact', 'harmonic' or 'linear decay' is needed, got 'x'"):
        maxright_last(setting(), "x")
    for claim in (lambda s: maxright_last(s, "linear decay"), maxright_scaled):
        with pytest.raises(ValueError, match=r"^setting: linear decay needs D > 0, got D = 0\.0"):
            claim(setting(theta_star=[7.0]))
        assert claim(setting(theta_star=[6.5])).verdict == "holds"
    with pytest.raises(ValueError, match=r"^k: must be at least 1, got 0"):
        maxright_stale(setting(), 0)
    with pytest.raises(ValueError, match=r"^estimates: 2 optima are needed"):
        maxright_optima(setting(), [0.0])


@pytest.mark.slow
def test_each_claim_uses_its_own_iterate_and_step():
    s = setting()
    weighted = dict(zip((0, 1), (0.3, 0.7), strict=True))

    def path(alphas: list[float], stars=(0.25, -0.5), k=1, scaled=False) -> list[float]:
        theta, out, stored = 7.0, [7.0], [0.0, 0.0]
        for t, alpha in enumerate(alphas):
            gaps = [float(v) - f for v, f in zip(s.problem.values([theta]), stars, strict=True)]
            stored = list(gaps) if t % k == 0 else stored
            i = 0 if 0.3 * stored[0] >= 0.7 * stored[1] else 1
            stored[i] = gaps[i]
            theta -= alpha * (weighted[i] if scaled else 1.0) * float(s.problem.grads([theta])[i, 0])
            out.append(theta)
        return out

    def gap(theta: float) -> float:
        return float(s.worst(np.array([theta]))[0])

    constant = [2 / math.sqrt(5)] * 4
    plain = path(constant)
    stale, guessed = path(constant, k=3), path(constant, stars=(0.65, -0.7))
    decay = path([5 / (1.5 * math.sqrt(5)) * (1 - t / 5) for t in range(1, 5)])
    scaled = path([5 / (0.45 * math.sqrt(5)) * (1 - t / 5) for t in range(1, 5)], scaled=True)
    expected = {
        "M 2 best": min(map(gap, plain)),
        "M 2 average": gap(sum(plain) / 5),
        "M-last 4 exact": gap(plain[-1]),
        "M-last 4 harmonic": gap(plain[-1]),
        "M-last 4 decay": gap(decay[-1]),
        "M-stale 6 best": min(map(gap, stale)),
        "M-stale 6 average": gap(sum(stale) / 5),
        "M-stale 6 last": gap(stale[-1]),
        "M-opt 7 run": gap(guessed[-1]),
        "M-scaled 5 run": gap(scaled[-1]),
    }
    found = {label: r.attained for label, r in all_records(s).items() if "minimiser" not in label}
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.slow
def test_the_minimiser_with_wrong_optima(monkeypatch):
    s = setting()
    minimiser, run = maxright_optima(s, [0.65, -0.7])
    assert run.terms == pytest.approx(s.terms("last") | {"over": 0.12, "under": 0.14})
    true, found = (minimise_worst(s.problem, 0.3, f, near=[7.0]) for f in (s.f_star, [0.65, -0.7]))
    at = float(worst_gap(s.problem, 0.3, s.f_star, found.theta))
    assert minimiser.attained == pytest.approx(at - true.value, abs=1e-9)
    assert 0.01 < minimiser.attained < 0.26
    rounding = 1e-14 * (1 + max(abs(v) for v in true.values) + 0.5)
    assert minimiser.tolerance == pytest.approx(
        rounding, rel=1e-12, abs=0.0
    )  # what the solver leaves open is no rounding
    solver = abs(true.gap) + abs(found.gap)
    assert minimiser.terms == pytest.approx({"over": 0.12, "under": 0.14, "solver": solver}, rel=1e-12, abs=0.0)
    assert minimiser.bound == pytest.approx(0.26 + solver, rel=1e-12)
    # The infimum is anywhere between the certificate's sides, whichever is the larger.
    solve = claims.minimise_worst
    for low, high in ((-0.01, 0.02), (0.02, -0.01)):

        def apart(*args, low=low, high=high, **kwargs):
            out = solve(*args, **kwargs)
            return dataclasses.replace(out, lower=out.lower + low, upper=out.upper + high)

        monkeypatch.setattr(claims, "minimise_worst", apart)
        moved = maxright_optima(s, [0.65, -0.7])[0]
        assert moved.attained == pytest.approx(minimiser.attained + 0.01, abs=1e-9)
        assert moved.tolerance == minimiser.tolerance
        assert moved.terms["solver"] == pytest.approx(0.06, abs=1e-9)
    for which in (0, 1):
        for change in ({"converged": False}, {"theta": None}):
            calls = []

            def spoiled(*args, which=which, change=change, calls=calls, **kwargs):
                calls.append(args)
                out = solve(*args, **kwargs)
                return dataclasses.replace(out, **change) if len(calls) == which + 1 else out

            monkeypatch.setattr(claims, "minimise_worst", spoiled)
            open_one = maxright_optima(s, [0.65, -0.7])[0]
            assert math.isnan(open_one.attained) is (change == {"converged": False} or which == 1)
            assert [a[2].tolist() for a in calls] == [[0.25, -0.5], [0.65, -0.7]]


def test_a_minimiser_is_sought_near_the_start():
    """Where F has a line of minimisers, the one at hand is the nearest to θ_1: both searches begin there."""
    near = []
    solve = claims.minimise_worst

    def seen(*args, **kwargs):
        near.append(kwargs["near"].tolist())
        return solve(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims, "minimise_worst", seen)
        maxright_optima(setting(), [0.0, 0.0])
    assert near == [[7.0], [7.0]]


def test_the_terms_of_each_claim():
    s = setting()
    shared = {"distance": 5.0, "alpha0": 2.0, "T": 5}
    assert s.terms("best") == bounds.best_terms(0.3, [1.5, 0.5], **shared)
    assert s.terms("average") == bounds.average_terms(0.3, [1.5, 0.5], **shared)
    assert s.terms("last") == bounds.last_terms(0.3, [1.5, 0.5], **shared)
    price = bounds.staleness(0.3, [1.5, 0.5], alpha=2 / math.sqrt(5), k=3, T=5)
    best, average, last = maxright_stale(s, 3)
    assert [r.terms["staleness"] for r in (average, last)] == [price.mean, price.last]
    assert best.terms["staleness"] in (price.mean, price.worst)
    noisy, *_ = maxright_stale(setting(seeds=[0, 1]), 3)
    assert noisy.terms == s.terms("average") | {"staleness": price.mean}
    decay = LinearDecay(5.0, 1.5, 5).at(np.arange(1, 5))
    exact = bounds.last_exact_terms(0.3, [1.5, 0.5], distance=5.0, alphas=decay)
    assert maxright_last(s, "linear decay").terms == pytest.approx(exact)
    assert math.fsum(exact.values()) == pytest.approx(0.7 * 5 * 1.5 / math.sqrt(5))


def test_the_terms_of_wrong_optima_are_their_errors():
    assert maxright_optima(setting(), [0.65, -0.7])[1].terms["over"] == pytest.approx(0.3 * 0.4)


def test_scaled_steps_use_the_gaps():
    """f_DPO* = -9 makes DPO lag at 3: 0.3 (f_DPO + 9) > 0.7 f_SFT. One step of (D/(L√2))(1 - 1/2) λ_DPO, D = 1."""
    s = setting(T=2, f_star=[-9.0, 0.0], theta_1=[3.0])
    step = 1 / (0.45 * math.sqrt(2)) * 0.5 * 0.3
    theta = 3.0 + step * 1.5 / (1 + math.exp(1.5))
    record = maxright_scaled(s)
    assert record.attained == pytest.approx(float(s.worst(np.array([theta]))[0]), rel=1e-12)
    assert abs(record.attained - float(s.worst(np.array([3.0]))[0])) > 1e-3
