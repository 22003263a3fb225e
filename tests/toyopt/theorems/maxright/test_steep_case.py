"""Claim M-log: the case is one of MAXRIGHT's, it pays a logarithm, and the bounds of M-unequal cover it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from toyopt.claims import CLAIMS
from toyopt.pep.methods import Setting, _sequence
from toyopt.pep.program import solve
from toyopt.theorems.alright.last_iterate import exact_bound, total
from toyopt.theorems.maxright import steep_case as module
from toyopt.theorems.maxright.steep_case import height, maxright_log, steep_case
from toyopt.theorems.maxright.unequal import logarithm


@pytest.mark.parametrize("light", [1, 2, 5, 40])
def test_the_height_is_the_last_iterates_exact_worst_case(light: int) -> None:
    """A4's closed form for D -> 0, in units of αC²; and a bound of it by a logarithm."""
    assert height(light) == pytest.approx(total(exact_bound(np.ones(light), 1e-12, 1.0)), rel=1e-9)
    assert height(light) >= 0.5 + math.log(1 + 3 * light) / 6
    assert steep_case(50.0, light=light, heavy=0).values[-1] == pytest.approx(height(light), rel=1e-9)


def test_each_step_is_on_a_largest_gap_and_the_mean_is_above_its_bound() -> None:
    for kappa, light, heavy in ((4.0, 1, 2), (100.0, 4, 19), (1e4, 10, 300), (30.0, 20, 200)):
        case = steep_case(kappa, light=light, heavy=heavy)
        assert case.violation <= 1e-12
        assert case.chosen[:light] == (1,) * light
        assert case.bound <= case.mean <= logarithm(kappa)
        assert (case.values >= -1e-12).all()
        assert [record.verdict for record in maxright_log(kappa, light=light, heavy=heavy)] == ["holds", "holds"]


def test_no_constant_times_the_product_is_enough() -> None:
    """The mean grows with κ, beyond αCL and twice nearly αCL: by hand at κ = 4, (1 + 3/4)/3."""
    means = [
        steep_case(kappa, light=light, heavy=heavy).mean
        for kappa, light, heavy in ((4.0, 1, 1), (100.0, 4, 19), (1e4, 10, 300), (1e6, 100, 10_000))
    ]
    assert means[0] == pytest.approx(7 / 12)
    assert means[1] > 1.0
    assert means[3] > 1.99
    assert means == sorted(means)


@pytest.mark.slow
def test_the_program_of_the_same_choices_is_a_little_worse_than_the_case() -> None:
    """κ = 30, two light steps and five heavy ones: the worst function for this sequence is above the case's mean."""
    from fractions import Fraction

    lam = (Fraction(30, 31), Fraction(1, 31))
    given = Setting("maxright", lam, (Fraction(1), Fraction(30)), Fraction(1, 1000), (Fraction(1),) * 7, 1, "average")
    seq = [1, 1, 0, 0, 0, 0, 0]
    slopes, steps = [given.weighted[i] for i in seq] + [max(given.weighted)], [1 / lam[i] for i in seq]
    optimum = solve(_sequence(given, slopes, steps)).optimum / float(30 * max(given.weighted))
    mean = steep_case(30.0, light=2, heavy=5).mean
    assert 0.95 * optimum < mean < optimum + 1e-5


def test_a_run_that_is_not_maxrights_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces that do not tie: steps of a wrong weight in the construction."""
    honest = module.weights_of_steps
    monkeypatch.setattr(module, "weights_of_steps", lambda *a: honest(*a) * np.array([1.0, 2.0, 1.0, 2.0, 1.0]))
    assert {record.verdict for record in maxright_log(100.0, light=4, heavy=10)} == {"open"}


def test_a_larger_bound_would_fail() -> None:
    case = steep_case(1e4, light=10, heavy=300)
    assert case.mean < 1.05 * case.bound


def test_wrong_numbers_are_named() -> None:
    with pytest.raises(ValueError, match=r"^kappa: must be at least 1"):
        steep_case(0.5, light=1, heavy=1)
    with pytest.raises(ValueError, match=r"^light: must be at least 1"):
        steep_case(2.0, light=0, heavy=1)
    with pytest.raises(ValueError, match=r"^lam: must be in \[1/2, 1\), got '1/4'"):
        CLAIMS["M-log"].at_setting(lam="1/4")
